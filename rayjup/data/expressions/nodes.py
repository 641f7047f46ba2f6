"""The tree of an expression: one frozen dataclass per kind of node, and the operators that build it."""

from __future__ import annotations

import builtins
import uuid as uuid_module
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.datatype import DataType

if TYPE_CHECKING:
    from rayjup.data.namespace_expressions.arr_namespace import _ArrayNamespace
    from rayjup.data.namespace_expressions.dt_namespace import _DatetimeNamespace
    from rayjup.data.namespace_expressions.list_namespace import _ListNamespace
    from rayjup.data.namespace_expressions.map_namespace import _MapNamespace
    from rayjup.data.namespace_expressions.string_namespace import _StringNamespace
    from rayjup.data.namespace_expressions.struct_namespace import _StructNamespace


class Operation(Enum):
    """What a unary or binary expression does."""

    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    MOD = "mod"
    FLOORDIV = "floordiv"
    GT = "gt"
    LT = "lt"
    GE = "ge"
    LE = "le"
    EQ = "eq"
    NE = "ne"
    AND = "and"
    OR = "or"
    NOT = "not"
    IS_NULL = "is_null"
    IS_NOT_NULL = "is_not_null"
    IN = "in"
    NOT_IN = "not_in"


_SYMBOLS = {
    Operation.ADD: "+",
    Operation.SUB: "-",
    Operation.MUL: "*",
    Operation.DIV: "/",
    Operation.MOD: "%",
    Operation.FLOORDIV: "//",
    Operation.GT: ">",
    Operation.LT: "<",
    Operation.GE: ">=",
    Operation.LE: "<=",
    Operation.EQ: "==",
    Operation.NE: "!=",
    Operation.AND: "&",
    Operation.OR: "|",
    Operation.IN: "in",
    Operation.NOT_IN: "not in",
}
_TRUTH = frozenset(
    {
        Operation.GT,
        Operation.LT,
        Operation.GE,
        Operation.LE,
        Operation.EQ,
        Operation.NE,
        Operation.AND,
        Operation.OR,
        Operation.NOT,
        Operation.IS_NULL,
        Operation.IS_NOT_NULL,
        Operation.IN,
        Operation.NOT_IN,
    }
)
# A node whose type is not declared; it is worked out from the schema of the input.
_UNKNOWN = DataType(object)


