"""What a dataset is: schema, size, plan, statistics. ``repr`` runs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rayjup.data.block.bundle import Bundle
from rayjup.data.block.unify import unify_schemas
from rayjup.data.logical import estimate
from rayjup.data.logical.base import Op, describe, walk
from rayjup.data.logical.columns import Columns
from rayjup.data.logical.rearrange import Limit, RandomizeBlocks, RandomShuffle, Repartition, Sort
from rayjup.data.logical.rules import optimize
from rayjup.data.logical.sources import InputBlocks, Read
from rayjup.data.schema import Schema

if TYPE_CHECKING:
    from rayjup.data.context import DataContext
    from rayjup.data.dataset import Dataset, MaterializedDataset
    from rayjup.data.stats import DatasetSummary, RunStats


class InspectMixin:
    """What a dataset is: schema, size, plan, statistics."""

    _op: Op
    _plan: Op
    _context: DataContext
    _cache: list[Bundle] | None
    _stats: RunStats | None
    _schema: Any
    _seen: dict[str, Any]
    _name: str | None
    _with: Callable[[Op], Dataset]
    _bundles: Callable[..., Iterator[Bundle]]
    materialize: Callable[[], MaterializedDataset]
    _numbers: Callable[..., dict[str, Any]]

    def schema(self, fetch_if_missing: bool = True) -> Schema | None:
        """Names and types of the columns; runs as little as needed to know them.

        Parameters
        ----------
        fetch_if_missing : bool
            False: None where they are not known without running anything.
        """
        if self._schema is None:
            found = estimate.known_schema(self._op)
            if found is None and fetch_if_missing:
                found = self._fetch_schema()
            if found is None or not found.names:
                return None
            self._schema = Schema(found)
        return self._schema

    def _fetch_schema(self) -> pa.Schema | None:
        bundles = self._with(Limit((_rowwise_only(self._op),), 1))._bundles()
        schemas = [b.schema if b.schema is not None else b.table().schema for b in bundles]
        known = [s for s in schemas if s is not None and s.names]
        return unify_schemas(known) if known else None

    def columns(self, fetch_if_missing: bool = True) -> list[str] | None:
        """The names of the columns."""
        schema = self.schema(fetch_if_missing)
        return None if schema is None else schema.names

    def count(self) -> int:
        """The number of rows; files say it without being read.

        Examples
        --------
        >>> import rayjup
        >>> rayjup.data.range(7).count()
        7
        """
        known = estimate.row_count(self._op)
        if known is not None:
            return known
        if "count" not in self._seen:
            total = 0
            for bundle in self._with(_needless_removed(self._op))._bundles():
                rows = bundle.num_rows
                total += bundle.table().num_rows if rows is None else rows
            self._seen["count"] = total
        return self._seen["count"]

    def num_blocks(self) -> int:
        """The number of blocks; of a materialized dataset only."""
        raise NotImplementedError(
            "the number of blocks is only known of a materialized dataset: call materialize() first, and "
            "num_blocks() of what it gives."
        )

    def size_bytes(self) -> int:
        """Bytes in memory: estimated before running, where the sources can."""
        if self._cache is not None:
            return sum(b.nbytes for b in self._cache)
        if isinstance(self._op, (Read, InputBlocks)):
            size = estimate.source_bytes(self._op)
            if size is not None:
                return size
        return sum(b.nbytes for b in self._bundles())

    def input_files(self) -> list[str]:
        """The files that are read."""
        files: dict[str, None] = {}
        for node in walk(self._op):
            if isinstance(node, Read):
                for task in node.tasks(node.num_blocks or 1):
                    files.update(dict.fromkeys(task.metadata.input_files or ()))
            elif isinstance(node, InputBlocks):
                for bundle in node.bundles:
                    files.update(dict.fromkeys(bundle.meta.input_files or ()))
        return sorted(files)

    def stats(self) -> str:
        """What the last run did: per operator tasks, rows, bytes, time. Empty before the first."""
        return self._stats.text() if self._stats is not None else ""

    def get_stats_summary(self) -> dict[str, Any]:
        """:meth:`stats` as plain data."""
        return self._stats.as_dict() if self._stats is not None else {}

    def explain(self) -> None:
        """Print the plan: as written, as optimized, and how it would be run."""
        sys.stdout.write(self._explained())

    def _explained(self) -> str:
        from rayjup.data.physical.placement import runs_here
        from rayjup.data.physical.stages import chain_of, is_step

        plan = optimize(self._op)
        here = runs_here(plan, self._context)
        lines = ["-------- Logical Plan --------", describe(self._op)]
        lines += ["-------- Optimized Plan --------", describe(plan, _detail)]
        lines += ["-------- Physical Plan --------"]
        stages = []
        pending = [plan]
        while pending:
            op = pending.pop()
            if is_step(op):
                chain = chain_of(op)
                stages.append(f"{chain.name}  [{chain.compute}]" if not here else chain.name)
                if not isinstance(chain.base, Read):
                    pending.append(chain.base)
            else:
                stages.append(op.name)
                pending += op.inputs
        lines += [f"{'   ' * i}+- {name}" if i else name for i, name in enumerate(stages)]
        lines.append(f"Runs {'in this process' if here else 'on the cluster'}.")
        return "\n".join(lines) + "\n"

    def summary(
        self,
        columns: list[str] | None = None,
        override_dtype_agg_mapping: dict[Any, Callable[[str], list[Any]]] | None = None,
    ) -> DatasetSummary:
        """Count, mean, least, greatest, ... of columns, computed in one pass."""
        from rayjup.data.summary import summarize

        return summarize(self, columns, override_dtype_agg_mapping)  # type: ignore[arg-type]

    # ------------------------------------------------------------------------------------- lineage

    def has_serializable_lineage(self) -> bool:
        """True if the plan reads only from sources that other sessions can read, too."""
        return not any(isinstance(node, InputBlocks) for node in walk(self._plan))

    def serialize_lineage(self) -> bytes:
        """The plan as bytes, for :meth:`deserialize_lineage` in another session."""
        if not self.has_serializable_lineage():
            raise ValueError(
                "serialize_lineage: the dataset holds data of this session (from_items, from_pandas, "
                "materialize ...), "
                "which another one cannot read. Write it to files and read these."
            )
        import cloudpickle

        return cloudpickle.dumps((self._plan, self._context, self._name))

    @staticmethod
    def deserialize_lineage(serialized_ds: bytes) -> Dataset:
        """The dataset whose plan :meth:`serialize_lineage` has made."""
        import pickle

        from rayjup.data.dataset import Dataset

        plan, context, name = pickle.loads(serialized_ds)
        return Dataset(plan, context, name)

    # ------------------------------------------------------------------------------------- shown

    def __repr__(self) -> str:
        if self._cache is not None:
            facts = [f"num_blocks={len(self._cache)}", f"num_rows={estimate.row_count(self._op)}"]
        else:
            rows = estimate.row_count(self._op) if _cheap(self._op) else None
            facts = [] if rows is None else [f"num_rows={rows}"]
        if self._name:
            facts.insert(0, f"name={self._name}")
        schema = self._schema or (self.schema(False) if _cheap(self._op) else None)
        facts.append(f"schema={_schema_text(schema)}")
        own = f"{type(self).__name__}({', '.join(facts)})"
        if self._cache is not None or not self._op.inputs:
            return own
        tree = describe(self._op).split("\n")
        return "\n".join([*tree[:-1], f"{tree[-1].rstrip()}: {own}"])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Schema, size and plan, and some rows where they exist; runs nothing."""
        from rayjup.data.display import html

        return {"text/plain": repr(self), "text/html": html(self)}  # type: ignore[arg-type]


