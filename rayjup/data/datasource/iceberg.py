"""Iceberg tables, through ``pyiceberg``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.datasink import Datasink, TaskContext, WriteResult
from rayjup.data.datasource.pieces import PiecesDatasource, need
from rayjup.data.datasource.savemode import SaveMode

if TYPE_CHECKING:
    from rayjup.data.expressions import Expr


def load_table(table_identifier: str, catalog_kwargs: dict[str, Any] | None) -> Any:
    """The table of a catalog; ``name`` among the arguments is the name of the catalog."""
    arguments = dict(catalog_kwargs or {})
    name = arguments.pop("name", "default")
    catalog = need("pyiceberg.catalog", "Iceberg", "pyiceberg").load_catalog(name, **arguments)
    return catalog.load_table(table_identifier)


class IcebergDatasource(PiecesDatasource):
    """The files of a snapshot, a file per piece.

    Parameters
    ----------
    table_identifier
        ``namespace.table``.
    row_filter
        A condition of pyiceberg, or one as text.
    selected_fields
        The columns to read.
    snapshot_id
        The snapshot; the latest by default.
    scan_kwargs
        Further arguments of ``Table.scan``.
    catalog_kwargs
        Arguments of ``pyiceberg.catalog.load_catalog``.
    """

    def __init__(
        self,
        table_identifier: str,
        row_filter: Any = None,
        selected_fields: tuple[str, ...] = ("*",),
        snapshot_id: int | None = None,
        scan_kwargs: dict[str, Any] | None = None,
        catalog_kwargs: dict[str, Any] | None = None,
    ) -> None:
        table = load_table(table_identifier, catalog_kwargs)
        arguments = {"selected_fields": tuple(selected_fields), **(scan_kwargs or {})}
        if snapshot_id is not None:
            arguments["snapshot_id"] = snapshot_id
        if row_filter is not None:
            arguments["row_filter"] = row_filter
        scan = table.scan(**arguments)
        self._metadata, self._io = table.metadata, table.io
        self._projection: Any = scan.projection()
        self._filter = scan.row_filter
        self._case_sensitive = scan.case_sensitive
        self._pieces = list(scan.plan_files())
        self._schema = self._projection.as_arrow()
        self._filtered = row_filter is not None

    def known_schema(self) -> pa.Schema | None:
        """As the table has it."""
        return self._schema

    def pieces(self, parallelism: int) -> Sequence[Any]:
        """The files of the scan."""
        return self._pieces

    def piece_rows(self, piece: Any) -> int | None:
        """Known where nothing is left out."""
        return None if self._filtered or piece.delete_files else piece.file.record_count

    def piece_bytes(self, piece: Any) -> int | None:
        """The size of the file, unpacked by guess."""
        return piece.file.file_size_in_bytes * 3

    def read_piece(self, piece: Any) -> Iterator[pa.Table]:
        """The rows of a file, without those that were deleted."""
        from pyiceberg.io.pyarrow import ArrowScan

        scan = ArrowScan(
            self._metadata, self._io, self._projection, self._filter, case_sensitive=self._case_sensitive
        )
        yield scan.to_table([piece])


def to_iceberg(expr: Expr) -> Any:
    """An expression as a condition of pyiceberg: comparisons of columns with values, and, or, not."""
    from pyiceberg import expressions as ice

    from rayjup.data.expressions.nodes import BinaryExpr, ColumnExpr, LiteralExpr, Operation, UnaryExpr

    comparisons = {
        Operation.EQ: ice.EqualTo,
        Operation.NE: ice.NotEqualTo,
        Operation.LT: ice.LessThan,
        Operation.LE: ice.LessThanOrEqual,
        Operation.GT: ice.GreaterThan,
        Operation.GE: ice.GreaterThanOrEqual,
        Operation.IN: ice.In,
        Operation.NOT_IN: ice.NotIn,
    }
    if isinstance(expr, UnaryExpr):
        if expr.op is Operation.NOT:
            return ice.Not(to_iceberg(expr.operand))
        if isinstance(expr.operand, ColumnExpr):
            kind = ice.IsNull if expr.op is Operation.IS_NULL else ice.NotNull
            return kind(expr.operand._name)
    if isinstance(expr, BinaryExpr):
        if expr.op is Operation.AND:
            return ice.And(to_iceberg(expr.left), to_iceberg(expr.right))
        if expr.op is Operation.OR:
            return ice.Or(to_iceberg(expr.left), to_iceberg(expr.right))
        columns = isinstance(expr.left, ColumnExpr) and isinstance(expr.right, LiteralExpr)
        if columns and expr.op in comparisons:
            return comparisons[expr.op](expr.left._name, expr.right.value)  # type: ignore[attr-defined]
    raise ValueError(
        f"{expr!r} is no condition that Iceberg knows: compare columns with values, and join that with & | ~."
    )


class IcebergDatasink(Datasink[Any]):
    """An Iceberg table: tasks write files, the driver commits them.

    Parameters
    ----------
    table_identifier
        ``namespace.table``.
    catalog_kwargs
        Arguments of ``pyiceberg.catalog.load_catalog``.
    snapshot_properties
        Kept with the snapshot.
    mode
        ``append``, ``overwrite`` or ``upsert``.
    overwrite_filter
        The rows that are replaced; all by default.
    upsert_kwargs
        Arguments of ``Table.upsert``, such as ``join_cols``.
    overwrite_kwargs
        Arguments of ``Transaction.delete``.
    """

    def __init__(
        self,
        table_identifier: str,
        catalog_kwargs: dict[str, Any] | None = None,
        snapshot_properties: dict[str, str] | None = None,
        mode: SaveMode = SaveMode.APPEND,
        overwrite_filter: Expr | None = None,
        upsert_kwargs: dict[str, Any] | None = None,
        overwrite_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self._mode = SaveMode(mode)
        if self._mode not in (SaveMode.APPEND, SaveMode.OVERWRITE, SaveMode.UPSERT):
            raise ValueError(f"mode={mode!r}: an Iceberg table is appended to, overwritten, or upserted.")
        self._identifier, self._catalog = table_identifier, catalog_kwargs
        self._properties = dict(snapshot_properties or {})
        self._filter = None if overwrite_filter is None else to_iceberg(overwrite_filter)
        self._upsert, self._overwrite = dict(upsert_kwargs or {}), dict(overwrite_kwargs or {})
        table = load_table(table_identifier, catalog_kwargs)
        self._metadata, self._io = table.metadata, table.io
        self._schema = table.schema().as_arrow()

    def write(self, blocks: Iterable[Any], ctx: TaskContext) -> Any:
        """Write files, and give their descriptions (or the rows, where they are to be upserted)."""
        from pyiceberg.io.pyarrow import _dataframe_to_data_files

        from rayjup.data.block.unify import concat

        tables = [BlockAccessor.for_block(block).to_arrow() for block in blocks]
        tables = [table for table in tables if table.num_rows]
        if not tables:
            return []
        table = self._fitted(concat(tables))
        if self._mode is SaveMode.UPSERT:
            return [table]
        return list(_dataframe_to_data_files(self._metadata, table, self._io))

    def _fitted(self, table: pa.Table) -> pa.Table:
        unknown = [name for name in table.column_names if name not in self._schema.names]
        if unknown:
            raise ValueError(
                f"The table {self._identifier} has no column {unknown[0]!r}; it has "
                f"{', '.join(self._schema.names)}. Drop the column, or add it to the table."
            )
        columns = [
            table.column(field.name).cast(field.type)
            if field.name in table.column_names
            else pa.nulls(table.num_rows, field.type)
            for field in self._schema
        ]
        return pa.table(columns, schema=self._schema)

    def on_write_complete(self, write_result: WriteResult[Any]) -> None:
        """Commit all at once."""
        made = [one for returned in write_result.write_returns for one in returned]
        table = load_table(self._identifier, self._catalog)
        if self._mode is SaveMode.UPSERT:
            if made:
                table.upsert(pa.concat_tables(made), snapshot_properties=self._properties, **self._upsert)
            return
        with table.transaction() as transaction:
            if self._mode is SaveMode.OVERWRITE:
                from pyiceberg.expressions import AlwaysTrue

                condition = AlwaysTrue() if self._filter is None else self._filter
                transaction.delete(condition, snapshot_properties=self._properties, **self._overwrite)
            if made:
                with transaction.update_snapshot(self._properties).fast_append() as append:
                    for file in made:
                        append.append_data_file(file)
