"""Functions of one's own in expressions."""

from __future__ import annotations

import functools
import inspect
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.datatype import DataType
from rayjup.data.expressions.nodes import Expr, LiteralExpr, UDFExpr

__all__ = ["CallableClass", "CallableClassSpec", "pyarrow_udf", "udf"]


class CallableClassSpec:
    """A class whose instances are called, and how to make one.

    Parameters
    ----------
    cls, args, kwargs
        The class and the arguments of its constructor.
    """

    def __init__(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.cls, self.args, self.kwargs = cls, args, kwargs
        self.key = uuid.uuid4().hex

    def __repr__(self) -> str:
        return f"CallableClassSpec(cls={self.cls!r}, args={self.args!r}, kwargs={self.kwargs!r})"


# One instance per process and spec: a model is loaded once per worker, however many blocks it sees.
_instances: dict[str, Any] = {}


class CallableClass:
    """Stands for an instance of a class; the instance is made in the process that calls it, once."""

    def __init__(self, spec: CallableClassSpec) -> None:
        self.callable_class_spec = spec
        self.__name__ = spec.cls.__name__

    def instance(self) -> Any:
        """The instance of this process."""
        spec = self.callable_class_spec
        found = _instances.get(spec.key)
        if found is None:
            found = _instances[spec.key] = spec.cls(*spec.args, **spec.kwargs)
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self.instance()(*args, **kwargs)
        if inspect.isawaitable(result):
            import asyncio

            result = asyncio.run(_wait(result))
        return result

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, CallableClass) and other.callable_class_spec.key == self.callable_class_spec.key
        )

    def __hash__(self) -> int:
        return hash(self.callable_class_spec.key)


async def _wait(result: Any) -> Any:
    return await result


def udf(return_dtype: DataType) -> Callable[..., Any]:
    """Make a function (or a class with ``__call__``) usable in expressions.

    The function is given one Arrow array per argument that is an expression, a block at a time, and returns
    an array (Arrow, NumPy or pandas) of the same length.

    Parameters
    ----------
    return_dtype
        The type of what it returns.

    Examples
    --------
    >>> import pyarrow.compute as pc
    >>> from rayjup.data.datatype import DataType
    >>> from rayjup.data.expressions import col, udf
    >>> @udf(return_dtype=DataType.int64())
    ... def add_one(x):
    ...     return pc.add(x, 1)
    >>> add_one(col("value"))
    add_one(col('value'))
    """
    if not isinstance(return_dtype, DataType):
        raise TypeError(f"return_dtype is a DataType, such as DataType.int64(), not {return_dtype!r}.")

    def decorate(function: Any) -> Any:
        if inspect.isclass(function):
            return _class_factory(function, return_dtype)

        @functools.wraps(function)
        def build(*args: Any, **kwargs: Any) -> UDFExpr:
            return _build(function, return_dtype, args, kwargs)

        return build

    return decorate


def _class_factory(cls: type, return_dtype: DataType) -> type:
    class Factory:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._callable = CallableClass(CallableClassSpec(cls, args, kwargs))

        def __call__(self, *args: Any, **kwargs: Any) -> UDFExpr:
            return _build(self._callable, return_dtype, args, kwargs)

    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(Factory, name, getattr(cls, name))
    return Factory


def pyarrow_udf(return_dtype: DataType) -> Callable[..., Any]:
    """As ``udf``; the arguments are always Arrow arrays.

    Parameters
    ----------
    return_dtype
        The type of what the function returns.
    """
    return udf(return_dtype)


def _build(function: Any, return_dtype: DataType, args: tuple[Any, ...], kwargs: dict[str, Any]) -> UDFExpr:
    return UDFExpr(
        return_dtype,
        function,
        [arg if isinstance(arg, Expr) else LiteralExpr(arg) for arg in args],
        {key: arg if isinstance(arg, Expr) else LiteralExpr(arg) for key, arg in kwargs.items()},
    )


def checked_result(name: str, result: Any, rows: int, declared: DataType) -> pa.Array | pa.ChunkedArray:
    """What a function returned, as an Arrow array of the declared type and the right length."""
    if isinstance(result, pa.Scalar):
        result = pa.repeat(result, rows)
    if not isinstance(result, (pa.Array, pa.ChunkedArray)):
        if not (isinstance(result, np.ndarray) or hasattr(result, "to_numpy")):
            raise TypeError(
                f"The function {name!r} returned a {type(result).__name__}; it has to return an array of "
                "Arrow, NumPy or pandas with one value per row."
            )
        from rayjup.data.block.convert import to_column

        result = to_column(result, name)
    if len(result) != rows:
        raise ValueError(
            f"The function {name!r} returned {len(result)} values for a block of {rows} rows; it has to "
            "return one per row."
        )
    if declared.is_python_type() or isinstance(result.type, pa.BaseExtensionType):
        return result
    wanted = declared.to_arrow_dtype()
    if result.type == wanted or isinstance(wanted, pa.BaseExtensionType):
        return result
    try:
        return result.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise type(error)(
            f"The function {name!r} is declared to return {wanted} and returned {result.type}: {error}"
        ) from error
