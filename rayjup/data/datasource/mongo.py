"""MongoDB, through ``pymongo`` and ``pymongoarrow``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.datasink import Datasink, TaskContext
from rayjup.data.datasource.pieces import PiecesDatasource, need


def _client(uri: str) -> Any:
    return need("pymongo", "MongoDB").MongoClient(uri)


class MongoDatasource(PiecesDatasource):
    """The documents of a collection, in ranges of ids.

    Parameters
    ----------
    uri, database, collection
        Which.
    pipeline
        Stages of an aggregation to apply.
    schema
        A schema of pymongoarrow.
    **mongo_args
        For pymongoarrow's ``aggregate_arrow_all``.
    """

    def __init__(
        self,
        uri: str,
        database: str,
        collection: str,
        pipeline: list[dict[str, Any]] | None = None,
        schema: Any = None,
        **mongo_args: Any,
    ) -> None:
        need("pymongoarrow", "Reading MongoDB")
        self._uri, self._database, self._collection = uri, database, collection
        self._pipeline, self._schema, self._args = list(pipeline or []), schema, mongo_args

    def estimate_inmemory_data_size(self) -> int | None:
        """As the collection's statistics say."""
        with _client(self._uri) as client:
            return int(client[self._database].command("collstats", self._collection)["size"])

    def pieces(self, parallelism: int) -> Sequence[tuple[Any, Any, bool]]:
        """Ranges of ids with about equally many documents; the last one with its end."""
        with _client(self._uri) as client:
            collection = client[self._database][self._collection]
            buckets = {"$bucketAuto": {"groupBy": "$_id", "buckets": parallelism}}
            found = list(collection.aggregate([buckets], allowDiskUse=True))
        ranges = [(bucket["_id"]["min"], bucket["_id"]["max"]) for bucket in found]
        return [(low, high, number == len(ranges) - 1) for number, (low, high) in enumerate(ranges)]

    def read_piece(self, piece: tuple[Any, Any, bool]) -> Iterator[pa.Table]:
        """The documents of a range."""
        api = need("pymongoarrow.api", "Reading MongoDB", "pymongoarrow")
        low, high, last = piece
        match = {"$match": {"_id": {"$gte": low, "$lte" if last else "$lt": high}}}
        arguments = dict(self._args) if self._schema is None else {**self._args, "schema": self._schema}
        with _client(self._uri) as client:
            collection = client[self._database][self._collection]
            yield api.aggregate_arrow_all(collection, [match, *self._pipeline], **arguments)


class MongoDatasink(Datasink[None]):
    """Documents inserted into a collection.

    Parameters
    ----------
    uri, database, collection
        Which.
    """

    def __init__(self, uri: str, database: str, collection: str) -> None:
        need("pymongo", "MongoDB")
        self._uri, self._database, self._collection = uri, database, collection

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        """Check that the collection is there."""
        with _client(self._uri) as client:
            if self._database not in client.list_database_names():
                raise ValueError(f"There is no database {self._database!r}.")
            if self._collection not in client[self._database].list_collection_names():
                raise ValueError(f"The database {self._database!r} has no collection {self._collection!r}.")

    def write(self, blocks: Iterable[Any], ctx: TaskContext) -> None:
        """Insert the rows of a task."""
        with _client(self._uri) as client:
            for block in blocks:
                rows = list(BlockAccessor.for_block(block).iter_rows(False))
                if rows:
                    client[self._database][self._collection].insert_many(rows)
