"""One dataset shared out among several consumers, in whatever processes they are.

An actor (the coordinator) runs the dataset once per epoch and gives each consumer its next block when it
asks.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rayjup.data.block.bundle import Bundle
from rayjup.data.block.convert import to_table
from rayjup.data.iterator import DataIterator

if TYPE_CHECKING:
    from rayjup.data.context import DataContext
    from rayjup.data.dataset import Dataset
    from rayjup.data.schema import Schema


class Sharing:
    """Who gets which rows of an epoch. Pure: blocks in (``add``), pieces out (``take``).

    Parameters
    ----------
    n : int
        Consumers.
    equal : bool
        All get the same number of rows in the end: what is left over is not given to anybody.
    """

    def __init__(self, n: int, equal: bool) -> None:
        self.n, self.equal = n, equal
        self.queues: list[deque[tuple[Any, int, int]]] = [deque() for _ in range(n)]
        self.rows = [0] * n
        self.held: deque[tuple[Any, int, int]] = deque()
        self.ended = False

    def add(self, block: Any, rows: int) -> None:
        """A block has come; to whom it goes is decided at once: whoever has the fewest rows."""
        if not self.equal:
            consumer = min(range(self.n), key=lambda i: (self.rows[i], i))
            self.queues[consumer].append((block, 0, rows))
            self.rows[consumer] += rows
            return
        self.held.append((block, 0, rows))
        self._share()

    def _share(self) -> None:
        """Give each consumer the same number of the rows that are there."""
        each = sum(end - start for _, start, end in self.held) // self.n
        if not each or (not self.ended and each < 1):
            return
        for consumer in range(self.n):
            need = each
            while need:
                block, start, end = self.held.popleft()
                part = min(need, end - start)
                self.queues[consumer].append((block, start, start + part))
                if start + part < end:
                    self.held.appendleft((block, start + part, end))
                need -= part
            self.rows[consumer] += each

    def end(self) -> None:
        """There are no more blocks."""
        self.ended = True
        self.held.clear()

    def take(self, consumer: int) -> tuple[Any, int, int] | None:
        """The next piece (block, start, end) of a consumer; None: there is none now."""
        queue = self.queues[consumer]
        return queue.popleft() if queue else None

    @property
    def waiting_rows(self) -> int:
        """Rows that have been shared out and not been taken."""
        return sum(end - start for q in self.queues for _, start, end in q)


class _Coordinator:
    """Runs the dataset and shares it out; one call at a time.

    Calls never block: who finds nothing is told to ask again.
    """

    def __init__(self, dataset: Dataset, n: int, equal: bool) -> None:
        self._dataset, self._n, self._equal = dataset, n, equal
        self._epoch = -1
        self._arrived: dict[int, str] = {}
        self._current: dict[int, str] = {}
        self._bundles: Iterator[Bundle] | None = None
        self._sharing = Sharing(n, equal)

    def start(self, consumer: int, token: str) -> int:
        """The epoch of an iteration that a consumer has begun; -1 until all others have begun one, too.

        Parameters
        ----------
        token
            Stands for the iteration: consumers may be started anew, and know nothing of epochs before.
        """
        if self._current.get(consumer) == token:
            return self._epoch
        self._arrived[consumer] = token
        if len(self._arrived) < self._n:
            return -1
        self._current, self._arrived = self._arrived, {}
        self._epoch += 1
        close = getattr(self._bundles, "close", None)
        if close is not None:
            close()
        self._bundles = self._dataset._bundles()
        self._sharing = Sharing(self._n, self._equal)
        return self._epoch

    def next(self, consumer: int, epoch: int) -> tuple[str, Any, int, int]:
        """The next piece of a consumer: ("rows", ref, start, end), or ("end", ...)."""
        if epoch != self._epoch:
            return "end", None, 0, 0
        while True:
            piece = self._sharing.take(consumer)
            if piece is not None:
                return "rows", [piece[0]], piece[1], piece[2]
            if self._sharing.ended:
                return "end", None, 0, 0
            assert self._bundles is not None
            bundle = next(self._bundles, None)
            if bundle is None:
                self._sharing.end()
                continue
            rows = bundle.num_rows
            if rows is None:
                rows = bundle.table().num_rows
            if rows:
                self._sharing.add(bundle.argument() if bundle.is_local else bundle.ref(), rows)

    def schema(self) -> Any:
        """The schema of the dataset."""
        return self._dataset.schema()

    def stats(self) -> str:
        """What the last epoch did."""
        return self._dataset.stats()


class SplitIterator(DataIterator):
    """The rows of one of several consumers."""

    def __init__(self, coordinator: Any, consumer: int, n: int, context: DataContext) -> None:
        self._coordinator, self._consumer, self._n = coordinator, consumer, n
        self._context = context

    def _blocks(self) -> Iterator[pa.Table]:
        import rayjup

        epoch = self._wait()
        coming = self._coordinator.next.remote(self._consumer, epoch)
        while True:
            what, holder, start, end = rayjup.get(coming)
            if what == "end":
                return
            coming = self._coordinator.next.remote(self._consumer, epoch)
            block = holder[0] if isinstance(holder[0], pa.Table) else rayjup.get(holder[0])
            yield to_table(block).slice(start, end - start)

    def _wait(self) -> int:
        """Wait until all consumers want the next epoch."""
        import rayjup

        token = uuid.uuid4().hex
        pause, warned = 0.001, time.monotonic() + 30
        while True:
            epoch = rayjup.get(self._coordinator.start.remote(self._consumer, token))
            if epoch >= 0:
                return epoch
            if time.monotonic() > warned:
                import logging

                logging.getLogger(__name__).warning(
                    "Consumer %d of a streaming_split waits for the others: an epoch begins when all %d "
                    "have asked for it. "
                    "Iterate over all parts at the same time, in tasks, actors or threads.",
                    self._consumer,
                    self._n,
                )
                warned = time.monotonic() + 300
            time.sleep(pause)
            pause = min(2 * pause, 0.05)

    def schema(self) -> Schema | None:
        """Names and types of the columns."""
        import rayjup

        return rayjup.get(self._coordinator.schema.remote())

    def stats(self) -> str:
        """What the last epoch did."""
        import rayjup

        return rayjup.get(self._coordinator.stats.remote())

    def get_context(self) -> DataContext:
        """The settings of the dataset."""
        return self._context

    def world_size(self) -> int:
        """How many consumers there are."""
        return self._n

    def __repr__(self) -> str:
        return f"StreamSplitDataIterator({self._consumer} of {self._n})"


def split_iterators(
    dataset: Dataset, n: int, equal: bool, locality_hints: list[Any] | None
) -> list[DataIterator]:
    """The iterators of the consumers, and the actor behind them."""
    import rayjup

    if locality_hints is not None and len(locality_hints) != n:
        raise ValueError(f"streaming_split: {len(locality_hints)} locality hints for {n} consumers.")
    if not rayjup.is_initialized():
        rayjup.init()
    actor = rayjup.remote(num_cpus=0, max_restarts=0)(_Coordinator)
    coordinator = actor.options(name=f"SplitCoordinator-{uuid.uuid4().hex[:8]}").remote(dataset, n, equal)
    return [SplitIterator(coordinator, i, n, dataset.context) for i in range(n)]