@dataclass(frozen=True, eq=False, repr=False)
class Expr:
    """An expression over the columns of a dataset; made with ``col``, ``lit`` and operators.

    Parameters
    ----------
    data_type
        The type of the result; ``DataType(object)`` where it follows from the input.

    Examples
    --------
    >>> from rayjup.data.expressions import col
    >>> (col("price") * 2).alias("double").name
    'double'
    """

    data_type: DataType

    @property
    def name(self) -> str | None:
        """The name of the column it makes, if it has one: a column's own, or the alias."""
        return None

    def children(self) -> tuple[Expr, ...]:
        """The expressions it is made of."""
        return ()

    def walk(self) -> Iterator[Expr]:
        """Itself and everything below it."""
        yield self
        for child in self.children():
            yield from child.walk()

    def required_columns(self) -> set[str] | None:
        """The columns it reads; ``None`` for all of them."""
        names: set[str] = set()
        for node in self.walk():
            if isinstance(node, StarExpr):
                return None
            if isinstance(node, ColumnExpr):
                names.add(node._name)
            elif isinstance(node, DownloadExpr):
                names.add(node.uri_column_name)
        return names

    def columns(self) -> set[str]:
        """The names of the columns it reads."""
        return self.required_columns() or set()

    def eval(self, table: pa.Table) -> Any:
        """Its value for the rows of a table."""
        from rayjup.data.expressions.evaluation import evaluate

        return evaluate(self, table)

    def callable_classes(self) -> builtins.list[Any]:
        """The classes whose instances it calls, with their arguments."""
        specs = (node.callable_class_spec for node in self.walk() if isinstance(node, UDFExpr))
        return [spec for spec in specs if spec is not None]

    def is_idempotent(self) -> bool:
        """Whether the same rows always give the same result."""
        return all(child.is_idempotent() for child in self.children())

    def structurally_equals(self, other: Any) -> bool:
        """Whether the other is the same tree (``==`` builds a comparison instead)."""
        if type(other) is not type(self):
            return False
        return all(_same(getattr(self, one.name), getattr(other, one.name)) for one in fields(self))

    def __hash__(self) -> int:
        return id(self) >> 4

    def __bool__(self) -> bool:
        raise TypeError(
            f"The expression {self!r} has no truth value: it is computed row by row. "
            "Write & for and, | for or, ~ for not, and .is_in([...]) for in."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), {one.name: getattr(self, one.name) for one in fields(self)})

    # Types.

    def get_type(self, input_schema: pa.Schema) -> pa.DataType | None:
        """The Arrow type of the result for input of this schema; ``None`` where it cannot be known."""
        from rayjup.data.expressions.projection import type_of

        return type_of(self, input_schema)

    def nullable(self, input_schema: pa.Schema) -> bool:
        """Whether the result may contain nulls."""
        from rayjup.data.expressions.projection import nullable

        return nullable(self, input_schema)

    def to_field(self, input_schema: pa.Schema) -> pa.Field | None:
        """Name, type and nullability of the column it makes; ``None`` where one is not known."""
        name, kind = self.name, self.get_type(input_schema)
        if name is None or kind is None:
            return None
        return pa.field(name, kind, self.nullable(input_schema))

    def expand_projection(self, input_schema: pa.Schema | None) -> builtins.list[Expr]:
        """The columns it stands for: itself, or one expression per field of an ``unnest``."""
        return [self]

    def to_pyarrow(self) -> pc.Expression:
        """The same as an expression of pyarrow, as its datasets push it down; TypeError if there is none."""
        from rayjup.data.expressions.pushdown import to_pyarrow

        return to_pyarrow(self)

    # Names and types.

    def alias(self, name: str) -> Expr:
        """The same, under another name."""
        if not isinstance(name, str):
            raise TypeError(f"The name of a column is a string, not {name!r}.")
        return AliasExpr(self.data_type, self, name, False)

    def cast(self, target_type: DataType, *, safe: bool = True) -> UDFExpr:
        """Convert to another type.

        Parameters
        ----------
        target_type
            A ``DataType``, such as ``DataType.int64()``.
        safe
            Fail where a value does not fit, instead of cutting it off.
        """
        if not isinstance(target_type, DataType):
            raise TypeError(
                f"cast needs a rayjup.data.datatype.DataType, such as DataType.int64(), not {target_type!r}."
            )
        from rayjup.data.expressions.compute import cast

        return cast(self, target_type, safe)

    # Operators.

    def _binary(self, other: Any, op: Operation) -> BinaryExpr:
        return BinaryExpr(op, self, _as_expr(other))

    def _reflected(self, other: Any, op: Operation) -> BinaryExpr:
        return BinaryExpr(op, _as_expr(other), self)

    def __add__(self, other: Any) -> BinaryExpr:
        return self._binary(other, Operation.ADD)

    def __radd__(self, other: Any) -> BinaryExpr:
        return self._reflected(other, Operation.ADD)

    def __sub__(self, other: Any) -> BinaryExpr:
        return self._binary(other, Operation.SUB)

    def __rsub__(self, other: Any) -> BinaryExpr:
        return self._reflected(other, Operation.SUB)

    def __mul__(self, other: Any) -> BinaryExpr:
        return self._binary(other, Operation.MUL)

    def __rmul__(self, other: Any) -> BinaryExpr:
        return self._reflected(other, Operation.MUL)

    def __truediv__(self, other: Any) -> BinaryExpr:
        return self._binary(other, Operation.DIV)

    def __rtruediv__(self, other: Any) -> BinaryExpr:
        return self._reflected(other, Operation.DIV)

    def __floordiv__(self, other: Any) -> BinaryExpr:
        return self._binary(other, Operation.FLOORDIV)

    def __rfloordiv__(self, other: Any) -> BinaryExpr:
        return self._reflected(other, Operation.FLOORDIV)

    def __mod__(self, other: Any) -> BinaryExpr:
        return self._binary(other, Operation.MOD)

    def __rmod__(self, other: Any) -> BinaryExpr:
        return self._reflected(other, Operation.MOD)

    def __gt__(self, other: Any) -> BinaryExpr:
        return self._binary(other, Operation.GT)

    def __lt__(self, other: Any) -> BinaryExpr:
        return self._binary(other, Operation.LT)

    def __ge__(self, other: Any) -> BinaryExpr:
        return self._binary(other, Operation.GE)

    def __le__(self, other: Any) -> BinaryExpr:
        return self._binary(other, Operation.LE)

    def __eq__(self, other: Any) -> BinaryExpr:  # type: ignore[override]
        return self._binary(other, Operation.EQ)

    def __ne__(self, other: Any) -> BinaryExpr:  # type: ignore[override]
        return self._binary(other, Operation.NE)

    def __and__(self, other: Any) -> BinaryExpr:
        return self._binary(other, Operation.AND)

    def __rand__(self, other: Any) -> BinaryExpr:
        return self._reflected(other, Operation.AND)

    def __or__(self, other: Any) -> BinaryExpr:
        return self._binary(other, Operation.OR)

    def __ror__(self, other: Any) -> BinaryExpr:
        return self._reflected(other, Operation.OR)

    def __invert__(self) -> UnaryExpr:
        return UnaryExpr(Operation.NOT, self)

    def __neg__(self) -> UDFExpr:
        return self.negate()

    def is_null(self) -> Expr:
        """Whether the value is null."""
        return UnaryExpr(Operation.IS_NULL, self)

    def is_not_null(self) -> Expr:
        """Whether the value is not null."""
        return UnaryExpr(Operation.IS_NOT_NULL, self)

    def is_in(self, values: builtins.list[Any] | Expr) -> Expr:
        """Whether the value is one of ``values``."""
        return self._binary(values, Operation.IN)

    def not_in(self, values: builtins.list[Any] | Expr) -> Expr:
        """Whether the value is none of ``values``."""
        return self._binary(values, Operation.NOT_IN)

    # Arithmetic functions.

    def _compute(self, function: Callable[..., Any], *args: Any, returns: Any = None, **kwargs: Any) -> Any:
        from rayjup.data.expressions.compute import compute

        return compute(self, function, *args, returns=returns, **kwargs)

    def ceil(self) -> UDFExpr:
        """The next integer above."""
        return self._compute(pc.ceil)

    def floor(self) -> UDFExpr:
        """The next integer below."""
        return self._compute(pc.floor)

    def round(self) -> UDFExpr:
        """The nearest integer; halves go to the even one."""
        return self._compute(pc.round)

    def trunc(self) -> UDFExpr:
        """The integer part."""
        return self._compute(pc.trunc)

    def ln(self) -> UDFExpr:
        """The natural logarithm."""
        return self._compute(pc.ln, returns=DataType.float64())

    def log10(self) -> UDFExpr:
        """The logarithm to base 10."""
        return self._compute(pc.log10, returns=DataType.float64())

    def log2(self) -> UDFExpr:
        """The logarithm to base 2."""
        return self._compute(pc.log2, returns=DataType.float64())

    def exp(self) -> UDFExpr:
        """e to this power."""
        return self._compute(pc.exp, returns=DataType.float64())

    def sin(self) -> UDFExpr:
        """The sine."""
        return self._compute(pc.sin, returns=DataType.float64())

    def cos(self) -> UDFExpr:
        """The cosine."""
        return self._compute(pc.cos, returns=DataType.float64())

    def tan(self) -> UDFExpr:
        """The tangent."""
        return self._compute(pc.tan, returns=DataType.float64())

    def asin(self) -> UDFExpr:
        """The inverse sine."""
        return self._compute(pc.asin, returns=DataType.float64())

    def acos(self) -> UDFExpr:
        """The inverse cosine."""
        return self._compute(pc.acos, returns=DataType.float64())

    def atan(self) -> UDFExpr:
        """The inverse tangent."""
        return self._compute(pc.atan, returns=DataType.float64())

    def negate(self) -> UDFExpr:
        """With the other sign."""
        return self._compute(pc.negate_checked)

    def sign(self) -> UDFExpr:
        """-1, 0 or 1."""
        return self._compute(pc.sign)

    def abs(self) -> UDFExpr:
        """Without its sign."""
        return self._compute(pc.abs_checked)

    def power(self, exponent: Any) -> UDFExpr:
        """To this power (a number or an expression)."""
        return self._compute(pc.power, exponent)

    # Namespaces.

    @property
    def str(self) -> _StringNamespace:
        """Functions for text."""
        from rayjup.data.namespace_expressions.string_namespace import _StringNamespace

        return _StringNamespace(self)

    @property
    def dt(self) -> _DatetimeNamespace:
        """Functions for dates and times."""
        from rayjup.data.namespace_expressions.dt_namespace import _DatetimeNamespace

        return _DatetimeNamespace(self)

    @property
    def list(self) -> _ListNamespace:
        """Functions for lists."""
        from rayjup.data.namespace_expressions.list_namespace import _ListNamespace

        return _ListNamespace(self)

    @property
    def struct(self) -> _StructNamespace:
        """Functions for records."""
        from rayjup.data.namespace_expressions.struct_namespace import _StructNamespace

        return _StructNamespace(self)

    @property
    def map(self) -> _MapNamespace:
        """Functions for maps."""
        from rayjup.data.namespace_expressions.map_namespace import _MapNamespace

        return _MapNamespace(self)

    @property
    def arr(self) -> _ArrayNamespace:
        """Functions for lists of one length."""
        from rayjup.data.namespace_expressions.arr_namespace import _ArrayNamespace

        return _ArrayNamespace(self)


