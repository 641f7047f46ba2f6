"""Sources that consist of pieces which somebody else's client reads."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rayjup.data.block.metadata import BlockMetadata
from rayjup.data.datasource.datasource import Datasource, ReadTask

if TYPE_CHECKING:
    from rayjup.data.context import DataContext


def need(module: str, purpose: str, install: str | None = None) -> Any:
    """Import an optional package; where it is missing, the error says for what and how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = install or module.partition(".")[0]
        raise ImportError(f"{purpose} needs {package!r}; install it with: pip install {package}") from error


class PiecesDatasource(Datasource):
    """A source of pieces. Subclasses define ``pieces`` and ``read_piece``."""

    def pieces(self, parallelism: int) -> Sequence[Any]:
        """What is read on its own; each travels to the task that reads it."""
        raise NotImplementedError(f"{type(self).__name__} must define pieces(parallelism)")

    def read_piece(self, piece: Any) -> Iterable[Any]:
        """The blocks of a piece."""
        raise NotImplementedError(f"{type(self).__name__} must define read_piece(piece)")

    def piece_rows(self, piece: Any) -> int | None:
        """How many rows a piece has, where that is known before."""
        return None

    def piece_bytes(self, piece: Any) -> int | None:
        """How many bytes a piece takes, where that is known before."""
        return None

    def known_schema(self) -> pa.Schema | None:
        """The schema, where it is known before."""
        return None

    def estimate_inmemory_data_size(self) -> int | None:
        """The sum over all pieces, where it is known."""
        sizes = [self.piece_bytes(piece) for piece in self.pieces(1)]
        return None if None in sizes else sum(size or 0 for size in sizes)

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: DataContext | None = None,
    ) -> list[ReadTask]:
        """About ``parallelism`` tasks with equally many pieces."""
        parallelism = max(1, parallelism)
        pieces = list(self.pieces(parallelism))
        count = min(parallelism, len(pieces))
        tasks = []
        for number in range(count):
            group = pieces[number * len(pieces) // count : (number + 1) * len(pieces) // count]
            rows = [self.piece_rows(piece) for piece in group]
            sizes = [self.piece_bytes(piece) for piece in group]
            metadata = BlockMetadata(
                num_rows=None if None in rows else sum(row or 0 for row in rows),
                size_bytes=None if None in sizes else sum(size or 0 for size in sizes),
                exec_stats=None,
            )
            read = functools.partial(_read_group, self.read_piece, group)
            tasks.append(ReadTask(read, metadata, self.known_schema(), per_task_row_limit))
        return tasks


def _read_group(read_piece: Callable[[Any], Iterable[Any]], group: Sequence[Any]) -> Iterator[Any]:
    for piece in group:
        yield from read_piece(piece)
