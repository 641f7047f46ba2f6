"""Lance datasets, through the ``lance`` package (``pip install pylance``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.datasink import Datasink, TaskContext, WriteResult
from rayjup.data.datasource.pieces import PiecesDatasource, need
from rayjup.data.datasource.savemode import SaveMode


def _lance() -> Any:
    return need("lance", "Lance", "pylance")


class LanceDatasource(PiecesDatasource):
    """A Lance dataset, a fragment per piece.

    Parameters
    ----------
    uri
        Where it is; several are read one after another.
    version
        A version or a tag; the latest by default.
    columns, filter
        The columns to read, and a condition in SQL.
    storage_options
        For the storage.
    scanner_options
        Further arguments of Lance's scanner.
    """

    def __init__(
        self,
        uri: str | list[str],
        version: int | str | None = None,
        columns: list[str] | None = None,
        filter: str | None = None,
        storage_options: dict[str, str] | None = None,
        scanner_options: dict[str, Any] | None = None,
    ) -> None:
        self._uris = [uri] if isinstance(uri, str) else list(uri)
        self._storage = storage_options
        self._scan = {**(scanner_options or {})}
        if columns is not None:
            self._scan["columns"] = columns
        if filter is not None:
            self._scan["filter"] = filter
        self._opened = [self._open(one, version) for one in self._uris]
        # The version of now, also where somebody writes before the rows are read.
        self._versions = {uri: opened.version for uri, opened in zip(self._uris, self._opened, strict=True)}

    def _open(self, uri: str, version: int | str | None) -> Any:
        return _lance().dataset(uri, version=version, storage_options=self._storage)

    def pieces(self, parallelism: int) -> Sequence[tuple[str, int]]:
        """Dataset and fragment."""
        return [
            (uri, fragment.fragment_id)
            for uri, opened in zip(self._uris, self._opened, strict=True)
            for fragment in opened.get_fragments()
        ]

    def piece_rows(self, piece: tuple[str, int]) -> int | None:
        """Known where nothing is left out."""
        if "filter" in self._scan:
            return None
        return self._opened[self._uris.index(piece[0])].get_fragment(piece[1]).count_rows()

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known before."""
        return None

    def read_piece(self, piece: tuple[str, int]) -> Iterator[pa.Table]:
        """The batches of a fragment."""
        dataset = self._open(piece[0], self._versions[piece[0]])
        fragment = dataset.get_fragment(piece[1])
        scanner = dataset.scanner(fragments=[fragment], **self._scan)
        for batch in scanner.to_reader():
            yield pa.Table.from_batches([batch])

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_opened"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._opened = [self._open(one, self._versions[one]) for one in self._uris]


class LanceDatasink(Datasink[Any]):
    """A Lance dataset: tasks write fragments, the driver commits them.

    Parameters
    ----------
    uri
        Where it is.
    schema
        The schema; by default the data's.
    mode
        ``create``, ``append`` or ``overwrite``.
    min_rows_per_file, max_rows_per_file
        The sizes of the files.
    data_storage_version
        The version of the file format.
    storage_options
        For the storage.
    """

    def __init__(
        self,
        uri: str,
        schema: pa.Schema | None = None,
        mode: SaveMode = SaveMode.CREATE,
        min_rows_per_file: int = 1024 * 1024,
        max_rows_per_file: int = 64 * 1024 * 1024,
        data_storage_version: str | None = None,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        _lance()
        self._uri, self._schema, self._mode = uri, schema, SaveMode(mode)
        if self._mode not in (SaveMode.CREATE, SaveMode.APPEND, SaveMode.OVERWRITE):
            raise ValueError(f"mode={mode!r}: Lance creates, appends or overwrites.")
        self._min_rows, self._max_rows = min_rows_per_file, max_rows_per_file
        self._format, self._storage = data_storage_version, storage_options

    @property
    def min_rows_per_write(self) -> int | None:
        """The rows of a file at least."""
        return self._min_rows

    def write(self, blocks: Iterable[Any], ctx: TaskContext) -> Any:
        """Write fragments; gives them with their schema."""
        tables = [BlockAccessor.for_block(block).to_arrow() for block in blocks]
        tables = [table for table in tables if table.num_rows]
        if not tables:
            return [], None
        from rayjup.data.block.unify import concat

        table = concat(tables)
        if self._schema is not None:
            table = table.cast(self._schema)
        options = {} if self._format is None else {"data_storage_version": self._format}
        fragments = need("lance.fragment", "Lance", "pylance").write_fragments(
            table,
            self._uri,
            schema=table.schema,
            mode="create" if self._mode is SaveMode.CREATE else self._mode.value,
            max_rows_per_file=self._max_rows,
            storage_options=self._storage,
            **options,
        )
        return fragments, table.schema

    def on_write_complete(self, write_result: WriteResult[Any]) -> None:
        """Commit all fragments at once."""
        lance = _lance()
        fragments = [one for made, _ in write_result.write_returns for one in made]
        schema = next((schema for _, schema in write_result.write_returns if schema is not None), None)
        if not fragments:
            return
        if self._mode is SaveMode.APPEND:
            version = lance.dataset(self._uri, storage_options=self._storage).version
            operation = lance.LanceOperation.Append(fragments)
        else:
            version = None
            operation = lance.LanceOperation.Overwrite(schema, fragments)
        lance.LanceDataset.commit(self._uri, operation, read_version=version, storage_options=self._storage)