def _rebuild(cls: type[Expr], values: dict[str, Any]) -> Expr:
    out = cls.__new__(cls)
    for key, value in values.items():
        object.__setattr__(out, key, value)
    return out


def _same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, Expr):
        return mine.structurally_equals(theirs)
    if isinstance(mine, (list, tuple)) and isinstance(theirs, (list, tuple)):
        return len(mine) == len(theirs) and all(_same(a, b) for a, b in zip(mine, theirs, strict=True))
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return mine.keys() == theirs.keys() and all(_same(mine[key], theirs[key]) for key in mine)
    if type(mine) is not type(theirs):
        return False
    from functools import partial

    if isinstance(mine, partial):
        parts = ((mine.func, theirs.func), (mine.args, theirs.args), (mine.keywords, theirs.keywords))
        return all(_same(a, b) for a, b in parts)
    try:
        return bool(mine == theirs)
    except ValueError:  # arrays
        return mine is theirs


def _as_expr(value: Any) -> Expr:
    return value if isinstance(value, Expr) else LiteralExpr(value)


@dataclass(frozen=True, eq=False, repr=False)
class ColumnExpr(Expr):
    """A column of the input."""

    data_type: DataType = field(default=_UNKNOWN, init=False)
    _name: str

    @property
    def name(self) -> str:
        """The name of the column."""
        return self._name

    def _rename(self, name: str) -> AliasExpr:
        """The column under another name, in place of its own (see ``rename_columns``)."""
        return AliasExpr(self.data_type, self, name, True)

    def __repr__(self) -> str:
        return f"col({self._name!r})"


