"""One dataset made several."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rayjup.data.block.bundle import Bundle
from rayjup.data.logical.base import Op
from rayjup.data.logical.sources import InputBlocks

if TYPE_CHECKING:
    from rayjup.data.context import DataContext
    from rayjup.data.dataset import Dataset, MaterializedDataset
    from rayjup.data.iterator import DataIterator


class HashSide:
    """Which side of a split a row belongs to, by the hash of a column: the same in every run."""

    def __init__(self, column: str | None, share: float, seed: int, test: bool) -> None:
        self.column, self.share, self.seed, self.test = column, share, seed, test
        self.__name__ = "split"

    def __call__(self, table: Any) -> Any:
        import pyarrow as pa

        from rayjup.data.kernels.shuffling import hash_rows

        hashes = hash_rows(table, [self.column] if self.column else table.column_names)
        mixed = (hashes ^ np.uint64(self.seed)) * np.uint64(0x9E3779B97F4A7C15)
        inside = (mixed >> np.uint64(11)).astype(np.float64) / float(2**53) < self.share
        return table.filter(pa.array(inside if self.test else ~inside))


class SplitMixin:
    """One dataset made several."""

    _op: Op
    _context: DataContext
    _name: str | None
    materialize: Callable[[], MaterializedDataset]
    map_batches: Callable[..., Dataset]

    def _pieces(self, bundles: Sequence[Bundle], edges: Sequence[int]) -> list[MaterializedDataset]:
        """Datasets of the rows between the edges."""
        from rayjup.data.dataset import MaterializedDataset
        from rayjup.data.execution.exchange import cut

        out = []
        for piece in cut(list(bundles), list(edges)):
            parts = [
                bundle if (start, end) == (0, bundle.num_rows) else bundle.slice(start, end - start)
                for bundle, start, end in piece
            ]
            if not parts and bundles:
                parts = [bundles[0].slice(0, 0)]
            made = MaterializedDataset(InputBlocks(tuple(parts)), self._context, self._name)
            made._cache = parts
            out.append(made)
        return out

    def split(
        self, n: int, *, equal: bool = False, locality_hints: list[Any] | None = None
    ) -> list[MaterializedDataset]:
        """``n`` datasets of consecutive rows; with ``equal`` of exactly the same size (what is left over
        is dropped).

        Examples
        --------
        >>> import rayjup
        >>> [part.count() for part in rayjup.data.range(10).split(3, equal=True)]
        [3, 3, 3]
        """
        if n < 1:
            raise ValueError(f"split: {n} parts are not possible; there must be at least one.")
        if locality_hints is not None and len(locality_hints) != n:
            raise ValueError(f"split: {len(locality_hints)} locality hints for {n} parts.")
        bundles = self.materialize()._cache or []
        rows = sum(b.num_rows or 0 for b in bundles)
        if equal:
            each = rows // n
            return self._pieces(bundles, [each * i for i in range(n + 1)])
        return self._pieces(bundles, np.linspace(0, rows, n + 1).astype(int).tolist())

    def split_at_indices(self, indices: list[int]) -> list[MaterializedDataset]:
        """Cut at row numbers: rows up to the first, from there to the second, ...

        Examples
        --------
        >>> import rayjup
        >>> [part.count() for part in rayjup.data.range(10).split_at_indices([2, 5])]
        [2, 3, 5]
        """
        if not indices:
            raise ValueError("split_at_indices: give at least one row number.")
        if list(indices) != sorted(indices) or indices[0] < 0:
            raise ValueError(f"split_at_indices: {indices} must be sorted and not negative.")
        bundles = self.materialize()._cache or []
        rows = sum(b.num_rows or 0 for b in bundles)
        return self._pieces(bundles, [0, *(min(i, rows) for i in indices), rows])

    def split_proportionately(self, proportions: list[float]) -> list[MaterializedDataset]:
        """Cut in given proportions; what remains is the last part.

        Examples
        --------
        >>> import rayjup
        >>> [part.count() for part in rayjup.data.range(10).split_proportionately([0.2, 0.5])]
        [2, 5, 3]
        """
        if not proportions or any(p <= 0 for p in proportions) or sum(proportions) >= 1:
            raise ValueError(
                f"split_proportionately: {proportions} must be positive and sum up to less than 1 (the "
                "rest is a part, too)."
            )
        done = self.materialize()
        rows = done.count()
        cuts = np.cumsum([int(rows * p) for p in proportions]).tolist()
        if len(proportions) + 1 > rows:
            raise ValueError(
                f"split_proportionately: {rows} rows cannot be split into {len(proportions) + 1} parts "
                "with rows."
            )
        return done.split_at_indices(cuts)

    def train_test_split(
        self,
        test_size: int | float,
        *,
        shuffle: bool = False,
        seed: int | None = None,
        stratify: str | None = None,
    ) -> tuple[MaterializedDataset, MaterializedDataset]:
        """Two datasets, for training and for testing.

        Parameters
        ----------
        test_size : int or float
            Rows of the test set, or their share.
        shuffle : bool
            At random instead of the last rows.
        stratify : str, optional
            A column whose values have the same shares in both.

        Examples
        --------
        >>> import rayjup
        >>> train, test = rayjup.data.range(8).train_test_split(0.25)
        >>> test.take_all()
        [{'id': 6}, {'id': 7}]
        """
        if isinstance(test_size, float) and not 0 < test_size < 1:
            raise ValueError(
                f"train_test_split: test_size={test_size} must lie between 0 and 1, or be a number of rows."
            )
        if stratify is not None:
            return self._stratified(test_size, shuffle, seed, stratify)
        ds: Any = self.random_shuffle(seed=seed) if shuffle else self  # type: ignore[attr-defined]
        done = ds.materialize()
        rows = done.count()
        if isinstance(test_size, float):
            return tuple(done.split_at_indices([rows - int(rows * test_size)]))  # type: ignore[return-value]
        if not 0 < test_size < rows:
            raise ValueError(
                f"train_test_split: test_size={test_size} must lie between 0 and the {rows} rows there are."
            )
        return tuple(done.split_at_indices([rows - test_size]))  # type: ignore[return-value]

    def _stratified(
        self, test_size: int | float, shuffle: bool, seed: int | None, stratify: str
    ) -> tuple[MaterializedDataset, MaterializedDataset]:
        from rayjup.data.block.accessor import take
        from rayjup.data.block.unify import concat
        from rayjup.data.kernels.grouping import ordered_groups
        from rayjup.data.read_api import from_arrow

        ds: Any = self.random_shuffle(seed=seed) if shuffle else self  # type: ignore[attr-defined]
        table = concat([b.table() for b in ds.materialize()._cache])
        share = test_size if isinstance(test_size, float) else test_size / max(1, table.num_rows)
        ordered, edges = ordered_groups(table, [stratify])
        train: list[int] = []
        test: list[int] = []
        for start, end in itertools.pairwise(edges):
            cut = end - int((end - start) * share)
            train += range(start, cut)
            test += range(cut, end)
        return from_arrow(take(ordered, train)), from_arrow(take(ordered, test))

    def streaming_train_test_split(
        self,
        test_size: float,
        *,
        split_type: Literal["hash", "random"] = "random",
        hash_column: str | None = None,
        seed: int | None = None,
        **ray_remote_kwargs: Any,
    ) -> tuple[Dataset, Dataset]:
        """Two lazy datasets, for training and for testing: nothing is kept in memory for the split.

        Parameters
        ----------
        split_type
            ``"hash"``: by the hash of ``hash_column``, always the same; ``"random"``: by the hash of the
            row and the seed.
        """
        if not 0 < test_size < 1:
            raise ValueError(f"streaming_train_test_split: test_size={test_size} must lie between 0 and 1.")
        if split_type not in ("hash", "random"):
            raise ValueError(
                f"streaming_train_test_split: split_type={split_type!r} must be 'hash' or 'random'."
            )
        if (split_type == "hash") != (hash_column is not None):
            raise ValueError("streaming_train_test_split: hash_column goes with split_type='hash'.")
        if split_type == "hash" and seed is not None:
            raise ValueError("streaming_train_test_split: a seed goes with split_type='random'.")
        number = (
            (seed if seed is not None else np.random.default_rng().integers(2**31))
            if split_type == "random"
            else 0
        )
        sides = [
            self.map_batches(
                HashSide(hash_column, test_size, int(number), test),
                batch_format="pyarrow",
                **ray_remote_kwargs,
            )
            for test in (False, True)
        ]
        return sides[0], sides[1]

    def streaming_split(
        self, n: int, *, equal: bool = False, locality_hints: list[Any] | None = None
    ) -> list[DataIterator]:
        """``n`` iterators that share out the rows as they are computed, for ``n`` consumers in any processes.

        All must be read at the same time; an epoch begins when all have asked for it.

        Parameters
        ----------
        equal : bool
            All get the same number of rows (what is left over is dropped).

        Examples
        --------
        >>> import rayjup
        >>> parts = rayjup.data.range(8).streaming_split(2, equal=True)
        >>> len(parts)
        2
        """
        from rayjup.data.streaming_split import split_iterators

        if n < 1:
            raise ValueError(f"streaming_split: {n} parts are not possible; there must be at least one.")
        return split_iterators(self, n, equal, locality_hints)  # type: ignore[arg-type]
