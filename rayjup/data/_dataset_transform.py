"""Functions and classes on rows and batches."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from rayjup.data.block.convert import check_format
from rayjup.data.compute import strategy_for
from rayjup.data.logical.base import Op, Remote
from rayjup.data.logical.columns import FilterExpr
from rayjup.data.logical.maps import Filter, FlatMap, Function, Map, MapBatches

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset


def function_of(
    what: str,
    fn: Any,
    *,
    compute: Any,
    concurrency: Any,
    fn_args: Iterable[Any] | None,
    fn_kwargs: dict[str, Any] | None,
    fn_constructor_args: Iterable[Any] | None,
    fn_constructor_kwargs: dict[str, Any] | None,
    remote: Remote,
    ray_remote_args_fn: Callable[[], dict[str, Any]] | None,
) -> Function:
    """The function of an operator, checked.

    Raises
    ------
    ValueError
        It cannot be called, or arguments contradict each other.
    """
    if not callable(fn):
        raise ValueError(f"{what}: {fn!r} is neither a function nor a class.")
    is_class = isinstance(fn, type)
    if not is_class and (fn_constructor_args is not None or fn_constructor_kwargs is not None):
        raise ValueError(
            f"{what}: fn_constructor_args and fn_constructor_kwargs are for classes; "
            f"{getattr(fn, '__name__', fn)!r} "
            "is a function. Give fn_args or fn_kwargs."
        )
    if is_class and not callable(getattr(fn, "__call__", None)):  # noqa: B004 - a class is callable, its instances?
        raise ValueError(f"{what}: class {fn.__name__} has no __call__ method.")
    actors = is_class or type(compute).__name__ == "ActorPoolStrategy"
    return Function(
        fn,
        tuple(fn_args or ()),
        tuple((fn_kwargs or {}).items()),
        tuple(fn_constructor_args or ()),
        tuple((fn_constructor_kwargs or {}).items()),
        strategy_for(actors, compute, concurrency, what),
        remote,
        ray_remote_args_fn,
    )


def remote_of(
    num_cpus: float | None,
    num_gpus: float | None,
    memory: float | None,
    more: dict[str, Any],
    ray_remote_args: dict[str, Any] | None = None,
) -> Remote:
    """What a stage asks for; ``ray_remote_args`` may come as a dict, too."""
    merged = {**more, **(ray_remote_args or {})}
    cpus = merged.pop("num_cpus", None) if num_cpus is None else num_cpus
    gpus = merged.pop("num_gpus", None) if num_gpus is None else num_gpus
    size = merged.pop("memory", None) if memory is None else memory
    return Remote.of(cpus, gpus, size, **merged)


def annotated_format(fn: Any) -> str:
    """The batch format that the annotation of a function's first parameter asks for."""
    target = fn.__call__ if isinstance(fn, type) or not inspect.isroutine(fn) else fn
    try:
        parameters = [p for p in inspect.signature(target).parameters.values() if p.name != "self"]
    except (TypeError, ValueError):
        return "default"
    kind = parameters[0].annotation if parameters else None
    name = kind if isinstance(kind, str) else getattr(kind, "__qualname__", "")
    module = "" if isinstance(kind, str) else getattr(kind, "__module__", "").split(".")[0]
    if name in ("pd.DataFrame", "pandas.DataFrame") or (name == "DataFrame" and module == "pandas"):
        return "pandas"
    if name in ("pl.DataFrame", "polars.DataFrame") or (name == "DataFrame" and module == "polars"):
        return "polars"
    if name in ("pa.Table", "pyarrow.Table") or (name == "Table" and module == "pyarrow"):
        return "pyarrow"
    return "default"


