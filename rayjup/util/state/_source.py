"""Where rows come from: the cluster this process is connected to, or one that it only observes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rayjup.base import keys
from rayjup.base.exceptions import RaySystemError
from rayjup.cluster import descriptors
from rayjup.cluster.observer import Observer
from rayjup.core import session as sessions
from rayjup.engine.executor import executor as executing
from rayjup.engine.runtime.runtime import Runtime
from rayjup.util.state.exception import ServerUnavailable

PROCESSES_S = 2.0
"""Seconds in which processes have to say what they know; one that is busy in C code may not."""


@dataclass
class Gathered:
    """What the processes of all nodes said, and who said nothing."""

    reports: list[dict[str, Any]] = field(default_factory=list)
    handed: list[dict[str, Any]] = field(default_factory=list)  # by processes that are gone or silent
    silent: list[str] = field(default_factory=list)
    past: dict[str, list[int]] = field(default_factory=dict)  # counts of processes that are gone
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)  # other answers, by node

    @property
    def warning(self) -> str:
        """Who did not answer, in words; "" if all did."""
        if not self.silent:
            return ""
        shown = ", ".join(self.silent[:5]) + (f" and {len(self.silent) - 5} more" if self.silent[5:] else "")
        return f"no answer in time from {shown}: what only they know is missing."


class Source:
    """A cluster that can be asked.

    Parameters
    ----------
    request
        Sends a request to the head and returns the answer: ``request(op, *payload, timeout=…)``.
    close
        Called when nothing more is to be asked.
    """

    def __init__(self, request: Callable[..., Any], close: Callable[[], None] = lambda: None) -> None:
        self._request = request
        self.close = close

    def rows(self, table: str, timeout: float) -> list[dict[str, Any]]:
        """All rows of one of the head's tables."""
        rows: list[dict[str, Any]] = self._ask("state_rows", table, timeout=timeout)
        return rows

    def values(self, space: str, timeout: float) -> dict[str, bytes]:
        """What lies in one namespace of the cluster's table of keys and values."""
        items = self._ask("kv_items", keys.of(space), timeout=timeout)
        return {name.decode(): value for name, value in items}

    def value(self, space: str, name: str, timeout: float) -> bytes | None:
        """One value of that table; None where there is none."""
        value: bytes | None = self._ask("kv_get", keys.of(space), name.encode(), timeout=timeout)
        return value

    def ask_nodes(
        self, topic: str, options: dict[str, Any], timeout: float, only: str | None = None
    ) -> dict[str, Any]:
        """What nodes answer, and which ones did not."""
        within_s = min(PROCESSES_S, max(0.05, timeout * 0.8))
        answer: dict[str, Any] = self._ask(
            "state_ask", topic, options, within_s, only, timeout=max(timeout, within_s + 1)
        )
        return answer

    def gather(self, topic: str, options: dict[str, Any], timeout: float) -> Gathered:
        """What all processes know about ``topic``."""
        answer = self.ask_nodes(topic, options, timeout)
        found = Gathered(silent=[f"node {node_id[:12]}" for node_id in answer["silent"]])
        for node in answer["nodes"]:
            where = {"node_id": node["node_id"], "ip": node["ip"]}
            found.nodes[node["node_id"]] = node
            found.reports += [{**pickle.loads(packed), **where} for packed in node["answers"]]
            found.handed += [{**pickle.loads(packed), **where} for packed in node["handed"]]
            found.silent += [f"{kind} {pid}" for _, pid, kind in node["silent"]]
            for name, counts in node["past"].items():
                row = found.past.setdefault(name, [0, 0, 0, 0])
                for index, count in enumerate(counts):
                    row[index] += count
        return found

    def _ask(self, op: str, *payload: Any, timeout: float) -> Any:
        try:
            return self._request(op, *payload, timeout=timeout)
        except (ConnectionError, RaySystemError) as error:
            raise ServerUnavailable(f"the cluster did not answer: {error}") from error


def find(address: str | None = None) -> Source:
    """The cluster at ``address``.

    Without one: the cluster that this process is connected to, or that RAYJUP_ADDRESS or
    RAY_ADDRESS names, or the only one that is running.

    Raises
    ------
    ConnectionError
        There is none, or there are several.
    """
    session = sessions.current()
    if session is None and executing.executor is not None:
        session = sessions.attach_executor()
    if session is not None and not session.runtime.closed:
        cluster = session.cluster
        own = cluster is not None and address in cluster.names
        if address in (None, "", "auto") or own:
            return Source(_through(session.runtime))
    observer = Observer(descriptors.which(address), timeout_s=5.0)
    return Source(observer.request, observer.close)


def _through(runtime: Runtime) -> Callable[..., Any]:
    def request(op: str, *payload: Any, timeout: float) -> Any:
        if runtime.closed:
            raise ConnectionError("this process has disconnected from it.")
        return runtime.link.request(op, *payload, timeout=timeout)

    return request
