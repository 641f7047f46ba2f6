"""Values in paths: ``year=2024/month=1/file.csv`` (hive) or ``2024/1/file.csv`` (directories)."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa

if TYPE_CHECKING:
    from pyarrow import fs

    from rayjup.data.expressions import Expr

__all__ = ["PartitionStyle", "Partitioning", "PathPartitionFilter", "PathPartitionParser"]

# What hive writes for a value that is missing.
_NULL = "__HIVE_DEFAULT_PARTITION__"


class PartitionStyle(str, Enum):
    """How values are written into paths."""

    HIVE = "hive"
    DIRECTORY = "dir"


@dataclass
class Partitioning:
    """How the paths of a dataset hold values.

    Parameters
    ----------
    style
        ``"hive"`` (``key=value`` directories) or ``"dir"`` (values only).
    base_dir
        Where the values begin; directories above are no values.
    field_names
        The keys; needed for ``"dir"``.
    field_types
        The type (``int``, ``float``, ``str``, ``bool``) of each key; text by default.
    filesystem
        The filesystem of ``base_dir``.
    """

    style: PartitionStyle
    base_dir: str | None = None
    field_names: list[str] | None = None
    field_types: dict[str, type] | None = field(default_factory=dict)
    filesystem: fs.FileSystem | None = None

    def __post_init__(self) -> None:
        self.style = PartitionStyle(self.style)
        if self.base_dir is None:
            self.base_dir = ""
        if self.field_types is None:
            self.field_types = {}

    @property
    def normalized_base_dir(self) -> str:
        """The base directory as a path within its filesystem, with a slash at its end."""
        if not self.base_dir:
            return ""
        from rayjup.data.datasource.paths import resolve

        _, path = resolve(self.base_dir, self.filesystem)
        return path.rstrip("/") + "/"

    @property
    def resolved_filesystem(self) -> fs.FileSystem:
        """The filesystem of the base directory."""
        from rayjup.data.datasource.paths import resolve

        return resolve(self.base_dir or ".", self.filesystem)[0]

    def to_pyarrow(self) -> Any:
        """The same for datasets of pyarrow."""
        import pyarrow.dataset as pads

        schema = None
        types = self.field_types or {}
        names = self.field_names or list(types)
        if names and (types or self.style is PartitionStyle.DIRECTORY):
            schema = pa.schema([(name, _ARROW[types.get(name, str)]) for name in names])
        if self.style is PartitionStyle.HIVE:
            return pads.HivePartitioning.discover() if schema is None else pads.HivePartitioning(schema)
        return pads.DirectoryPartitioning(schema if schema is not None else pa.schema([]))


_ARROW = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}
_TRUE = {"true": True, "1": True, "false": False, "0": False}


class PathPartitionParser:
    """Reads the values out of a path; called with the path.

    Parameters
    ----------
    partitioning
        How they are written.

    Examples
    --------
    >>> from rayjup.data.datasource import PathPartitionParser
    >>> PathPartitionParser.of(base_dir="/data", field_types={"year": int})("/data/year=2024/a.csv")
    {'year': 2024}
    """

    @staticmethod
    def of(
        style: PartitionStyle = PartitionStyle.HIVE,
        base_dir: str | None = None,
        field_names: list[str] | None = None,
        field_types: dict[str, type] | None = None,
        filesystem: fs.FileSystem | None = None,
    ) -> PathPartitionParser:
        """A parser for a partitioning of these settings."""
        return PathPartitionParser(Partitioning(style, base_dir, field_names, field_types, filesystem))

    def __init__(self, partitioning: Partitioning) -> None:
        if partitioning.style is PartitionStyle.DIRECTORY and not partitioning.field_names:
            raise ValueError(
                "Directories as values need names: give Partitioning('dir', field_names=[...]) one per level."
            )
        self._scheme = partitioning

    @property
    def scheme(self) -> Partitioning:
        """How the values are written."""
        return self._scheme

    def __call__(self, path: str) -> dict[str, Any]:
        base = self._scheme.normalized_base_dir
        if base and not path.startswith(base):
            return {}
        directory = posixpath.dirname(path[len(base) :]).strip("/")
        parts = [part for part in directory.split("/") if part]
        if not parts:
            return {}
        if self._scheme.style is PartitionStyle.HIVE:
            return self._hive(parts, path)
        return self._directories(parts, path)

    def _hive(self, parts: list[str], path: str) -> dict[str, Any]:
        pairs = [part.split("=", 1) for part in parts if part.count("=") == 1]
        names = self._scheme.field_names
        if names and pairs:
            if len(pairs) != len(names):
                raise ValueError(f"{path} holds {len(pairs)} values; the partitioning names {len(names)}.")
            for (key, _), name in zip(pairs, names, strict=True):
                if key != name:
                    raise ValueError(f"{path} holds the key {key!r} where the partitioning has {name!r}.")
        return {key: self._typed(key, unquote(value), path) for key, value in pairs}

    def _directories(self, parts: list[str], path: str) -> dict[str, Any]:
        names = self._scheme.field_names or []
        if len(parts) != len(names):
            raise ValueError(
                f"{path} lies {len(parts)} directories deep ({'/'.join(parts)}); the partitioning names "
                f"{len(names)} ({', '.join(names)}). Check base_dir."
            )
        return {name: self._typed(name, part, path) for name, part in zip(names, parts, strict=True)}

    def _typed(self, key: str, text: str, path: str) -> Any:
        kind = (self._scheme.field_types or {}).get(key, str)
        if text == _NULL:
            return None
        if kind is str:
            return text
        try:
            return _TRUE[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            raise ValueError(
                f"{path}: the value {text!r} of {key!r} is no {getattr(kind, '__name__', kind)}."
            ) from None

    def evaluate_predicate_on_partition(self, path: str, predicate: Expr) -> bool:
        """Whether rows of this file may satisfy an expression; ``True`` where its path does not say."""
        values = self(path)
        needed = predicate.columns()
        if not needed or not needed <= set(values):
            return True
        from rayjup.data.expressions import mask

        row = pa.table({name: [values[name]] for name in needed})
        try:
            return bool(mask(predicate, row)[0].as_py())
        except (pa.ArrowException, TypeError):
            return True


class PathPartitionFilter:
    """Keeps the files whose values satisfy a function; called with a list of paths.

    Parameters
    ----------
    path_partition_parser
        Reads the values.
    filter_fn
        Is given the values of one path as a dict (empty where there are none), tells whether to keep it.
    """

    @staticmethod
    def of(
        filter_fn: Callable[[dict[str, str]], bool],
        style: PartitionStyle = PartitionStyle.HIVE,
        base_dir: str | None = None,
        field_names: list[str] | None = None,
        field_types: dict[str, type] | None = None,
        filesystem: fs.FileSystem | None = None,
    ) -> PathPartitionFilter:
        """A filter for a partitioning of these settings."""
        parser = PathPartitionParser.of(style, base_dir, field_names, field_types, filesystem)
        return PathPartitionFilter(parser, filter_fn)

    def __init__(
        self, path_partition_parser: PathPartitionParser, filter_fn: Callable[[dict[str, str]], bool]
    ) -> None:
        self._parser = path_partition_parser
        self._filter_fn = filter_fn

    def __call__(self, paths: list[str]) -> list[str]:
        return [path for path in paths if self.apply(path)]

    def apply(self, path: str) -> bool:
        """Whether to keep this one."""
        return bool(self._filter_fn(self._parser(path)))

    @property
    def parser(self) -> PathPartitionParser:
        """What reads the values."""
        return self._parser