@dataclass(frozen=True, eq=False, repr=False)
class LiteralExpr(Expr):
    """The same value in every row."""

    value: Any
    data_type: DataType = field(init=False)

    def __post_init__(self) -> None:
        value = self.value
        kind = DataType(value.type) if isinstance(value, pa.Scalar) else DataType.infer_dtype(value)
        object.__setattr__(self, "data_type", kind)

    def __repr__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, eq=False, repr=False)
class BinaryExpr(Expr):
    """An operator between two expressions."""

    data_type: DataType = field(init=False)
    op: Operation
    left: Expr
    right: Expr

    def __post_init__(self) -> None:
        object.__setattr__(self, "data_type", DataType.bool() if self.op in _TRUTH else _UNKNOWN)

    def children(self) -> tuple[Expr, ...]:
        """Both sides."""
        return (self.left, self.right)

    def __repr__(self) -> str:
        return f"({self.left!r} {_SYMBOLS[self.op]} {self.right!r})"


@dataclass(frozen=True, eq=False, repr=False)
class UnaryExpr(Expr):
    """An operator on one expression."""

    data_type: DataType = field(default=DataType.bool(), init=False)
    op: Operation
    operand: Expr

    def children(self) -> tuple[Expr, ...]:
        """The operand."""
        return (self.operand,)

    def __repr__(self) -> str:
        if self.op is Operation.NOT:
            return f"~{self.operand!r}"
        return f"{self.operand!r}.{self.op.value}()"