class TransformMixin:
    """Functions and classes on rows and batches."""

    _op: Op
    _with: Callable[[Op], Dataset]

    def map(
        self,
        fn: Any,
        *,
        compute: Any = None,
        fn_args: Iterable[Any] | None = None,
        fn_kwargs: dict[str, Any] | None = None,
        fn_constructor_args: Iterable[Any] | None = None,
        fn_constructor_kwargs: dict[str, Any] | None = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        concurrency: int | tuple[int, int] | tuple[int, int, int] | None = None,
        ray_remote_args_fn: Callable[[], dict[str, Any]] | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """Make each row another one.

        Parameters
        ----------
        fn : callable
            Takes a row (dict) and gives a row; or a class whose instances do (made once per actor). May be
            async.
        compute, concurrency
            ``concurrency=n``: at most n tasks, or a pool of n actors; ``(min, max)``: a pool that grows.
        fn_args, fn_kwargs, fn_constructor_args, fn_constructor_kwargs
            Further arguments of the function, and of the class.
        num_cpus, num_gpus, memory, **ray_remote_args
            What each task or actor asks for.

        Examples
        --------
        >>> import rayjup
        >>> rayjup.data.range(2).map(lambda row: {"x": row["id"] + 1}).take_all()
        [{'x': 1}, {'x': 2}]
        """
        return self._with(
            Map(
                (self._op,),
                function_of(
                    "map",
                    fn,
                    compute=compute,
                    concurrency=concurrency,
                    fn_args=fn_args,
                    fn_kwargs=fn_kwargs,
                    fn_constructor_args=fn_constructor_args,
                    fn_constructor_kwargs=fn_constructor_kwargs,
                    remote=remote_of(num_cpus, num_gpus, memory, ray_remote_args),
                    ray_remote_args_fn=ray_remote_args_fn,
                ),
            )
        )

    def flat_map(
        self,
        fn: Any,
        *,
        compute: Any = None,
        fn_args: Iterable[Any] | None = None,
        fn_kwargs: dict[str, Any] | None = None,
        fn_constructor_args: Iterable[Any] | None = None,
        fn_constructor_kwargs: dict[str, Any] | None = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        concurrency: int | tuple[int, int] | tuple[int, int, int] | None = None,
        ray_remote_args_fn: Callable[[], dict[str, Any]] | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """Make each row any number of rows: ``fn`` gives a list of dicts. Parameters as in :meth:`map`.

        Examples
        --------
        >>> import rayjup
        >>> rayjup.data.from_items(["a b", "c"]).flat_map(
        ...     lambda row: [{"word": w} for w in row["item"].split()]).take_all()
        [{'word': 'a'}, {'word': 'b'}, {'word': 'c'}]
        """
        return self._with(
            FlatMap(
                (self._op,),
                function_of(
                    "flat_map",
                    fn,
                    compute=compute,
                    concurrency=concurrency,
                    fn_args=fn_args,
                    fn_kwargs=fn_kwargs,
                    fn_constructor_args=fn_constructor_args,
                    fn_constructor_kwargs=fn_constructor_kwargs,
                    remote=remote_of(num_cpus, num_gpus, memory, ray_remote_args),
                    ray_remote_args_fn=ray_remote_args_fn,
                ),
            )
        )

    def filter(
        self,
        fn: Any = None,
        expr: Any = None,
        *,
        compute: Any = None,
        fn_args: Iterable[Any] | None = None,
        fn_kwargs: dict[str, Any] | None = None,
        fn_constructor_args: Iterable[Any] | None = None,
        fn_constructor_kwargs: dict[str, Any] | None = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        concurrency: int | tuple[int, int] | tuple[int, int, int] | None = None,
        ray_remote_args_fn: Callable[[], dict[str, Any]] | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """Keep the rows for which a function or an expression is true.

        An expression (``col("x") > 3``, or its text) is computed for whole blocks, and sources such as
        Parquet do not even
        read the other rows. Parameters as in :meth:`map`.

        Examples
        --------
        >>> import rayjup
        >>> from rayjup.data.expressions import col
        >>> rayjup.data.range(10).filter(expr=col("id") > 7).take_all()
        [{'id': 8}, {'id': 9}]
        """
        if (fn is None) == (expr is None):
            raise ValueError(
                "filter: give either a function or an expression (expr=...), not both, not neither."
            )
        remote = remote_of(num_cpus, num_gpus, memory, ray_remote_args)
        if expr is not None:
            if any(a is not None for a in (fn_args, fn_kwargs, fn_constructor_args, fn_constructor_kwargs)):
                raise ValueError("filter: an expression takes no arguments; these are for functions.")
            if isinstance(expr, str):
                from rayjup.data.expressions import parse

                expr = parse(expr)
            return self._with(FilterExpr((self._op,), expr, remote))
        return self._with(
            Filter(
                (self._op,),
                function_of(
                    "filter",
                    fn,
                    compute=compute,
                    concurrency=concurrency,
                    fn_args=fn_args,
                    fn_kwargs=fn_kwargs,
                    fn_constructor_args=fn_constructor_args,
                    fn_constructor_kwargs=fn_constructor_kwargs,
                    remote=remote,
                    ray_remote_args_fn=ray_remote_args_fn,
                ),
            )
        )

    def map_batches(
        self,
        fn: Any,
        *,
        batch_size: int | str | None = None,
        compute: Any = None,
        batch_format: str | None = "default",
        zero_copy_batch: bool = True,
        fn_args: Iterable[Any] | None = None,
        fn_kwargs: dict[str, Any] | None = None,
        fn_constructor_args: Iterable[Any] | None = None,
        fn_constructor_kwargs: dict[str, Any] | None = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        concurrency: int | tuple[int, int] | tuple[int, int, int] | None = None,
        udf_modifying_row_count: bool = True,
        ray_remote_args_fn: Callable[[], dict[str, Any]] | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """Make each batch of rows another one, or several.

        Parameters
        ----------
        fn : callable
            Takes a batch and gives one, or yields some; or a class whose instances do: a model, say,
            loaded once per actor.
            May be async.
        batch_size : int or None
            Rows per batch (the last may have fewer); None: the rows of a block.
        batch_format : str or None
            ``"default"`` (what the function's annotation says: a DataFrame, an Arrow table; else dict of
            arrays),
            ``"numpy"`` (dict of arrays), ``"pandas"``, ``"pyarrow"``, ``"polars"``,
            ``"torch"``.
        zero_copy_batch : bool
            False: arrays of the batch may be written to.
        udf_modifying_row_count : bool
            False promises as many rows as came in, which lets a limit read less.

        The others are as in :meth:`map`.

        Examples
        --------
        >>> import rayjup
        >>> rayjup.data.range(3).map_batches(lambda batch: {"double": batch["id"] * 2}).take_all()
        [{'double': 0}, {'double': 2}, {'double': 4}]
        """
        check_format(batch_format)
        if batch_format == "default":
            batch_format = annotated_format(fn)
        size: Any = None if batch_size in ("auto", "default") else batch_size
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise ValueError(f"map_batches: batch_size={batch_size!r} must be a positive number or None.")
        if num_gpus and size is None and batch_size is None:
            raise ValueError(
                "map_batches: with num_gpus give batch_size, too: what fits on the GPU cannot be guessed."
            )
        return self._with(
            MapBatches(
                (self._op,),
                function_of(
                    "map_batches",
                    fn,
                    compute=compute,
                    concurrency=concurrency,
                    fn_args=fn_args,
                    fn_kwargs=fn_kwargs,
                    fn_constructor_args=fn_constructor_args,
                    fn_constructor_kwargs=fn_constructor_kwargs,
                    remote=remote_of(num_cpus, num_gpus, memory, ray_remote_args),
                    ray_remote_args_fn=ray_remote_args_fn,
                ),
                size,
                batch_format,
                zero_copy_batch,
                not udf_modifying_row_count,
            )
        )
