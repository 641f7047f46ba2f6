"""The state of a running plan: nodes that take blocks and ask for tasks. No I/O here.

The runner moves finished blocks from node to node (``feed``, ``close``), asks for tasks (``next_task``),
runs them, and reports
what they yield (``on_item``) and that they have ended (``on_done``). Blocks come out (``out``) in order of
the tasks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from rayjup.data.block.bundle import Bundle
from rayjup.data.compute import ActorPoolStrategy, TaskPoolStrategy
from rayjup.data.logical.base import Remote
from rayjup.data.physical.works import Work


@dataclass(eq=False)
class Task:
    """One call of a work."""

    node: Node
    work: Work
    index: int
    inputs: list[Any]  # bundles, and read tasks
    tag: Any = None
    items: deque[Bundle] = field(default_factory=deque)
    done: bool = False
    actor: Any = None

    @property
    def input_bytes(self) -> int:
        """Bytes of the blocks it is given."""
        return sum(b.nbytes for b in self.inputs if isinstance(b, Bundle))


@dataclass
class Counts:
    """What a node has done, for statistics and progress."""

    started: int = 0
    finished: int = 0
    blocks: int = 0
    rows: int = 0
    bytes: int = 0
    wall_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    began: float | None = None
    ended: float | None = None
    expected: int | None = None  # tasks in all, where that is known
    peak_actors: int = 0
    workers: set[Any] = field(default_factory=set)


class Node:
    """One stage of a running plan.

    Parameters
    ----------
    name
        As shown in statistics.
    inputs
        The nodes that it takes blocks from.
    """

    compute: TaskPoolStrategy | ActorPoolStrategy = TaskPoolStrategy()
    remote: Remote = Remote()

    def __init__(self, name: str, inputs: list[Node]) -> None:
        self.name = name
        self.inputs = inputs
        self.out: deque[Bundle] = deque()
        self.open = len(inputs)  # inputs that may still give blocks
        self.running: list[Task] = []
        self.stopped = False  # nobody wants more
        self.counts = Counts()

    @property
    def finished(self) -> bool:
        """True if nothing more will come out, except for what is in ``out``."""
        return (self.stopped and not self.running) or (
            self.open == 0 and not self.running and not self.waiting()
        )

    def waiting(self) -> int:
        """Tasks that could be started."""
        return 0

    def feed(self, port: int, bundle: Bundle) -> None:
        """A block of input ``port``."""
        raise NotImplementedError

    def close(self, port: int) -> None:
        """Input ``port`` has no more blocks."""
        self.open -= 1
        if self.open == 0:
            self.on_closed()

    def on_closed(self) -> None:
        """All inputs have ended."""

    def next_task(self) -> Task | None:
        """The next task to start, if there is one."""
        return None

    def on_item(self, task: Task, bundle: Bundle) -> None:
        """A task has yielded a block."""
        task.items.append(bundle)

    def on_done(self, task: Task) -> None:
        """A task has ended."""
        task.done = True

    @property
    def buffered(self) -> int:
        """Bytes of blocks that this node holds."""
        return sum(b.nbytes for b in self.out) + sum(b.nbytes for t in self.running for b in t.items)

    def emit(self, bundle: Bundle) -> None:
        """Give out a block."""
        if bundle.num_rows == 0 and (self.out or self.counts.blocks):
            return  # one empty block is enough to know the columns
        self.out.append(bundle)
        self.counts.blocks += 1
        self.counts.rows += bundle.num_rows or 0
        self.counts.bytes += bundle.nbytes

    def release_in_order(self) -> None:
        """Give out what the earliest tasks have yielded."""
        while self.running:
            head = self.running[0]
            while head.items:
                self.emit(head.items.popleft())
            if not head.done:
                return
            self.running.pop(0)


class SourceNode(Node):
    """Blocks that exist."""

    def __init__(self, name: str, bundles: list[Bundle]) -> None:
        super().__init__(name, [])
        for bundle in bundles:
            self.out.append(bundle)


class TaskNode(Node):
    """One task per block (or read task); blocks come out in order."""

    def __init__(
        self,
        work: Work,
        inputs: list[Node],
        reads: list[Any] | None = None,
        compute: TaskPoolStrategy | ActorPoolStrategy | None = None,
        remote: Remote | None = None,
        min_rows: int | None = None,
        min_bytes: int | None = None,
    ) -> None:
        super().__init__(work.name, inputs)
        self.work = work
        self.compute = compute or TaskPoolStrategy()
        self.remote = remote or Remote()
        self.queue: deque[list[Any]] = deque([r] for r in reads or ())
        self.counts.expected = len(self.queue) if not inputs else None
        self._min_rows, self._min_bytes = min_rows, min_bytes
        self._gathered: list[Bundle] = []
        self._next = 0

    def waiting(self) -> int:
        return len(self.queue)

    def feed(self, port: int, bundle: Bundle) -> None:
        if self._min_rows is None and self._min_bytes is None:
            self.queue.append([bundle])
            return
        self._gathered.append(bundle)
        rows = sum(b.num_rows or 0 for b in self._gathered)
        size = sum(b.nbytes for b in self._gathered)
        if rows >= (self._min_rows or 0) and size >= (self._min_bytes or 0):
            self._flush()

    def _flush(self) -> None:
        if self._gathered:
            self.queue.append(list(self._gathered))
            self._gathered = []

    def on_closed(self) -> None:
        self._flush()
        self.counts.expected = self._next + len(self.queue)

    def next_task(self) -> Task | None:
        if not self.queue or self.stopped:
            return None
        task = Task(self, self.work, self._next, self.queue.popleft())
        self._next += 1
        self.running.append(task)
        return task

    def on_item(self, task: Task, bundle: Bundle) -> None:
        task.items.append(bundle)
        self.release_in_order()

    def on_done(self, task: Task) -> None:
        task.done = True
        task.inputs = []
        self.release_in_order()


class LimitNode(Node):
    """The first rows; then the inputs are stopped."""

    def __init__(self, n: int, node: Node) -> None:
        super().__init__(f"Limit[{n}]", [node])
        self.left = n

    def feed(self, port: int, bundle: Bundle) -> None:
        if self.left <= 0 and self.counts.blocks:
            return
        rows = bundle.num_rows
        if rows is None:
            bundle = Bundle(bundle.table())
            rows = bundle.num_rows or 0
        if rows > self.left:
            bundle = bundle.slice(0, self.left)
            rows = self.left
        self.left -= rows
        self.emit(bundle)
        if self.left <= 0:
            self.stopped = True


class UnionNode(Node):
    """The blocks of the first input, then of the second, ..."""

    def __init__(self, inputs: list[Node]) -> None:
        super().__init__("Union", inputs)
        self._waiting: list[deque[Bundle]] = [deque() for _ in inputs]
        self._closed = [False] * len(inputs)
        self._current = 0

    @property
    def buffered(self) -> int:
        return super().buffered + sum(b.nbytes for q in self._waiting for b in q)

    def feed(self, port: int, bundle: Bundle) -> None:
        self._waiting[port].append(bundle)
        self._move()

    def close(self, port: int) -> None:
        self._closed[port] = True
        self._move()
        super().close(port)

    def _move(self) -> None:
        while self._current < len(self._waiting):
            queue = self._waiting[self._current]
            while queue:
                self.emit(queue.popleft())
            if not self._closed[self._current]:
                return
            self._current += 1


class MixNode(Node):
    """Blocks of several inputs in turn, in proportion to weights, by rows."""

    def __init__(self, inputs: list[Node], weights: list[float], shortest: bool) -> None:
        super().__init__("Mix", inputs)
        self._waiting: list[deque[Bundle]] = [deque() for _ in inputs]
        self._closed = [False] * len(inputs)
        self._given = [0.0] * len(inputs)
        self._weights = weights
        self._shortest = shortest

    @property
    def buffered(self) -> int:
        return super().buffered + sum(b.nbytes for q in self._waiting for b in q)

    def feed(self, port: int, bundle: Bundle) -> None:
        self._waiting[port].append(bundle)
        self._move()

    def close(self, port: int) -> None:
        self._closed[port] = True
        self._move()
        super().close(port)

    def _move(self) -> None:
        while not self.stopped:
            alive = [i for i, q in enumerate(self._waiting) if q or not self._closed[i]]
            if self._shortest and len(alive) < len(self._waiting):
                self.stopped = True
                return
            if not alive:
                return
            port = min(alive, key=lambda i: self._given[i] / self._weights[i])
            if not self._waiting[port]:
                return  # wait for its next block: the order must not depend on who is faster
            bundle = self._waiting[port].popleft()
            self._given[port] += bundle.num_rows or 0
            self.emit(bundle)


class BarrierNode(Node):
    """Base class of nodes that see all blocks of all inputs before they ask for tasks."""

    def __init__(self, name: str, inputs: list[Node], remote: Remote | None = None) -> None:
        super().__init__(name, inputs)
        self.held: list[list[Bundle]] = [[] for _ in inputs]
        self.queue: deque[Task] = deque()
        self.remote = remote or Remote()

    def feed(self, port: int, bundle: Bundle) -> None:
        self.held[port].append(bundle)

    def waiting(self) -> int:
        return len(self.queue)

    def ask(self, work: Work, index: int, inputs: list[Any], tag: Any = None) -> None:
        """Put a task into the queue."""
        self.queue.append(Task(self, work, index, inputs, tag))

    def next_task(self) -> Task | None:
        if not self.queue or self.stopped:
            return None
        task = self.queue.popleft()
        self.running.append(task)
        return task

    def on_item(self, task: Task, bundle: Bundle) -> None:
        task.items.append(bundle)
        self.release_in_order()

    def on_done(self, task: Task) -> None:
        task.done = True
        task.inputs = []
        self.release_in_order()
