"""Zarr stores, through ``zarr``: a row per chunk, or per slice along the first axis."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block.convert import to_table
from rayjup.data.datasource.pieces import PiecesDatasource, need


class ZarrDatasource(PiecesDatasource):
    """The arrays of a store, chunk by chunk.

    Parameters
    ----------
    path
        The store: a path or a URI.
    filesystem
        A filesystem of fsspec.
    chunk_shapes
        Other shapes than the stored ones, for all arrays or by their paths.
    array_paths
        Which arrays; all by default.
    align_axis_0
        Whether a row is a slice along the first axis of all arrays, instead of a chunk of one.
    overlap
        By how many elements slices along the first axis reach into the next.
    """

    def __init__(
        self,
        path: str,
        filesystem: Any = None,
        chunk_shapes: dict[str, list[int]] | list[int] | None = None,
        array_paths: list[str] | None = None,
        align_axis_0: bool = False,
        overlap: int = 0,
    ) -> None:
        if overlap < 0 or (overlap and not align_axis_0):
            raise ValueError("overlap is a number of elements, and goes with align_axis_0=True only.")
        self._path, self._filesystem = path, filesystem
        self._align, self._overlap = align_axis_0, overlap
        found = dict(_arrays(self._open()))
        if array_paths is not None:
            missing = [name for name in array_paths if name not in found]
            if missing:
                raise ValueError(f"{path} has no array {missing[0]!r}; it has {', '.join(found)}.")
            found = {name: found[name] for name in array_paths}
        if not found:
            raise ValueError(f"{path} holds no array.")
        self._shapes = {name: array.shape for name, array in found.items()}
        self._bytes = {name: array.dtype.itemsize for name, array in found.items()}
        self._chunks = {name: self._chunk(name, array, chunk_shapes) for name, array in found.items()}
        if align_axis_0:
            self._check_aligned()

    @staticmethod
    def _chunk(name: str, array: Any, given: Any) -> tuple[int, ...]:
        wanted = given.get(name) if isinstance(given, dict) else given
        chunk = tuple(wanted) if wanted is not None else tuple(array.chunks)
        chunk += tuple(array.shape[len(chunk) :])  # axes that are not named stay whole
        return tuple(
            size if step in (-1, None) else step for step, size in zip(chunk, array.shape, strict=True)
        )

    def _check_aligned(self) -> None:
        lengths = {shape[:1] for shape in self._shapes.values()}
        steps = {chunk[:1] for chunk in self._chunks.values()}
        if len(lengths) > 1 or len(steps) > 1:
            told = ", ".join(f"{n}: {self._shapes[n][:1]} by {c[:1]}" for n, c in self._chunks.items())
            raise ValueError(
                f"align_axis_0 needs arrays of one length, with chunks of one length along it: {told}. "
                "Choose arrays with array_paths, or chunks with chunk_shapes."
            )

    def _open(self) -> Any:
        zarr = need("zarr", "Zarr")
        if self._filesystem is None and "://" not in self._path:
            return zarr.open(self._path, mode="r")
        if self._filesystem is None:
            return zarr.open(self._path, mode="r", storage_options={})
        store = zarr.storage.FsspecStore(self._filesystem, read_only=True, path=self._path)
        return zarr.open(store, mode="r")

    def pieces(self, parallelism: int) -> Sequence[Any]:
        """Array and chunk, or bounds along the first axis."""
        if self._align:
            name = next(iter(self._shapes))
            length, step = self._shapes[name][0], self._chunks[name][0]
            return [(start, min(start + step + self._overlap, length)) for start in range(0, length, step)]
        pieces = []
        for name, shape in self._shapes.items():
            counts = [-(-size // step) for size, step in zip(shape, self._chunks[name], strict=True)]
            pieces += [(name, index) for index in itertools.product(*map(range, counts))]
        return pieces

    def piece_rows(self, piece: Any) -> int | None:
        """One."""
        return 1

    def piece_bytes(self, piece: Any) -> int | None:
        """What the chunk takes in memory."""
        if not self._align:
            return int(np.prod(self._chunks[piece[0]])) * self._bytes[piece[0]]
        start, stop = piece
        return sum(
            (stop - start) * int(np.prod(shape[1:])) * self._bytes[name]
            for name, shape in self._shapes.items()
        )

    def read_piece(self, piece: Any) -> Iterator[pa.Table]:
        """A row."""
        store = self._open()
        if self._align:
            start, stop = piece
            row = {"t_start": np.array([start]), "t_stop": np.array([stop])}
            for name in self._shapes:
                row[name] = np.asarray(_get(store, name)[start:stop])[None]
            yield to_table(row)
            return
        name, index = piece
        bounds = [
            (place * step, min((place + 1) * step, size))
            for place, step, size in zip(index, self._chunks[name], self._shapes[name], strict=True)
        ]
        chunk = np.asarray(_get(store, name)[tuple(slice(*bound) for bound in bounds)])
        yield pa.table(
            {
                "array": [name],
                "chunk_index": pa.array([list(index)], pa.list_(pa.int64())),
                "chunk_slices": pa.array([[list(bound) for bound in bounds]], pa.list_(pa.list_(pa.int64()))),
                "chunk": to_table({"chunk": chunk[None]}).column("chunk"),
            }
        )


def _arrays(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All arrays below a group with their paths."""
    if hasattr(node, "chunks"):
        yield prefix.strip("/"), node
        return
    for name, child in sorted(node.members()):
        yield from _arrays(child, f"{prefix}/{name}")


def _get(store: Any, name: str) -> Any:
    return store[name] if name else store
