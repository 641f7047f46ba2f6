"""Statistics: what a logged series of values is reduced to.

Every kind takes values (`push`), says what it makes of them (`peek`), hands that over and begins anew
(`reduce`), and joins what others handed over (`merge`): the runners' statistics end up in the algorithm's.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np


def _number(value: Any) -> Any:
    """Tensors and NumPy scalars as Python numbers."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        return value.item() if value.numel() == 1 else value.numpy()
    return value.item() if isinstance(value, np.generic) else value


class StatsBase:
    """Base of statistics.

    Parameters
    ----------
    is_root
        The one in the algorithm: lifetime counts stay there.
    is_leaf
        The one values are pushed to; others are merged into.
    """

    stats_cls_identifier = "base"

    def __init__(self, is_root: bool = False, is_leaf: bool = True) -> None:
        self.is_root, self.is_leaf = is_root, is_leaf
        self._last: Any = None  # what was merged last

    def _init_args(self) -> dict[str, Any]:
        return {"is_root": self.is_root, "is_leaf": self.is_leaf}

    @property
    def has_throughputs(self) -> bool:
        """Whether it knows values per second."""
        return False

    def initialize_throughput_reference_time(self, time: float) -> None:
        """Count values per second from this time (of `time.perf_counter`) on."""

    def push(self, value: Any) -> None:
        """Take one value."""
        self._push(_number(value))

    def _push(self, value: Any) -> None:
        raise TypeError(f"{type(self).__name__} takes no values.")

    def _values(self) -> Any:
        """Everything that another one needs to join this."""
        raise TypeError(f"{type(self).__name__} has no values.")

    def _take(self, values: Any) -> None:
        raise TypeError(f"{type(self).__name__} takes no values.")

    def _clear(self) -> None:
        pass

    def _result(self) -> Any:
        raise TypeError(f"{type(self).__name__} has no result.")

    def peek(self, compile: bool = True, latest_merged_only: bool = False) -> Any:
        """What the values amount to; ``compile=False``: in a list."""
        own: StatsBase = self
        if latest_merged_only and self._last is not None:
            own = self.clone()
            own._take(self._last)
        result = own._result()
        return result if compile or isinstance(result, list) else [result]

    def reduce(self, compile: bool = True) -> Any:
        """What the values amount to; begins anew. With ``compile=False`` a statistic that can be merged."""
        result = self.peek() if compile else self._handed_over()
        self._clear()
        return result

    def _handed_over(self) -> StatsBase:
        copy = self.clone()
        copy._take(self._values())
        return copy

    def merge(self, incoming_stats: list[Any]) -> None:
        """Join what others handed over."""
        for other in incoming_stats:
            values = other._values()
            self._take(values)
            self._last = values

    def clone(self, init_overrides: dict[str, Any] | None = None) -> StatsBase:
        """A new one with the same settings, and no values."""
        return type(self)(**{**self._init_args(), **(init_overrides or {})})

    def get_state(self) -> dict[str, Any]:
        """Settings and values."""
        return {"class": type(self).__name__, "init": self._init_args(), "values": self._values()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take values."""
        self._clear_all()
        self._take(state["values"])

    def _clear_all(self) -> None:
        self._clear()

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> StatsBase:
        """The one `get_state` was called on."""
        kind = CLASSES.get(state["class"], cls)
        new = kind(**state["init"])
        new.set_state(state)
        return new

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.peek()})"

    def __float__(self) -> float:
        return float(self.peek())


class ItemStats(StatsBase):
    """The newest value."""

    stats_cls_identifier = "item"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._item: Any = None

    def push(self, item: Any) -> None:
        """Take a value of any kind."""
        self._item = _number(item)

    def _values(self) -> Any:
        return self._item

    def _take(self, values: Any) -> None:
        if values is not None:
            self._item = values

    def _result(self) -> Any:
        return self._item

    def _clear_all(self) -> None:
        self._item = None


class ItemSeriesStats(StatsBase):
    """All values, or the newest ``window`` of them."""

    stats_cls_identifier = "item_series"

    def __init__(self, window: int | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._window = window
        self._items: deque[Any] = deque(maxlen=window)

    def _init_args(self) -> dict[str, Any]:
        return {**super()._init_args(), "window": self._window}

    def push(self, item: Any) -> None:
        """Take a value of any kind."""
        self._items.append(_number(item))

    def _values(self) -> Any:
        return list(self._items)

    def _take(self, values: Any) -> None:
        self._items.extend(values)

    def _result(self) -> Any:
        return list(self._items)

    def _clear(self) -> None:
        self._items.clear()


class SumStats(StatsBase):
    """The sum since the last `reduce`."""

    stats_cls_identifier = "sum"

    def __init__(self, with_throughput: bool = False, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._with_throughput = with_throughput
        self._sum: Any = 0.0
        self._any = False
        self._since = time.perf_counter()
        self._throughput = 0.0

    def _init_args(self) -> dict[str, Any]:
        return {**super()._init_args(), "with_throughput": self._with_throughput}

    @property
    def has_throughputs(self) -> bool:
        """Whether it knows values per second."""
        return self._with_throughput

    def initialize_throughput_reference_time(self, time: float) -> None:
        """Count from this time on."""
        self._since = time

    @property
    def throughputs(self) -> float:
        """Sum per second, since the last `reduce`."""
        passed = time.perf_counter() - self._since
        return float(self._sum) / passed if passed > 0 else 0.0

    def _push(self, value: Any) -> None:
        self._sum = self._sum + value if self._any else value
        self._any = True

    def _values(self) -> Any:
        return self._sum if self._any else None

    def _take(self, values: Any) -> None:
        if values is not None:
            self._push(values)

    def _result(self) -> Any:
        return self._sum

    def _clear(self) -> None:
        self._throughput = self.throughputs
        self._sum, self._any = 0.0, False
        self._since = time.perf_counter()


class LifetimeSumStats(SumStats):
    """The sum since the beginning; runners hand over what is new, the algorithm's keeps the whole."""

    stats_cls_identifier = "lifetime_sum"

    def __init__(self, with_throughput: bool = False, *args: Any, **kwargs: Any) -> None:
        super().__init__(with_throughput, *args, **kwargs)
        self._handed = 0.0
        self._at_reduce = self._at_restore = 0.0
        self._restored = time.perf_counter()

    @property
    def throughput_since_last_reduce(self) -> float:
        """Growth per second since the last `reduce`."""
        passed = time.perf_counter() - self._since
        return float(self._sum - self._at_reduce) / passed if passed > 0 else 0.0

    @property
    def throughput_since_last_restore(self) -> float:
        """Growth per second since the beginning, or since a state was set."""
        passed = time.perf_counter() - self._restored
        return float(self._sum - self._at_restore) / passed if passed > 0 else 0.0

    @property
    def throughputs(self) -> Any:
        """Both."""
        return {
            "throughput_since_last_reduce": self.throughput_since_last_reduce,
            "throughput_since_last_restore": self.throughput_since_last_restore,
        }

    def _handed_over(self) -> StatsBase:
        copy = self.clone()
        copy._take(self._sum - (0.0 if self.is_root else self._handed))
        self._handed = self._sum
        return copy

    def _clear(self) -> None:
        self._at_reduce, self._since = self._sum, time.perf_counter()

    def _clear_all(self) -> None:
        self._sum, self._any, self._handed = 0.0, False, 0.0

    def set_state(self, state: dict[str, Any]) -> None:
        """Take the sum."""
        super().set_state(state)
        self._at_reduce = self._at_restore = self._handed = self._sum
        self._restored = self._since = time.perf_counter()


class SeriesStats(StatsBase):
    """Base of mean, minimum and maximum, of everything since the last `reduce` or of the newest ``window``
    values.

    With a window, values stay over a `reduce`.
    """

    stats_cls_identifier = "series"

    def __init__(self, window: float | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._window = int(window) if window not in (None, float("inf")) else None  # type: ignore[arg-type]
        self._series: deque[Any] = deque(maxlen=self._window)
        self._fresh: list[Any] = []  # not handed over yet

    def _init_args(self) -> dict[str, Any]:
        return {**super()._init_args(), "window": self._window}

    def _push(self, value: Any) -> None:
        self._series.append(value)
        if self._window is not None and not self.is_root:
            self._fresh.append(value)

    def _values(self) -> Any:
        return list(self._series)

    def _take(self, values: Any) -> None:
        self._series.extend(values)

    def _handed_over(self) -> StatsBase:
        copy = self.clone()
        copy._take(self._fresh if self._window is not None and not self.is_root else self._values())
        self._fresh = []
        return copy

    def window_reduce(self, values: Any = None) -> list[Any]:
        """The values in the window (or ``values``), reduced, in a list."""
        series = list(self._series if values is None else values)
        return [self._of(series)] if series else [float("nan")]

    def running_reduce(self, value_1: Any, value_2: Any) -> list[Any]:
        """Two values, reduced, in a list."""
        return [self._of([value_1, value_2])]

    def _of(self, values: list[Any]) -> Any:
        raise TypeError(f"{type(self).__name__} must define _of().")

    def _result(self) -> Any:
        return self.window_reduce()[0]

    def _clear(self) -> None:
        if self._window is None:
            self._series.clear()

    def _clear_all(self) -> None:
        self._series.clear()
        self._fresh = []


class MeanStats(SeriesStats):
    """The mean, with a count, so that means of unequal many values join rightly."""

    stats_cls_identifier = "mean"

    def _of(self, values: list[Any]) -> Any:
        return float(np.nanmean(values))


class MinStats(SeriesStats):
    """The smallest value."""

    stats_cls_identifier = "min"

    def _of(self, values: list[Any]) -> Any:
        return float(np.nanmin(values))


class MaxStats(SeriesStats):
    """The largest value."""

    stats_cls_identifier = "max"

    def _of(self, values: list[Any]) -> Any:
        return float(np.nanmax(values))


class EmaStats(StatsBase):
    """An exponential moving average; those of several runners are averaged."""

    stats_cls_identifier = "ema"

    def __init__(self, ema_coeff: float = 0.01, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._coeff = ema_coeff
        self._value: float | None = None

    def _init_args(self) -> dict[str, Any]:
        return {**super()._init_args(), "ema_coeff": self._coeff}

    def _push(self, value: Any) -> None:
        value = float(value)
        self._value = value if self._value is None else (1 - self._coeff) * self._value + self._coeff * value

    def merge(self, incoming_stats: list[Any]) -> None:
        """The mean of theirs."""
        known = [s._value for s in incoming_stats if s._value is not None]
        if known:
            self._value = self._last = float(np.mean(known))

    def _values(self) -> Any:
        return self._value

    def _take(self, values: Any) -> None:
        if values is not None:
            self._value = float(values)

    def _result(self) -> Any:
        return float("nan") if self._value is None else self._value

    def _clear_all(self) -> None:
        self._value = None


class PercentilesStats(SeriesStats):
    """Percentiles of the newest ``window`` values."""

    stats_cls_identifier = "percentiles"

    def __init__(
        self, percentiles: Any = None, window: float | None = None, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(window, *args, **kwargs)
        usual = [0, 50, 75, 90, 95, 99, 100]
        self._percentiles = usual if percentiles in (None, True) else list(percentiles)

    def _init_args(self) -> dict[str, Any]:
        return {**super()._init_args(), "percentiles": self._percentiles}

    def _result(self) -> Any:
        if not self._series:
            return dict.fromkeys(self._percentiles)
        found = np.percentile(list(self._series), self._percentiles)
        return dict(zip(self._percentiles, (float(v) for v in found), strict=True))


CLASSES = {
    kind.__name__: kind
    for kind in (
        EmaStats, ItemSeriesStats, ItemStats, LifetimeSumStats, MaxStats, MeanStats, MinStats,
        PercentilesStats, SumStats,
    )
}  # fmt: skip
DEFAULT_STATS_CLS_LOOKUP: dict[str, type[StatsBase]] = {
    kind.stats_cls_identifier: kind for kind in CLASSES.values()
}
