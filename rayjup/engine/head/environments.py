"""The runtime environments of all nodes, as lists and displays see them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rayjup.base.runtime_env import key_of

if TYPE_CHECKING:
    from rayjup.engine.head.head import Head

_LATE_S = 5.0


class Environments:
    """What the nodes have said of theirs.

    Each row has ``runtime_env``, ``state`` (BUILDING, READY or FAILED), ``success``, ``since`` (s since
    1970), ``creation_time_ms``, ``ref_cnt`` (executors in it), ``error``, ``job_id`` (of who asked first)
    and ``node_id``.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._told: set[tuple[str, float]] = set()
        self.ops = {"runtime_envs": lambda client: self.rows()}

    def on_rows(self, node_id: str, rows: list[dict[str, Any]]) -> None:
        """A node's environments have changed."""
        self._rows[node_id] = rows

    def rows(self) -> list[dict[str, Any]]:
        """All environments: those that are built, are being built, or have failed."""
        found = []
        for node_id, node in self._head.nodes.items():
            users = node.sample.get("environments", {})
            for row in self._rows.get(node_id, ()):
                count = users.get(key_of(row["runtime_env"]), row["ref_cnt"])
                found.append({**row, "node_id": node_id, "ref_cnt": count})
        return found

    def node_left(self, node_id: str) -> None:
        """A node is gone."""
        self._rows.pop(node_id, None)

    def late(self) -> Iterator[tuple[bytes, str]]:
        """Job and text for each environment that takes long; each once."""
        now = time.time()
        for node_id, rows in self._rows.items():
            for row in rows:
                name = (node_id, row["since"])
                if row["state"] != "BUILDING" or now - row["since"] < _LATE_S or name in self._told:
                    continue
                self._told.add(name)
                node = self._head.nodes.get(node_id)
                if node is not None:
                    fields = ", ".join(sorted(row["runtime_env"]))
                    yield (
                        bytes.fromhex(row["job_id"]),
                        f"calls wait for a runtime environment ({fields}), which {node.info['name']} is "
                        "building "
                        f"since {_LATE_S:g} s. What its tools say is in {node.info['session_dir']}/logs.",
                    )
