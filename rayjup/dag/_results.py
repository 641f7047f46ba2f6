"""Results of a compiled graph on their way to those who ask for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rayjup.base.exceptions import RayCgraphCapacityExceeded, RayChannelError, RayChannelTimeoutError
from rayjup.dag._loop import pick
from rayjup.experimental.channel import Reader

_GONE = object()  # in place of a result that was taken, or that nobody can ask for


class Results:
    """Reads the output channels, execution by execution, and keeps what was not asked for yet.

    Parameters
    ----------
    readers
        The output channels by number.
    outputs
        Where each output of an execution comes from: number of the channel, and which part of its value.
    most
        Executions whose results are kept.
    default_timeout
        Seconds to wait for a result, where nothing else is said.
    reason
        Gives the error to raise for a channel that ended.
    """

    def __init__(
        self,
        readers: dict[int, Reader],
        outputs: Sequence[tuple[int, tuple[Any, ...]]],
        most: int,
        default_timeout: float,
        reason: Callable[[RayChannelError], Exception],
    ) -> None:
        self.readers = readers
        self.outputs = outputs
        self.most = most
        self.default_timeout = default_timeout
        self.reason = reason
        self.submitted = -1  # index of the last execution
        self.finished = -1  # index of the last one whose results are here
        self.kept: dict[int, list[Any]] = {}  # by execution: (value, failed) of each output
        self._partial: dict[int, tuple[Any, bool]] = {}  # of the next execution, by channel
        self._dropped: dict[int, set[int]] = {}  # outputs of later executions whose refs are gone

    @property
    def under_way(self) -> int:
        """Executions whose results were not read yet."""
        return self.submitted - self.finished

    def ready(self) -> bool:
        """Whether all results of the next execution are there."""
        return self.finished < self.submitted and all(
            number in self._partial or reader.ready() for number, reader in self.readers.items()
        )

    def until(self, index: int, timeout: float | None) -> None:
        """Read until the results of execution ``index`` are here."""
        if self.finished >= index:
            return
        if timeout is None:
            timeout = self.default_timeout
        deadline = None if timeout < 0 else time.monotonic() + timeout
        while self.finished < index:
            if len(self.kept) >= self.most:
                raise RayCgraphCapacityExceeded(
                    f"The compiled graph can't have more than {self.most} buffered results, and you "
                    "currently "
                    f"have {len(self.kept)} buffered results. Call `ray.get()` on earlier refs, or increase "
                    "`_max_buffered_results`."
                )
            self.read_next(deadline)

    def read_next(self, deadline: float | None) -> None:
        """Read the results of the next execution; those whose refs are gone are not kept."""
        found = self._partial
        try:
            for number, reader in self.readers.items():
                if number in found:
                    continue  # read before a timeout
                left = None
                if deadline is not None and not reader.ready():
                    left = max(0.0, deadline - time.monotonic())
                found[number] = reader.read(left)
        except RayChannelTimeoutError as error:
            raise RayChannelTimeoutError(
                "the result did not come in time. If the execution is expected to take long, increase "
                f"RAY_CGRAPH_get_timeout, which is currently {self.default_timeout} seconds, or give "
                "ray.get() a "
                "timeout. Otherwise, this may indicate that the execution is hanging."
            ) from error
        except RayChannelError as error:
            raise self.reason(error) from None
        self._partial = {}
        self.finished += 1
        dropped = self._dropped.pop(self.finished, set())
        outputs: list[Any] = []
        for position, (number, keys) in enumerate(self.outputs):
            value, failed = found[number]
            if not failed and keys:
                value = pick(value, keys)
            outputs.append(_GONE if position in dropped else (value, failed))
        if len(dropped) < len(outputs):
            self.kept[self.finished] = outputs

    def take(self, index: int, output: int) -> Any:
        """The result, which is not kept any longer; raises it where it is an error."""
        value, failed = self.kept[index][output]
        self.forget(index, output)
        if failed:
            raise value.as_instanceof_cause() if hasattr(value, "as_instanceof_cause") else value
        return value

    def forget(self, index: int, output: int) -> None:
        """Nobody will ask for this result."""
        if index > self.finished:
            self._dropped.setdefault(index, set()).add(output)
            return
        outputs = self.kept.get(index)
        if outputs is not None:
            outputs[output] = _GONE
            if all(item is _GONE for item in outputs):
                del self.kept[index]

    def pass_over_dropped(self) -> None:
        """Read one execution's results, if nobody can ask for them any more: makes room for another."""
        if len(self._dropped.get(self.finished + 1, ())) == len(self.outputs):
            self.read_next(time.monotonic() + self.default_timeout)
