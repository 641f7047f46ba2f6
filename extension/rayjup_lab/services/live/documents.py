"""The newest version of each document that somebody watches, and what changed since the one before."""

from __future__ import annotations

import json
import time
from typing import Any

from rayjup.observe import changes

Key = tuple[str, str]
"""Topic and cluster."""


class Documents:
    """Numbered versions of documents, encoded once for all who watch.

    A watcher that has the version before is sent what changed; everybody else gets the whole.
    """

    def __init__(self) -> None:
        self._values: dict[Key, Any] = {}
        self._versions: dict[Key, int] = {}
        self._read_at: dict[Key, float] = {}
        self._whole: dict[Key, str] = {}
        self._change: dict[Key, tuple[int | None, str]] = {}  # the version before, and what changed since
        self._number = 0

    def age_s(self, key: Key) -> float:
        """Seconds since the document was read (infinite when it never was)."""
        return time.monotonic() - self._read_at.get(key, float("-inf"))

    def put(self, key: Key, value: Any) -> None:
        """Take in a new version."""
        self._read_at[key] = time.monotonic()
        old = self._values.get(key)
        change = changes.between(old, value) if old is not None else None
        if old is not None and change is None:
            return
        # One row of numbers for all: a document that was forgotten in between never looks like an older one.
        self._number += 1
        before, self._versions[key] = self._versions.get(key), self._number
        self._values[key] = value
        self._whole.pop(key, None)
        self._change.pop(key, None)
        if change is not None:
            head = {"type": "change", "topic": key[0], "cluster": key[1]}
            message = {**head, "from": before, "version": self._number, "change": change}
            self._change[key] = (before, json.dumps(message, default=str))

    def message(self, key: Key, has: int | None) -> tuple[str, int] | None:
        """What somebody who has version ``has`` is sent, and the version after it; None: nothing new."""
        version = self._versions.get(key)
        if version is None or version == has:
            return None
        before, change = self._change.get(key, (None, ""))
        if has is not None and has == before:
            return change, version
        if key not in self._whole:
            head = {"type": "whole", "topic": key[0], "cluster": key[1], "version": version}
            self._whole[key] = json.dumps({**head, "document": self._values[key]}, default=str)
        return self._whole[key], version

    def keep_only(self, keys: set[Key]) -> None:
        """Forget what nobody watches any more."""
        for key in [key for key in self._values if key not in keys]:
            for table in (self._values, self._versions, self._read_at, self._whole, self._change):
                table.pop(key, None)  # type: ignore[attr-defined]
