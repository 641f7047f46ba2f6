"""The loop around the plan: what is there and what waits is asked of the head, nodes are had of a launcher.

A node is given back in three steps: the head places nothing new on it (and refuses where something runs
there), the node itself says that nothing runs and that no object lies there that is nowhere else, and then it
is told to end.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster.launchers.base import Launcher
from rayjup.cluster.scaling import words
from rayjup.cluster.scaling.plan import Decision, Situation, Up, Wanted, WantedGroup, decide
from rayjup.cluster.scaling.settings import TYPE_LABEL, ScalingSettings
from rayjup.engine.head.scaling import SPACE, STATUS

logger = logging.getLogger(__name__)

_ASK_S = 5.0  # a node says so soon what it has to do
_LOOK_S = 2.0  # so often the back-end is asked what has become of those that do not come
_AT_ONCE = 8  # calls of the launcher
_AGAIN_S = (1.0, 60.0)  # after a failure of a type: so long at first, and at most

Request = Callable[..., Any]


@dataclass
class _Starting:
    """A node that was asked for and has not joined."""

    type: str
    since: float
    asked: Future[None] | None


class Controller:
    """Keeps a cluster at the size it needs.

    Parameters
    ----------
    request
        Asks the head, as :meth:`rayjup.cluster.observer.Observer.request`.
    settings
        Types of nodes and limits.
    launcher
        Where nodes are had.
    now
        The clock, in seconds.
    """

    def __init__(
        self,
        request: Request,
        settings: ScalingSettings,
        launcher: Launcher,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._request = request
        self._launcher = launcher
        self._now = now
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="launcher")
        self._idle: dict[str, float] = {}  # node → since when
        self._starting: dict[str, _Starting] = {}
        self._leaving: dict[str, str] = {}  # node → its name
        self._barred: dict[str, tuple[float, int]] = {}  # type → until when, failures in a row
        self._failures: deque[dict[str, Any]] = deque(maxlen=20)
        self._looking: Future[Any] | None = None
        self._looked = 0.0
        self._said = ""
        for name, instance in launcher.instances().items():  # of the controller before this one
            kind = name.rpartition("-")[0]
            if instance.state != "ended" and settings.type(kind) is not None:
                self._starting[name] = _Starting(kind, now(), None)

    def step(self) -> Decision:
        """Look once, and do what is to be done."""
        state = self._request("scaling_state")
        now = self._now()
        self._settle(state, now)
        situation = self._situation(state, now)
        settings = self._open_types(now)
        if state["recovering"]:  # not all nodes are back: nobody knows what is free
            return Decision()
        decision = decide(settings, situation)
        for kind, count in decision.start.items():
            for _ in range(count):
                self._ask_for(kind, now)
        for node_id in decision.stop:
            if self._request("scaling_drain", node_id, True):
                self._leaving[node_id] = state["nodes"][node_id]["name"]
        self._say(state, situation, decision)
        return decision

    # -- what is there

    def _situation(self, state: Mapping[str, Any], now: float) -> Situation:
        nodes = []
        for node_id, row in state["nodes"].items():
            if row.get("away") or row["beside"]:
                continue
            busy = row["leases"] or row["bundles"] or row["objects"] or row["drivers"]
            if busy:
                self._idle.pop(node_id, None)
                idle = None
            else:
                idle = now - self._idle.setdefault(node_id, now)
            kind = "" if row["is_head"] else row["labels"].get(TYPE_LABEL, "")
            free = {name: max(0.0, amount) for name, amount in row["free"].items()}
            nodes.append(
                Up(
                    node_id,
                    kind if self.settings.type(kind) is not None else "",
                    row["total"],
                    free,
                    row["labels"],
                    {int(index): left for index, left in row["gpus"].items()},
                    idle,
                    row["draining"],
                )
            )
        for gone in set(self._idle) - set(state["nodes"]):
            del self._idle[gone]
        starting: dict[str, int] = {}
        for each in self._starting.values():
            starting[each.type] = starting.get(each.type, 0) + 1
        return Situation(
            tuple(nodes),
            starting,
            tuple(
                Wanted(row["resources"], row["count"], _conditions(row["labels"])) for row in state["demand"]
            ),
            tuple(
                WantedGroup(
                    row["strategy"],
                    tuple(row["bundles"]),
                    _conditions(row["labels"]),
                    tuple(row["nodes"]),
                )
                for row in state["groups"]
            ),
            tuple(
                Wanted(row["resources"], row["count"], _conditions([row.get("labels") or []]))
                for row in state["requested"]
            ),
        )

    def _open_types(self, now: float) -> ScalingSettings:
        """The settings, without types of which none could be had just now."""
        barred = frozenset(name for name, (until, _) in self._barred.items() if now < until)
        return replace(self.settings, barred=barred)

    # -- nodes that come

    def _ask_for(self, kind_name: str, now: float) -> None:
        kind = self.settings.type(kind_name)
        assert kind is not None
        name = f"{kind_name}-{uuid.uuid4().hex[:6]}"
        logger.info("asking for the node %s", name)
        self._starting[name] = _Starting(kind_name, now, self._pool.submit(self._launcher.start, kind, name))

    def _settle(self, state: Mapping[str, Any], now: float) -> None:
        """See who has come, who does not come, and who may go."""
        names = {row.get("name") for row in state["nodes"].values()}
        for name, starting in list(self._starting.items()):
            if name in names:
                del self._starting[name]
                self._barred.pop(starting.type, None)
                logger.info("%s has joined after %.2f s", name, now - starting.since)
            elif starting.asked is not None and starting.asked.done():
                error = starting.asked.exception()
                if error is not None:
                    self._failed(name, f"{error}", now)
            if name in self._starting and now - starting.since > self.settings.launch_timeout_s:
                self._failed(name, f"it did not join within {self.settings.launch_timeout_s:g} s", now)
        self._look_after(now)
        for node_id, name in list(self._leaving.items()):
            row = state["nodes"].get(node_id)
            if row is None:
                del self._leaving[node_id]
                self._pool.submit(self._stop, name)
            elif row["draining"]:
                self._let_go(node_id, name)

    def _look_after(self, now: float) -> None:
        """Ask the back-end for those that take long: what has ended will not join."""
        if self._looking is not None and self._looking.done():
            found = self._looking.result()
            self._looking = None
            for name, instance in found.items():
                if instance.state == "ended" and name in self._starting:
                    self._failed(name, instance.why or "it ended before it joined", now)
        waits = any(now - each.since > _LOOK_S for each in self._starting.values())
        if waits and self._looking is None and now - self._looked >= _LOOK_S:
            self._looked = now
            self._looking = self._pool.submit(self._launcher.instances)

    def _failed(self, name: str, why: str, now: float) -> None:
        starting = self._starting.pop(name)
        _, before = self._barred.get(starting.type, (0.0, 0))
        wait = min(_AGAIN_S[0] * 2**before, _AGAIN_S[1])
        self._barred[starting.type] = (now + wait, before + 1)
        self._failures.append({"name": name, "type": starting.type, "time": time.time(), "why": why[-2000:]})
        logger.warning("the node %s could not be had: %s", name, why)
        self._pool.submit(self._stop, name)

    # -- nodes that go

    def _let_go(self, node_id: str, name: str) -> None:
        """End a node on which nothing runs, unless an object lies there only."""
        answers = self._request("state_ask", "load", {}, _ASK_S, node_id, timeout=_ASK_S + 5.0)["nodes"]
        rows = [row for answer in answers for row in answer["rows"]]
        if not rows:
            return  # it does not answer: the head will say when it is gone
        if rows[0]["leases"] or rows[0]["objects"]:
            del self._leaving[node_id]
            self._idle.pop(node_id, None)
            self._request("scaling_drain", node_id, False)
            return
        logger.info("the node %s is given back", name)
        self._request("scaling_stop", node_id)

    def _stop(self, name: str) -> None:
        try:
            self._launcher.stop(name)
        except (OSError, RaySystemError):  # others can still be given back
            logger.exception("the node %s could not be given back", name)

    # -- telling

    def _say(self, state: Mapping[str, Any], situation: Situation, decision: Decision) -> None:
        starting = dict(situation.starting)
        for kind, count in decision.start.items():
            starting[kind] = starting.get(kind, 0) + count
        status = words.status(self.settings, situation, starting, decision, list(self._failures)[-3:])
        text = json.dumps(status, sort_keys=True)
        if text != self._said:
            self._said = text
            self._request("kv_put", SPACE, STATUS, text.encode(), True)

    def close(self, end_nodes: bool) -> None:
        """End; with ``end_nodes`` all nodes are given back."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if end_nodes:
            self._launcher.close()


def _conditions(rows: list[Any]) -> tuple[Any, ...]:
    return tuple(tuple((key, value) for key, value in row) for row in rows)
