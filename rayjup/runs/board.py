"""What a long-running thing says about itself, for those who watch from elsewhere.

A tuning run, a training run, an application: each pins one row to the cluster's board and renews it
while it lives. Rows are JSON in the cluster's key-value table, so that a side panel, a dashboard, a
restarted kernel and a new head see them, without asking the process that works.

The writer never waits: a thread sends the newest row about once a second and passes over those in
between. The other way, watchers leave requests (stop this trial), which the writer fetches in
the same rhythm.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from rayjup.base import keys
from rayjup.base.exceptions import RaySystemError
from rayjup.experimental import internal_kv

SPACE = keys.BOARD
_INTERVAL_S = 1.0
_KEPT = 50  # ended rows of a kind; older ones are taken down when a new one goes up


class Board:
    """One row of the cluster's board.

    Parameters
    ----------
    kind
        What it is: ``"tune"``, ``"train"``, ``"serve"`` …
    run_id
        Name of the row, unique within its kind; made up when not given.
    on_request
        Called, on the board's thread, with each request a watcher has left (a JSON object).

    Notes
    -----
    Without a connection to a cluster nothing is published, and nothing fails.

    Examples
    --------
    >>> import rayjup
    >>> from rayjup.runs.board import Board, rows
    >>> _ = rayjup.init(num_cpus=1)
    >>> board = Board("tune", "mnist")
    >>> board.post({"trials": 3})
    >>> board.close("finished")
    >>> [(row["run_id"], row["state"], row["trials"]) for row in rows("tune")]
    [('mnist', 'finished', 3)]
    >>> rayjup.shutdown()
    """

    def __init__(
        self,
        kind: str,
        run_id: str | None = None,
        on_request: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.kind = kind
        self.run_id = run_id or uuid.uuid4().hex[:12]
        self._on_request = on_request
        self._started = time.time()
        self._newest: dict[str, Any] | None = None  # not sent yet
        self._last: dict[str, Any] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def post(self, row: Mapping[str, Any]) -> None:
        """Let watchers see ``row`` (JSON-able; a few kilobytes) at the next chance."""
        with self._changed:
            self._newest = dict(row)
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._run, name=f"board-{self.kind}", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self, state: str) -> None:
        """Publish the last row with how it ended; watchers see it until newer runs crowd it out."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._newest = {**(self._last if self._newest is None else self._newest), "state": state}
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()
        self._send(ended=True)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closing:
                    return
            if not self._send(ended=False):
                return
            self._fetch()
            with self._changed:
                self._changed.wait_for(lambda: self._closing, _INTERVAL_S)

    def _send(self, *, ended: bool) -> bool:
        with self._changed:
            row, self._newest = self._newest, None
            if row is not None:
                self._last = row
            elif ended:  # the thread has taken it a moment ago
                row = self._last
        if row is None:
            return True
        if not internal_kv._internal_kv_initialized():
            return False
        now = time.time()
        whole = {
            "state": "running",
            **row,
            "kind": self.kind,
            "run_id": self.run_id,
            "started": self._started,
            "updated": now,
            "ended": now if ended else None,
        }
        data = json.dumps(whole, default=_plain).encode()
        try:
            internal_kv._internal_kv_put(f"{self.kind}/{self.run_id}", data, namespace=SPACE)
            if ended:
                _take_down_old(self.kind)
        except (ConnectionError, RaySystemError):
            return False  # the cluster has gone: nobody watches
        return True

    def _fetch(self) -> None:
        if self._on_request is None:
            return
        prefix = f"request/{self.kind}/{self.run_id}/"
        try:
            for key in internal_kv._internal_kv_list(prefix, namespace=SPACE):
                data = internal_kv._internal_kv_get(key, namespace=SPACE)
                internal_kv._internal_kv_del(key, namespace=SPACE)
                if data is not None:
                    self._on_request(json.loads(data))
        except (ConnectionError, RaySystemError):
            return


def rows(kind: str) -> list[dict[str, Any]]:
    """The rows of a kind on the board of this process's cluster, oldest first."""
    found = []
    for key in internal_kv._internal_kv_list(f"{kind}/", namespace=SPACE):
        data = internal_kv._internal_kv_get(key, namespace=SPACE)
        if data is not None:
            found.append(json.loads(data))
    return sorted(found, key=lambda row: row["started"])


def ask(kind: str, run_id: str, request: Mapping[str, Any]) -> None:
    """Leave a request for the writer of a row, who fetches it within about a second."""
    key = f"request/{kind}/{run_id}/{time.time_ns()}"
    internal_kv._internal_kv_put(key, json.dumps(request).encode(), namespace=SPACE)


def _take_down_old(kind: str) -> None:
    ended = [row for row in rows(kind) if row["ended"] is not None]
    for row in ended[:-_KEPT]:
        internal_kv._internal_kv_del(f"{kind}/{row['run_id']}", namespace=SPACE)


def _plain(value: Any) -> Any:
    """Numbers of NumPy and whatever else a program reports, as JSON."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "size", 1) == 1:
        return item()
    return str(value)
