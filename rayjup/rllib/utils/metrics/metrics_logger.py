"""MetricsLogger: values under (nested) keys, reduced to statistics.

Every runner and learner has one, hands over what is new (`reduce`), and the algorithm's joins it
(`aggregate`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from rayjup.rllib.utils.metrics.stats import DEFAULT_STATS_CLS_LOOKUP, StatsBase

Key = str | tuple[str, ...]


class MetricsLogger:
    """A tree of statistics.

    Parameters
    ----------
    root
        True for the algorithm's own, which keeps lifetime sums.
    stats_cls_lookup
        Statistics by the name that ``reduce=`` gives; for other kinds than the usual ones.

    Examples
    --------
    >>> from rayjup.rllib.utils.metrics.metrics_logger import MetricsLogger
    >>> logger = MetricsLogger()
    >>> logger.log_value("loss", 1.0)
    >>> logger.log_value("loss", 2.0)
    >>> logger.log_value(("env", "steps"), 10, reduce="sum")
    >>> logger.peek("loss"), logger.reduce(compile=True)
    (1.5, {'loss': 1.5, 'env': {'steps': 10}})
    """

    def __init__(
        self, root: bool = False, stats_cls_lookup: dict[str, type[StatsBase]] | None = None
    ) -> None:
        self._root = root
        self._lookup = {**DEFAULT_STATS_CLS_LOOKUP, **(stats_cls_lookup or {})}
        self.stats: dict[str, Any] = {}

    # ------------------------------------------------------------ logging

    def log_value(
        self,
        key: Key,
        value: Any,
        *,
        reduce: str | None = None,
        window: float | None = None,
        ema_coeff: float | None = None,
        percentiles: Any = None,
        clear_on_reduce: bool | None = None,
        with_throughput: bool | None = None,
        throughput_ema_coeff: float | None = None,
        reduce_per_index_on_aggregate: bool | None = None,
    ) -> None:
        """Add a value.

        Parameters
        ----------
        key
            Name, or path of names.
        value
            Number, tensor, or (for "item" and "item_series") anything.
        reduce
            "mean" (the default), "ema", "min", "max", "sum", "lifetime_sum", "percentiles", "item",
            "item_series".
        window
            How many of the newest values count; they then stay over a `reduce()`.
        ema_coeff
            Weight of a new value in an exponential moving average; makes ``reduce="ema"``.
        percentiles
            Which ones; makes ``reduce="percentiles"``.
        clear_on_reduce
            False for sums makes them "lifetime_sum".
        with_throughput
            Also know the sum per second.
        """
        stats = self._find(key)
        if stats is None:
            stats = self._make(reduce, window, ema_coeff, percentiles, clear_on_reduce, with_throughput)
            self._put(key, stats)
        stats.push(value)

    def log_dict(self, value_dict: dict[str, Any], *, key: Key | None = None, **settings: Any) -> None:
        """`log_value` for all (nested) values."""
        for path, value in _flat(value_dict, _path(key)):
            if isinstance(value, StatsBase):
                self._merge_into(path, [value])
            else:
                self.log_value(path, value, **settings)

    @contextlib.contextmanager
    def log_time(
        self,
        key: Key,
        *,
        reduce: str = "ema",
        window: float | None = None,
        ema_coeff: float | None = None,
        percentiles: Any = None,
        clear_on_reduce: bool | None = None,
        with_throughput: bool | None = None,
        **ignored: Any,
    ) -> Iterator[None]:
        """Log the seconds that the ``with`` block takes."""
        begun = time.perf_counter()
        yield
        self.log_value(
            key,
            time.perf_counter() - begun,
            reduce=reduce,
            window=window,
            ema_coeff=ema_coeff,
            percentiles=percentiles,
            clear_on_reduce=clear_on_reduce,
            with_throughput=with_throughput,
        )

    def aggregate(self, stats_dicts: list[dict[str, Any]], *, key: Key | None = None) -> None:
        """Join what other loggers' `reduce` returned."""
        gathered: dict[tuple[str, ...], list[StatsBase]] = {}
        for stats_dict in stats_dicts:
            for path, stats in _flat(stats_dict, _path(key)):
                if isinstance(stats, StatsBase):
                    gathered.setdefault(path, []).append(stats)
                else:
                    self.log_value(path, stats)
        for path, parts in gathered.items():
            self._merge_into(path, parts)

    def _merge_into(self, path: tuple[str, ...], parts: list[StatsBase]) -> None:
        own = self._find(path)
        if own is None:
            own = parts[0].clone({"is_root": self._root, "is_leaf": False})
            self._put(path, own)
        own.merge(parts)

    # ------------------------------------------------------------ reading

    def peek(
        self,
        key: Key | None = None,
        default: Any = None,
        compile: bool = True,
        throughput: bool = False,
        latest_merged_only: bool = False,
    ) -> Any:
        """Results so far, under a key or all of them.

        Parameters
        ----------
        key
            Name or path; None for everything.
        default
            What to return when there is nothing; a KeyError without it.
        compile
            False leaves them in lists.
        throughput
            The sums per second instead.
        latest_merged_only
            Only what was joined last.
        """
        found = self.stats if key is None else self._find(key, any_node=True)
        if found is None:
            if default is None:
                raise KeyError(f"nothing was logged under {key!r}.")
            return default
        if isinstance(found, StatsBase):
            if throughput:
                return found.throughputs if found.has_throughputs else default  # type: ignore[attr-defined]
            return found.peek(compile=compile, latest_merged_only=latest_merged_only)
        return _mapped(found, lambda s: s.peek(compile=compile, latest_merged_only=latest_merged_only))

    @staticmethod
    def peek_results(results: Any, compile: bool = True) -> Any:
        """Statistics in a result as their values."""
        return _mapped(results, lambda s: s.peek(compile=compile) if isinstance(s, StatsBase) else s)

    def reduce(self, compile: bool = False) -> dict[str, Any]:
        """All statistics, to be joined by another logger, or (``compile=True``) their values; begins anew."""
        found = _mapped(self.stats, lambda s: s.reduce(compile=compile))
        return found

    def compile(self) -> dict[str, Any]:
        """``reduce(compile=True)``, with the throughputs beside."""
        throughputs = {}
        for path, stats in _flat(self.stats):
            if stats.has_throughputs:
                name = (*path[:-1], f"{path[-1]}_throughput")
                throughputs[name] = stats.throughputs
        found = self.reduce(compile=True)
        for path, value in throughputs.items():
            node = found
            for part in path[:-1]:
                node = node[part]
            node[path[-1]] = value
        return found

    # ------------------------------------------------------------ the rest

    def set_value(self, key: Key, value: Any, **settings: Any) -> None:
        """Begin a key anew with a value."""
        if self._find(key) is not None:
            self.delete(*_path(key))
        self.log_value(key, value, **settings)

    def delete(self, *key: Any, key_error: bool = True) -> None:
        """Drop what is under a key."""
        path = _path(key[0] if len(key) == 1 else key)
        node: Any = self.stats
        for part in path[:-1]:
            node = node.get(part, {})
        if path[-1] not in node and key_error:
            raise KeyError(f"nothing was logged under {path!r}.")
        node.pop(path[-1], None)

    def reset(self) -> None:
        """Drop everything."""
        self.stats = {}

    def get_state(self) -> dict[str, Any]:
        """All statistics, as plain values."""
        return {"stats": {"/".join(path): stats.get_state() for path, stats in _flat(self.stats)}}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` returned."""
        self.stats = {}
        for path, own in state["stats"].items():
            self._put(tuple(path.split("/")), StatsBase.from_state(own))

    def _find(self, key: Key, any_node: bool = False) -> Any:
        node: Any = self.stats
        for part in _path(key):
            if not isinstance(node, dict) or part not in node:
                return None
            node = node[part]
        if isinstance(node, dict) and not any_node:
            raise KeyError(f"{key!r} is a group of values: log under a name inside of it.")
        return node

    def _put(self, key: Key, stats: StatsBase) -> None:
        *path, last = _path(key)
        node = self.stats
        for part in path:
            node = node.setdefault(part, {})
        node[last] = stats

    def _make(
        self, reduce: Any, window: Any, ema: Any, percentiles: Any, clear: Any, throughput: Any
    ) -> StatsBase:
        if percentiles:
            reduce = "percentiles"
        elif reduce is None:
            reduce = "ema" if ema is not None else "mean"
        if reduce == "sum" and clear is False:
            reduce = "lifetime_sum"
        if reduce not in self._lookup:
            raise ValueError(f"reduce={reduce!r}: one of {sorted(self._lookup)}.")
        kind = self._lookup[reduce]
        settings: dict[str, Any] = {"is_root": self._root}
        if reduce in ("mean", "min", "max", "percentiles", "item_series"):
            settings["window"] = window
        if reduce == "percentiles":
            settings["percentiles"] = percentiles
        if reduce == "ema":
            settings["ema_coeff"] = 0.01 if ema is None else ema
        if reduce in ("sum", "lifetime_sum"):
            settings["with_throughput"] = bool(throughput)
        return kind(**settings)


def stats_from_legacy_state(state: dict[str, Any], is_root: bool = False) -> StatsBase:
    """A statistic from the state that Ray 2.50 and older wrote (``values``, ``reduce``, ``window``, …)."""
    reduce = state.get("reduce") or "item_series"
    if reduce == "sum" and not state.get("clear_on_reduce", True):
        reduce = "lifetime_sum"
    if reduce == "mean" and state.get("ema_coeff") is not None and state.get("window") is None:
        reduce = "ema"
    kind = DEFAULT_STATS_CLS_LOOKUP[reduce]
    settings: dict[str, Any] = {"is_root": is_root}
    if reduce in ("mean", "min", "max", "item_series"):
        settings["window"] = state.get("window")
    if reduce == "ema":
        settings["ema_coeff"] = state["ema_coeff"]
    stats = kind(**settings)
    for value in state.get("values", []):
        stats.push(value)
    return stats


def _path(key: Any) -> tuple[str, ...]:
    if key is None:
        return ()
    return (key,) if isinstance(key, str) else tuple(key)


def _flat(tree: dict[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def _mapped(tree: Any, function: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _mapped(value, function) for key, value in tree.items()}
    return function(tree)