@dataclass(frozen=True, eq=False, repr=False)
class AliasExpr(Expr):
    """An expression under a name of its own."""

    expr: Expr
    _name: str
    _is_rename: bool

    @property
    def name(self) -> str:
        """The name given."""
        return self._name

    def children(self) -> tuple[Expr, ...]:
        """What the name is for."""
        return (self.expr,)

    def alias(self, name: str) -> Expr:
        """Another name instead."""
        return self.expr.alias(name)

    def __repr__(self) -> str:
        return f"{self.expr!r}.alias({self._name!r})"


@dataclass(frozen=True, eq=False, repr=False)
class UDFExpr(Expr):
    """A function of one's own over arrays."""

    fn: Callable[..., Any]
    args: list[Expr]
    kwargs: dict[str, Expr]

    @property
    def callable_class_spec(self) -> Any:
        """Class and arguments of its construction, where the function is a class; otherwise ``None``."""
        return getattr(self.fn, "callable_class_spec", None)

    def children(self) -> tuple[Expr, ...]:
        """The arguments."""
        return (*self.args, *self.kwargs.values())

    def _title(self) -> str:
        return getattr(self.fn, "__name__", type(self.fn).__name__)

    def __repr__(self) -> str:
        shown = [repr(arg) for arg in self.args] + [f"{key}={value!r}" for key, value in self.kwargs.items()]
        return f"{self._title()}({', '.join(shown)})"


@dataclass(frozen=True, eq=False, repr=False)
class PyArrowComputeUDFExpr(UDFExpr):
    """One of pyarrow's compute functions; unlike other functions it can be pushed down."""

    pc_func: Callable[..., Any] = None  # type: ignore[assignment]
    pc_positional: tuple[Any, ...] = ()
    pc_kwargs: dict[str, Any] = field(default_factory=dict)

    def _title(self) -> str:
        return getattr(self.pc_func, "__name__", "compute")

    def __repr__(self) -> str:
        shown = [repr(arg) for arg in self.args] + [repr(arg) for arg in self.pc_positional]
        shown += [f"{key}={value!r}" for key, value in self.pc_kwargs.items()]
        return f"{self._title()}({', '.join(shown)})"


@dataclass(frozen=True, eq=False, repr=False)
class DownloadExpr(Expr):
    """The bytes behind the URIs of a column."""

    data_type: DataType = field(default=DataType.binary(), init=False)
    uri_column_name: str
    filesystem: Any = None

    def __repr__(self) -> str:
        return f"DOWNLOAD({self.uri_column_name!r})"


@dataclass(frozen=True, eq=False, repr=False)
class MonotonicallyIncreasingIdExpr(Expr):
    """Growing ids."""

    data_type: DataType = field(default=DataType.int64(), init=False)
    _instance_id: str = field(default_factory=lambda: uuid_module.uuid4().hex)

    def is_idempotent(self) -> bool:
        """No: ids depend on the task."""
        return False

    def __repr__(self) -> str:
        return "MONOTONICALLY_INCREASING_ID()"


@dataclass(frozen=True, eq=False, repr=False)
class RandomExpr(Expr):
    """Random numbers in [0, 1)."""

    data_type: DataType = field(default=DataType.float64(), init=False)
    seed: int | None = None
    reseed_after_execution: bool = True
    _instance_id: str = field(default_factory=lambda: uuid_module.uuid4().hex)

    def is_idempotent(self) -> bool:
        """No."""
        return False

    def __repr__(self) -> str:
        if self.seed is None:
            return "RANDOM()"
        return f"RANDOM(seed={self.seed}, reseed_after_execution={self.reseed_after_execution})"


@dataclass(frozen=True, eq=False, repr=False)
class UUIDExpr(Expr):
    """Random UUIDs."""

    data_type: DataType = field(default=DataType.string(), init=False)

    def is_idempotent(self) -> bool:
        """No."""
        return False

    def __repr__(self) -> str:
        return "UUID()"


