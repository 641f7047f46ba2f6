"""Ends a task before the kernel has to, when memory runs short.

The kernel would kill whatever it likes, the node itself or the driver included. The node looks at
memory a few times a second, and above a threshold ends the executor that uses most, so that its task
is run again later or fails with an error that says what happened.

Variables of the environment, named as Ray names them: ``RAY_memory_usage_threshold`` (0.95, a part of
what there is), ``RAY_memory_monitor_refresh_ms`` (250; 0: do not look), and
``RAYJUP_memory_limit_bytes``: what this node's executors may use together, whatever the machine has.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from rayjup.engine.lane.messages import OUT_OF_MEMORY

if TYPE_CHECKING:
    from rayjup.engine.node.agent import NodeAgent
    from rayjup.engine.node.executors import ExecutorProcess

logger = logging.getLogger(__name__)

_THRESHOLD = "RAY_memory_usage_threshold"
_REFRESH_MS = "RAY_memory_monitor_refresh_ms"
_LIMIT = "RAYJUP_memory_limit_bytes"
_NOTICE_S = 0.05  # so long before its end the submitter is told why
_ANSWER_S = 0.5  # so long submitters have to say whether they would repeat their calls
_FREEING_S = 5.0  # so long an ended process may take to give its memory back
_ALIKE = 0.1  # processes that differ by less than this part use equally much
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Candidate:
    """An executor that could be ended."""

    key: Any
    nbytes: int
    retriable: bool
    started: float


def choose(candidates: Iterable[Candidate]) -> Candidate | None:
    """Which one to end: the largest of those whose work is done again, the newest among equals."""
    rows = list(candidates)
    rows = [row for row in rows if row.retriable] or rows
    if not rows:
        return None
    most = max(row.nbytes for row in rows)
    return max((row for row in rows if row.nbytes >= most * (1 - _ALIKE)), key=lambda row: row.started)


def usage(root: Path = _CGROUP) -> tuple[int, int]:
    """Bytes in use and bytes there are: of the control group where that is limited, else of the machine."""
    machine = psutil.virtual_memory()
    for limit, current, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            total = int((root / limit).read_text())
            used = int((root / current).read_text())
            stat = ((root / current).parent / "memory.stat").read_text().split()
        except (OSError, ValueError):  # not this kind of group, or "max"
            continue
        if total < machine.total:
            return used - int(stat[stat.index(cache) + 1]) if cache in stat else used, total
    return machine.total - machine.available, machine.total


def anonymous(pid: int) -> int:
    """Bytes of memory of a process that no file holds; 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        return (int(fields[1]) - int(fields[2])) * _PAGE
    except (OSError, IndexError):
        return 0


class MemoryWatch:
    """Watches for one agent."""

    def __init__(self, agent: NodeAgent) -> None:
        self.agent = agent
        self.threshold = float(os.environ.get(_THRESHOLD, 0.95))
        self.refresh_s = float(os.environ.get(_REFRESH_MS, 250)) / 1000
        self.limit = int(os.environ.get(_LIMIT, 0))
        self.ended = 0
        self._repeatable: dict[int, bool] = {}
        self._unanswered: set[int] = set()
        self._answered = asyncio.Event()

    async def run(self) -> None:
        """Look at memory until cancelled."""
        while self.refresh_s > 0:
            await asyncio.sleep(self.refresh_s)
            used, total = self._usage()
            if used > total * self.threshold:
                await self._relieve(used, total)

    def _usage(self) -> tuple[int, int]:
        if not self.limit:
            return usage()
        return sum(anonymous(process.pid) for process in self.agent.executors.all.values()), self.limit

    async def _relieve(self, used: int, total: int) -> None:
        agent = self.agent
        asked = [p for p in self._processes() if p.actor_id is None and p.asker is not None]
        self._repeatable = {}
        self._unanswered = {p.token for p in asked}
        self._answered.clear()
        for process in asked:
            assert process.asker is not None
            agent._tell_client(
                process.asker[0], ("could_repeat", agent.node_id, process.token, process.lease_id)
            )
        if asked:
            try:
                await asyncio.wait_for(self._answered.wait(), _ANSWER_S)
            except asyncio.TimeoutError:
                pass  # a submitter may be out of memory itself: its calls count as repeatable
        rows = [
            Candidate(
                p.token,
                anonymous(p.pid),
                p.restartable if p.actor_id is not None else self._repeatable.get(p.token, True),
                p.began,
            )
            for p in self._processes()
        ]
        chosen = choose(rows)
        if chosen is None:
            return
        process = agent.executors.all[chosen.key]
        why = self._explain(used, total, process.pid, rows)
        self.ended += 1
        logger.warning("%s", why)
        if process.actor_id is None:
            why = OUT_OF_MEMORY + why
            if process.asker is not None:
                # Ahead of the end of the connection, which says nothing.
                agent._tell_client(process.asker[0], ("revoke", process.lease_id, why))
                await asyncio.sleep(_NOTICE_S)
        agent.executors.kill(process, why)
        await self._freed(process)

    async def _freed(self, process: ExecutorProcess) -> None:
        # What it used counts until it is gone, which takes a while for much memory or on a busy
        # machine: looked at before that, another one would be ended for the same bytes.
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _FREEING_S
        while not process.ended and loop.time() < deadline:  # noqa: ASYNC110 - seldom, and for milliseconds
            await asyncio.sleep(0.01)

    def _processes(self) -> list[ExecutorProcess]:
        """Those that work for somebody."""
        return [
            p
            for p in self.agent.executors.all.values()
            if p.pid and not p.doomed and p.told and (p.lease_id or p.actor_id)
        ]

    def on_repeatable(self, token: int, repeatable: bool) -> None:
        """Whether what this executor runs would be run again; its submitter says so."""
        self._repeatable[token] = repeatable
        self._unanswered.discard(token)
        if not self._unanswered:
            self._answered.set()

    def _explain(self, used: int, total: int, pid: int, rows: list[Candidate]) -> str:
        top = sorted(rows, key=lambda row: -row.nbytes)[:5]
        executors = self.agent.executors.all
        names = ", ".join(
            f"{'an actor' if executors[row.key].actor_id else 'tasks'} in pid {executors[row.key].pid} "
            f"({row.nbytes / 1e9:.2f} GB)"
            for row in top
        )
        return (
            f"the node {self.agent.name} was low on memory ({used / 1e9:.2f} of {total / 1e9:.2f} GB used, "
            f"the threshold is {self.threshold:.0%}), and process {pid} was ended to save the others. "
            f"Those that used most: {names}. Run fewer of them at once (num_cpus=…, memory=…), let them use "
            f"less, or change {_THRESHOLD}"
        )