def _cheap(op: Op) -> bool:
    """True if looking at the plan's size and schema does not touch files that have not been looked at."""
    return all(
        getattr(n.source, "native", False) or ("tasks", 1) in n.known for n in walk(op) if isinstance(n, Read)
    )


def _schema_text(schema: Schema | None) -> str:
    if schema is None:
        return "Unknown schema"
    return "{" + ", ".join(f"{n}: {t}" for n, t in zip(schema.names, schema.types, strict=True)) + "}"


def _detail(op: Op) -> str:
    if isinstance(op, Read):
        facts = []
        if op.source.get_projection_map() is not None:
            facts.append(f"columns={list(op.source.get_projection_map())}")
        if op.source.get_current_predicate() is not None:
            facts.append(f"where {op.source.get_current_predicate()}")
        if op.limit is not None:
            facts.append(f"limit={op.limit}")
        return f"{op.name}({', '.join(facts)})" if facts else op.name
    return op.name


def _needless_removed(op: Op) -> Op:
    """Without what changes no number of rows at the end of a plan."""
    while isinstance(op, (Sort, RandomShuffle, RandomizeBlocks, Repartition, Columns)) and op.inputs:
        op = op.inputs[0]
    return op


def _rowwise_only(op: Op) -> Op:
    """Without what changes no columns at the end of a plan."""
    while isinstance(op, (Sort, RandomShuffle, RandomizeBlocks, Repartition)):
        op = op.inputs[0]
    return op
