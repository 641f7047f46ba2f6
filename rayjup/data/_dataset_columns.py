"""Columns chosen, renamed, added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rayjup.data._dataset_transform import remote_of
from rayjup.data.block.convert import to_column, to_table
from rayjup.data.compute import strategy_for
from rayjup.data.logical.base import Op
from rayjup.data.logical.columns import Drop, Rename, Select, WithColumns

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset


class AddColumn:
    """Calls a function with a batch and adds what it gives as a column."""

    def __init__(self, name: str, fn: Callable[[Any], Any], batch_format: str) -> None:
        self.column, self.fn, self.batch_format = name, fn, batch_format
        self.__name__ = getattr(fn, "__name__", "add_column")

    def __call__(self, batch: Any) -> Any:
        value = self.fn(batch)
        if self.batch_format == "pandas":
            batch = batch.copy(deep=False)
            batch[self.column] = value
            return batch
        table = to_table(batch)
        column = to_column(value, self.column)
        if self.column in table.column_names:
            return table.set_column(table.column_names.index(self.column), self.column, column)
        return table.append_column(self.column, column)


class ColumnsMixin:
    """Columns chosen, renamed, added."""

    _op: Op
    _with: Callable[[Op], Dataset]
    map_batches: Callable[..., Dataset]

    def select_columns(
        self,
        cols: str | list[str],
        *,
        compute: Any = None,
        concurrency: int | None = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """Some of the columns, in the given order. Sources such as Parquet read only these.

        Examples
        --------
        >>> import rayjup
        >>> rayjup.data.from_items([{"a": 1, "b": 2}]).select_columns(["b"]).take()
        [{'b': 2}]
        """
        names = [cols] if isinstance(cols, str) else cols
        if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
            raise ValueError(f"select_columns: {cols!r} must be a name or a list of names.")
        if len(set(names)) != len(names):
            raise ValueError(f"select_columns: {names} names a column twice.")
        return self._with(Select((self._op,), tuple((n, n) for n in names)))

    def drop_columns(
        self,
        cols: list[str],
        *,
        compute: Any = None,
        concurrency: int | None = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """Without some columns."""
        names = [cols] if isinstance(cols, str) else list(cols)
        if len(set(names)) != len(names):
            raise ValueError(f"drop_columns: {names} names a column twice.")
        return self._with(Drop((self._op,), tuple(names)))

    def rename_columns(
        self,
        names: list[str] | dict[str, str],
        *,
        concurrency: int | tuple[int, int] | tuple[int, int, int] | None = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """Other names: ``{old: new}``, or a list with one for each column."""
        if isinstance(names, Mapping):
            if not names:
                raise ValueError("rename_columns: give at least one name.")
            if not all(isinstance(k, str) and isinstance(v, str) for k, v in names.items()):
                raise ValueError(f"rename_columns: {names!r} must map strings to strings.")
            if len(set(names.values())) != len(names):
                raise ValueError(f"rename_columns: the new names {list(names.values())} are not distinct.")
            return self._with(Rename((self._op,), tuple(names.items())))
        if isinstance(names, (list, tuple)):
            if not names or not all(isinstance(n, str) for n in names) or len(set(names)) != len(names):
                raise ValueError(f"rename_columns: {names!r} must be a list of distinct strings.")
            return self._with(Rename((self._op,), every=tuple(names)))
        raise TypeError(f"rename_columns: names must be a dict or a list, not {type(names).__name__}.")

    def with_column(
        self,
        column_name: str,
        expr: Any,
        *,
        compute: Any = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """A column computed by an expression, added or replaced.

        Examples
        --------
        >>> import rayjup
        >>> from rayjup.data.expressions import col
        >>> rayjup.data.range(2).with_column("double", col("id") * 2).take()
        [{'id': 0, 'double': 0}, {'id': 1, 'double': 2}]
        """
        from rayjup.data.expressions import Expr

        if not isinstance(expr, Expr):
            raise TypeError(f"with_column: {expr!r} is no expression; make one with col(), lit() or udf.")
        strategy = None if compute is None else strategy_for(True, compute, None, "with_column")
        remote = remote_of(num_cpus, num_gpus, memory, ray_remote_args)
        return self._with(WithColumns((self._op,), ((column_name, expr),), strategy, remote))

    def with_columns(
        self,
        exprs: Any = None,
        *more_exprs: Any,
        compute: Any = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """Several columns computed by expressions: ``{name: expression}``, or ``unnest(...)`` of a struct."""
        from rayjup.data.expressions import Expr, UnnestExpr

        pairs: list[tuple[str, Any]] = []
        for item in (exprs, *more_exprs):
            if isinstance(item, UnnestExpr):
                pairs.append(("*", item))
            elif isinstance(item, Mapping):
                pairs += item.items()
            elif item is not None:
                raise TypeError(f"with_columns: {item!r} must be a dict of expressions, or unnest(...).")
        if not pairs:
            raise ValueError("with_columns: give at least one expression.")
        for name, expr in pairs:
            if not isinstance(expr, Expr):
                raise TypeError(f"with_columns: {name!r} is {expr!r}, which is no expression.")
        strategy = None if compute is None else strategy_for(True, compute, None, "with_columns")
        remote = remote_of(num_cpus, num_gpus, memory, ray_remote_args)
        return self._with(WithColumns((self._op,), tuple(pairs), strategy, remote))

    def add_column(
        self,
        col: str,
        fn: Callable[[Any], Any],
        *,
        batch_format: str | None = "pandas",
        compute: Any = None,
        concurrency: int | None = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """A column computed by a function of a batch."""
        if not callable(fn):
            raise ValueError("add_column: give a function of a batch.")
        if batch_format not in ("pandas", "pyarrow", "numpy"):
            raise ValueError(
                f"add_column: batch_format={batch_format!r} must be 'pandas', 'pyarrow' or 'numpy'."
            )
        return self.map_batches(
            AddColumn(col, fn, batch_format),
            batch_format=batch_format,
            udf_modifying_row_count=False,
            concurrency=concurrency,
            compute=compute,
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            memory=memory,
            **ray_remote_args,
        )
