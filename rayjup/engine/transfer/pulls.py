"""What belongs to a node's agent: objects it gets from other hosts for its processes, and keeps as copies.

One pull per object, however many processes wait. A copy has the name that the object's file has where it
was made, so the death of its owner removes it like any other file of the owner's; the owner is told of it,
frees it with the object, and can turn to it when the first copy is lost. Copies go first when room is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rayjup.engine.lane.secure import Gate
from rayjup.engine.objects.store import node_of
from rayjup.engine.transfer import _state, wire
from rayjup.engine.transfer.fetching import Connections, Job, Outcome, stream
from rayjup.engine.transfer.reasons import FULL, LOST, UNREACHABLE
from rayjup.engine.transfer.serving import Server

if TYPE_CHECKING:
    from rayjup.engine.lane.addresses import Endpoint
    from rayjup.engine.node.agent import NodeAgent
    from rayjup.engine.node.connection import Connection

logger = logging.getLogger(__name__)

CLIENT = "pulls"
"""Under this name room is asked for."""
_MOST_PULLS = 8  # at a time
_RESUME_S = 20.0  # what has come of an object is kept so long when its sources are gone


class Pulls:
    """Belongs to one agent; all methods run in its event loop, but those of ``server`` and streams."""

    def __init__(self, agent: NodeAgent, patience_s: float) -> None:
        self.agent = agent
        self.me = agent.node_id[:12]
        self.patience_s = patience_s
        self.gate = Gate()
        self.jobs: dict[str, Job] = {}
        self.copies: dict[str, tuple[str, int]] = {}  # name -> path with which it was asked for, bytes
        self._queue: deque[tuple[str, str, int]] = deque()  # name, path, size: not begun
        self._early: dict[str, list[tuple[Any, str]]] = {}  # who waits for those
        self._room: dict[int, tuple[str, str, int]] = {}  # requests for room
        self._numbers = 0
        self._making = 0  # copies whose files are being allocated
        self._made = 0
        self._places: dict[str, Endpoint] = {}
        self._located: dict[str, list[Job]] = {}  # jobs that wait to hear where a node is
        self.connections = Connections(lambda: self.gate)
        self.server = Server(lambda: self.gate, self._file_of, self._job_of)
        self.pulled_bytes = 0
        self.pulled_objects = 0
        self.closed = False

    # -- what others of this node want

    def want(self, connection: Connection, path: str, size: int) -> None:
        """A process wants the object in the file ``path`` of a node of another host."""
        name = os.path.basename(path)
        if not wire.NAME.match(name):
            connection.post(("pulled", path, LOST, f"{name!r} is not the name of an object"))
            return
        local = self._file_of(name)
        if local is not None:
            if name in self.copies:
                self.copies[name] = self.copies.pop(name)  # the last used is the last to go
            connection.post(("pulled", path, "", local))
            return
        job = self.jobs.get(name)
        if job is not None:
            job.waiters.append((connection, path))
            with job.changed:
                job.pull.renew(node_of(path))
                job.pull.progress_at = max(job.pull.progress_at, time.monotonic() - self.patience_s / 2)
            self._advance(job)
            return
        waiters = self._early.setdefault(name, [])
        waiters.append((connection, path))
        if len(waiters) == 1:
            self._queue.append((name, path, size))
            self._begin()

    def _begin(self) -> None:
        while self._queue and len(self._room) + self._running() < _MOST_PULLS:
            entry = self._queue.popleft()
            self._ask_for_room(entry, urgent=False)

    def _running(self) -> int:
        return self._making + sum(not job.given_up for job in self.jobs.values())

    def _ask_for_room(self, entry: tuple[str, str, int], urgent: bool) -> None:
        self._numbers += 1
        number = self._numbers if urgent else -self._numbers
        self._room[number] = entry
        self.agent.room.reserve(CLIENT, number, _pages(entry[2]), urgent)

    def on_room(self, number: int, granted: int) -> None:
        """The account of the store has answered."""
        entry = self._room.pop(number)
        name, path, size = entry
        if not granted and number < 0:
            self._ask_for_room(entry, urgent=True)
            return
        place = self.agent.place
        directory = place.store if granted else place.spill
        if self.closed or directory is None or name not in self._early:
            if granted:
                self.agent.room.freed(granted)
            self._refuse(name, FULL, "the object store of this node is full, and objects don't go to disk")
            return
        pull = _state.Pull(size, time.monotonic(), self.patience_s)
        pull.add_sources([node_of(path)])
        self._made += 1
        part = f"{directory}/.{name}.{self._made}.part"
        self._making += 1
        threading.Thread(
            target=self._make, args=(name, path, part, pull, granted), name="rayjup-room", daemon=True
        ).start()

    def _make(self, name: str, path: str, part: str, pull: _state.Pull, granted: int) -> None:
        """Allocate the file of a copy, in a thread."""
        try:
            made: Job | OSError = Job(name, path, part, pull, granted)
        except OSError as error:
            made = error
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the node with it
            self._loop.call_soon_threadsafe(self._on_made, name, granted, made)

    def _on_made(self, name: str, granted: int, made: Job | OSError) -> None:
        self._making -= 1
        if isinstance(made, Job) and name in self._early and not self.closed:
            self.jobs[name] = made
            made.waiters = self._early.pop(name)
            self._advance(made)
            return
        if granted:
            self.agent.room.freed(granted)
        if isinstance(made, Job):
            made.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(made.path)
            self._begin()
        else:
            self._refuse(name, FULL, f"this node has no room for a copy: {made.strerror}")

    def _refuse(self, name: str, why: str, text: str) -> None:
        for connection, path in self._early.pop(name, ()):
            connection.post(("pulled", path, why, text))
        self._begin()

    # -- streams

    def _advance(self, job: Job) -> None:
        """Open the streams that are due, and see whether it has ended."""
        if self.closed or self.jobs.get(job.name) is not job:
            return
        now = time.monotonic()
        if job.timer is not None:
            job.timer.cancel()
            job.timer = None
        with job.changed:
            state = job.pull.state(now)
            nodes = job.pull.open_streams(now) if state == _state.RUNNING else []
        if state == _state.RUNNING:
            if job.given_up:
                job.given_up = False  # somebody knows of another source
            for node in nodes:
                self._open(job, node)
            with job.changed:
                again = job.pull.look_again_at(now)
            if again is not None:
                loop = asyncio.get_running_loop()
                job.timer = loop.call_later(max(0.0, again - time.monotonic()), self._advance, job)
        elif state == _state.COMPLETE:
            self._complete(job)
        elif not job.given_up:
            self._fail(job, state)

    def _open(self, job: Job, node: str) -> None:
        place = self._places.get(node)
        if place is not None:
            threading.Thread(
                target=self._run, args=(job, node, place), name="rayjup-pull", daemon=True
            ).start()
            return
        waiting = self._located.setdefault(node, [])
        waiting.append(job)
        if len(waiting) == 1:
            self.agent.to_head(("locate", node))

    def on_located(self, node: str, place: Endpoint | None) -> None:
        """The head says where a node listens; None: it is no node any more, or listens to nobody."""
        if place is not None:
            self._places[node] = (place[0], place[1])
        for job in self._located.pop(node, ()):
            if place is not None:
                self._open(job, node)
            else:
                with job.changed:
                    job.pull.ended(node, _state.GONE, time.monotonic())
                self._advance(job)

    def ask_again(self) -> None:
        """There is another head: what was asked of the last one is asked once more."""
        for node in self._located:
            self.agent.to_head(("locate", node))

    def _run(self, job: Job, node: str, place: Endpoint) -> None:
        """A stream, in its thread."""
        outcome = stream(job, node, self.me, place, self.connections)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the node with it
            self._loop.call_soon_threadsafe(self._ended, job, node, outcome)

    def start(self) -> None:
        """Called in the event loop before anything else."""
        self._loop = asyncio.get_running_loop()

    def _ended(self, job: Job, node: str, outcome: Outcome) -> None:
        with job.changed:
            others = [other for other in outcome.others if other != self.me]
            job.pull.ended(node, outcome.how, time.monotonic(), outcome.index, others)
        if outcome.how == _state.FAILED:
            self._places.pop(node, None)  # it may have ended: the head knows
            logger.info("getting %s from node %s failed: %s", job.name, node, outcome.problem)
        self._advance(job)

    # -- ends

    def _complete(self, job: Job) -> None:
        name = job.name
        path = f"{os.path.dirname(job.path)}/{name}"
        job.close()
        os.rename(job.path, path)
        with self.server.lock:
            del self.jobs[name]
            job.path = path  # for streams that serve it just now
        self.copies[name] = (job.origin, job.pull.size)
        self.pulled_bytes += job.pull.size
        self.pulled_objects += 1
        owner = name.split("-", 1)[0]
        self.agent._tell_client(owner, ("copied", job.origin, self.me, path, self.agent.host))
        for connection, asked in job.waiters:
            connection.post(("pulled", asked, "", path))
        self._begin()

    def _fail(self, job: Job, state: str) -> None:
        job.give_up()
        waiters, job.waiters = job.waiters, []
        nodes = ", ".join(job.pull.sources)
        if state == _state.LOST:
            why, text = LOST, f"no node has a copy of {job.name} any more (asked: {nodes})"
        else:
            why = UNREACHABLE
            text = (
                f"{job.name}: {job.pull.arrived} of {job.pull.count} parts had come when the nodes that have "
                f"it ({nodes}) could not be reached for {self.patience_s:g} s"
            )
        for connection, asked in waiters:
            connection.post(("pulled", asked, why, text))
        loop = asyncio.get_running_loop()
        job.timer = loop.call_later(_RESUME_S, self._drop_if_given_up, job)
        self._begin()

    def _drop_if_given_up(self, job: Job) -> None:
        if job.given_up and self.jobs.get(job.name) is job:
            self._drop(job)

    def _drop(self, job: Job) -> None:
        """Forget a pull and what has come of it."""
        del self.jobs[job.name]
        job.give_up()
        if job.timer is not None:
            job.timer.cancel()
        job.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(job.path)
        if job.reserved:
            self.agent.room.freed(job.reserved)
        for connection, path in job.waiters:
            connection.post(("pulled", path, LOST, f"{job.name} was freed"))
        self._begin()

    def unlink(self, names: list[str]) -> None:
        """Owners of other hosts free what lies here, and copies that were made here."""
        freed = 0
        for name in names:
            if not wire.NAME.match(name):
                continue
            self._refuse(name, LOST, f"{name} was freed")
            if name in self.jobs:
                self._drop(self.jobs[name])
            self.copies.pop(name, None)
            self.server.sends.forget(name)
            freed += self._remove(name)
        if freed:
            self.agent.room.freed(freed)

    def _remove(self, name: str) -> int:
        """Remove the files of an object; the bytes of shared memory that gives."""
        freed = 0
        place = self.agent.place
        for directory in place.directories():
            path = f"{directory}/{name}"
            try:
                status = os.lstat(path)
                os.unlink(path)
            except FileNotFoundError:
                continue
            if directory == place.store and stat.S_ISREG(status.st_mode):
                freed += status.st_size
        return freed

    def evict(self, nbytes: int, shown: set[str]) -> int:
        """Room is needed: give up copies that no process shows, the least used first."""
        freed = 0
        for name, (origin, _) in list(self.copies.items()):
            if freed >= nbytes:
                break
            if name in shown:
                continue
            del self.copies[name]
            freed += self._remove(name)
            self.agent._tell_client(name.split("-", 1)[0], ("uncopied", origin, self.me))
        return freed

    def keep(self, name: str) -> None:
        """The copy is the object now: the first one is lost."""
        self.copies.pop(name, None)

    def owner_left(self, client: str) -> None:
        """The owner of objects is gone; their files are removed by the agent."""
        for name in [name for name in self.jobs if name.startswith(client)]:
            self._drop(self.jobs[name])
        for name in [name for name in self.copies if name.startswith(client)]:
            del self.copies[name]

    # -- for the server's threads

    def _file_of(self, name: str) -> str | None:
        for directory in self.agent.place.directories():
            path = f"{directory}/{name}"
            if os.path.exists(path):
                return path
        return None

    def _job_of(self, name: str) -> Job | None:
        job = self.jobs.get(name)
        return job if job is not None and not job.given_up else None

    def names(self) -> Iterator[str]:
        """The copies that are here: their owners are not asked to move them to disk."""
        return iter(self.copies)

    def trim(self) -> None:
        """Called about once a second."""
        self.connections.trim()

    def close(self) -> None:
        """End all transfers."""
        self.closed = True
        self.server.close()
        for job in list(self.jobs.values()):
            job.give_up()
            if job.timer is not None:
                job.timer.cancel()
        self.connections.trim(0.0)


def _pages(size: int) -> int:
    return (max(size, 1) + 4095) & ~4095