@dataclass(frozen=True, eq=False, repr=False)
class StarExpr(Expr):
    """All columns of the input."""

    data_type: DataType = field(default=_UNKNOWN, init=False)

    def __repr__(self) -> str:
        return "star()"


@dataclass(frozen=True, eq=False, repr=False)
class UnnestExpr(Expr):
    """One column per field of a record."""

    data_type: DataType = field(default=_UNKNOWN, init=False)
    expr: Expr

    def __post_init__(self) -> None:
        if any(isinstance(node, UnnestExpr) for node in self.expr.walk()):
            raise TypeError(
                "unnest() within unnest(): the inner one stands for several columns, so there is no single "
                "record left to expand. Unnest step by step with two calls of with_columns."
            )

    def children(self) -> tuple[Expr, ...]:
        """The record."""
        return (self.expr,)

    def expand_projection(self, input_schema: pa.Schema | None) -> list[Expr]:
        """One expression per field."""
        declared = self.expr.data_type
        kind = declared.to_arrow_dtype() if declared.is_arrow_type() else None
        if kind is None and input_schema is not None:
            kind = self.expr.get_type(input_schema)
        if kind is None:
            raise ValueError(
                f"unnest({self.expr!r}) needs to know the fields of the record when the plan is made, and "
                "they are not known here. Declare the return_dtype of the function, or materialize() the "
                "dataset before."
            )
        if not pa.types.is_struct(kind):
            raise TypeError(f"unnest() expands records; {self.expr!r} is of type {kind}.")
        return [
            self.expr.struct.field(kind.field(i).name).alias(kind.field(i).name)
            for i in range(kind.num_fields)
        ]

    def __repr__(self) -> str:
        return f"unnest({self.expr!r})"


def col(name: str) -> ColumnExpr:
    """A column of the dataset.

    Parameters
    ----------
    name
        Its name.

    Examples
    --------
    >>> from rayjup.data.expressions import col
    >>> col("age") >= 18
    (col('age') >= 18)
    """
    if not isinstance(name, str):
        raise TypeError(f"The name of a column is a string, not {name!r}.")
    return ColumnExpr(name)


def lit(value: Any) -> LiteralExpr:
    """The same value in every row."""
    if isinstance(value, Expr):
        raise TypeError(f"{value!r} is an expression already; lit() is for plain values.")
    return LiteralExpr(value)


def download(uri_column_name: str, *, filesystem: Any = None) -> DownloadExpr:
    """The bytes behind the URIs in a column; null where one cannot be read.

    Parameters
    ----------
    uri_column_name
        The column with the URIs.
    filesystem
        A pyarrow or fsspec filesystem; by default, the URI's scheme decides.
    """
    if not isinstance(uri_column_name, str):
        raise TypeError(f"download() takes the name of the column with the URIs, not {uri_column_name!r}.")
    return DownloadExpr(uri_column_name, filesystem)


def random(*, seed: int | None = None, reseed_after_execution: bool = True) -> RandomExpr:
    """Random numbers in [0, 1), one per row.

    Parameters
    ----------
    seed
        Makes them repeatable (for the same division into tasks).
    reseed_after_execution
        Whether each execution of the dataset draws other numbers.
    """
    return RandomExpr(seed, reseed_after_execution)


def monotonically_increasing_id() -> MonotonicallyIncreasingIdExpr:
    """Unique ids that grow within each task: the task's number above, the row's in the lower 33 bits."""
    return MonotonicallyIncreasingIdExpr()


def uuid() -> UUIDExpr:
    """A random UUID (version 4) per row, as text."""
    return UUIDExpr()


def star() -> StarExpr:
    """All columns of the input."""
    return StarExpr()


def unnest(expr: Expr) -> UnnestExpr:
    """One column per field of a record; given to ``with_columns``.

    Parameters
    ----------
    expr
        An expression whose type is a record (``DataType.struct``).
    """
    if not isinstance(expr, Expr):
        raise TypeError(f"unnest() takes an expression, such as col('record'), not {expr!r}.")
    return UnnestExpr(expr)


def is_rename_expr(expr: Expr) -> bool:
    """Whether it takes the place of the column it renames (made by ``rename_columns``)."""
    return isinstance(expr, AliasExpr) and expr._is_rename
