"""Datasets: lazy tables. Composed of one class per topic (``_dataset_*``)."""

from __future__ import annotations

import copy
import itertools
import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from rayjup.data._dataset_aggregate import AggregateMixin
from rayjup.data._dataset_columns import ColumnsMixin
from rayjup.data._dataset_combine import CombineMixin
from rayjup.data._dataset_consume import ConsumeMixin
from rayjup.data._dataset_convert import ConvertMixin
from rayjup.data._dataset_inspect import InspectMixin
from rayjup.data._dataset_shuffle import ShuffleMixin
from rayjup.data._dataset_split import SplitMixin
from rayjup.data._dataset_transform import TransformMixin
from rayjup.data._dataset_write import WriteMixin
from rayjup.data.block.bundle import Bundle
from rayjup.data.context import DataContext
from rayjup.data.execution.run import run
from rayjup.data.logical.base import Op
from rayjup.data.logical.sources import InputBlocks
from rayjup.data.schema import Schema
from rayjup.data.stats import RunStats

__all__ = ["Dataset", "MaterializedDataset", "Schema"]

_numbers = itertools.count()


class Dataset(
    TransformMixin,
    ColumnsMixin,
    ShuffleMixin,
    CombineMixin,
    AggregateMixin,
    SplitMixin,
    ConsumeMixin,
    InspectMixin,
    ConvertMixin,
    WriteMixin,
):
    """A table of rows, made by a plan that runs when the rows are asked for.

    Made by ``rayjup.data.range``, ``from_*`` and ``read_*``. Each method that transforms gives a new
    dataset and runs nothing.
    Rows are dicts; the blocks that they lie in are Arrow tables.

    Examples
    --------
    >>> import rayjup
    >>> ds = rayjup.data.range(5).map(lambda row: {"square": row["id"] ** 2})
    >>> ds.take(3)
    [{'square': 0}, {'square': 1}, {'square': 4}]
    """

    def __init__(self, plan: Op, context: DataContext | None = None, name: str | None = None) -> None:
        self._plan = plan
        self._context = context if context is not None else DataContext.get_current().copy()
        self._name = name
        self._id = f"dataset_{next(_numbers)}_{uuid.uuid4().hex[:8]}"
        self._cache: list[Bundle] | None = None
        self._stats: RunStats | None = None
        self._schema: Any = None
        self._seen: dict[str, Any] = {}

    # ------------------------------------------------------------------------------------- for the mix-ins

    def _with(self, plan: Op) -> Dataset:
        """A dataset with another plan and the same settings."""
        return Dataset(plan, self._context, self._name)

    @property
    def _op(self) -> Op:  # type: ignore[override]
        """The plan; its result where that has been kept."""
        if self._cache is not None:
            return InputBlocks(tuple(self._cache))
        return self._plan

    def _bundles(self, merge: bool = False) -> Iterator[Bundle]:
        """Run the plan."""
        if self._cache is not None:
            return iter(self._cache)
        bundles, self._stats = run(self._plan, self._context, merge, self._name or self._id)
        return bundles

    def _tables(self) -> Iterator[pa.Table]:
        """Run the plan; the blocks as tables in this process."""
        for bundle in self._bundles():
            yield bundle.table()

    # ------------------------------------------------------------------------------------- public

    @property
    def context(self) -> DataContext:
        """The settings with which this dataset runs."""
        return self._context

    @property
    def name(self) -> str | None:
        """The name given with :meth:`set_name`."""
        return self._name

    def set_name(self, name: str | None) -> None:
        """Name the dataset; statistics and progress show it."""
        self._name = name

    def get_dataset_id(self) -> str:
        """A name that no other dataset has."""
        return self._id

    @staticmethod
    def copy(ds: Dataset, _deep_copy: bool = False, _as: type | None = None) -> Dataset:
        """Another dataset with the same plan."""
        out = copy.copy(ds)
        if _deep_copy:
            out._context = ds._context.copy()
        out._id = f"dataset_{next(_numbers)}_{uuid.uuid4().hex[:8]}"
        if _as is not None:
            out.__class__ = _as
        return out

    def materialize(self) -> MaterializedDataset:
        """Run the plan and keep the blocks: in this process, or in the object store.

        Examples
        --------
        >>> import rayjup
        >>> rayjup.data.range(10).materialize()
        MaterializedDataset(num_blocks=1, num_rows=10, schema={id: int64})
        """
        bundles = list(self._bundles(merge=True))
        out = MaterializedDataset(InputBlocks(tuple(bundles), label=self._op.name), self._context, self._name)
        out._cache = bundles
        out._stats = self._stats
        return out

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stats": None, "_seen": {}}

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(
            "a Dataset is not iterable itself, because rows, batches and tensors are all possible: use "
            "iter_rows(), "
            "iter_batches() or iter_torch_batches()."
        )

    def __len__(self) -> int:
        raise AttributeError("a Dataset has no len(), since it may take long: use count().")


class MaterializedDataset(Dataset):
    """A dataset whose blocks exist: iterating runs nothing again."""

    def num_blocks(self) -> int:
        """How many blocks."""
        assert self._cache is not None
        return len(self._cache)
