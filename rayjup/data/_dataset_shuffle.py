"""Order, number and blocks of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.data.context import RandomSeedConfig
from rayjup.data.kernels.sorting import SortKey
from rayjup.data.logical.base import Op
from rayjup.data.logical.rearrange import (
    Limit,
    RandomizeBlocks,
    RandomShuffle,
    Repartition,
    Sample,
    Sort,
)

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset


def seed_of(seed: Any) -> int | None:
    """A seed as a number."""
    return seed.seed_for(0) if isinstance(seed, RandomSeedConfig) else seed


class ShuffleMixin:
    """Order, number and blocks of rows."""

    _op: Op
    _with: Callable[[Op], Dataset]

    def sort(
        self,
        key: str | list[str],
        descending: bool | list[bool] = False,
        boundaries: list[Any] | None = None,
    ) -> Dataset:
        """Rows in order of one or several columns; nulls last, equal rows in their order.

        Parameters
        ----------
        boundaries : list, optional
            Where to cut the sorted rows into blocks.

        Examples
        --------
        >>> import rayjup
        >>> rayjup.data.from_items([3, 1, 2]).sort("item", descending=True).take()
        [{'item': 3}, {'item': 2}, {'item': 1}]
        """
        if key is None:
            raise ValueError("sort: give the column (or columns) to sort by.")
        return self._with(
            Sort((self._op,), SortKey.of(key, descending), None if boundaries is None else tuple(boundaries))
        )

    def random_shuffle(
        self, *, seed: Any = None, num_blocks: int | None = None, **ray_remote_args: Any
    ) -> Dataset:
        """Rows in random order; the same order each time with a seed."""
        return self._with(RandomShuffle((self._op,), seed_of(seed), num_blocks))

    def randomize_block_order(self, *, seed: Any = None) -> Dataset:
        """Blocks in random order, the rows within them in theirs: cheap, and enough for some trainings."""
        return self._with(RandomizeBlocks((self._op,), seed_of(seed)))

    def random_sample(self, fraction: float, *, seed: Any = None) -> Dataset:
        """Each row with probability ``fraction``."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"random_sample: fraction={fraction} must lie between 0 and 1.")
        return self._with(Sample((self._op,), float(fraction), seed_of(seed)))

    def limit(self, limit: int) -> Dataset:
        """The first rows; what comes after is not computed."""
        if limit < 0:
            raise ValueError(f"limit: {limit} rows are not possible.")
        return self._with(Limit((self._op,), int(limit)))

    def repartition(
        self,
        num_blocks: int | None = None,
        target_num_rows_per_block: int | None = None,
        *,
        strict: bool = False,
        shuffle: bool = False,
        keys: list[str] | None = None,
        sort: bool = False,
    ) -> Dataset:
        """Another number of blocks.

        Parameters
        ----------
        num_blocks : int, optional
            So many blocks, of equal size.
        target_num_rows_per_block : int, optional
            Blocks of about so many rows (exactly, except the last, with ``strict``).
        shuffle : bool
            Rows go to random blocks.
        keys : list of str, optional
            Rows with equal keys go to the same block.
        sort : bool
            With ``keys``: each block is sorted by them.
        """
        if keys is not None and isinstance(keys, str):
            keys = [keys]
        if (num_blocks is None) == (target_num_rows_per_block is None) and not keys:
            raise ValueError("repartition: give either num_blocks or target_num_rows_per_block.")
        if num_blocks is not None and num_blocks < 1:
            raise ValueError(f"repartition: num_blocks={num_blocks} must be at least 1.")
        if target_num_rows_per_block is not None:
            if target_num_rows_per_block < 1:
                raise ValueError("repartition: target_num_rows_per_block must be at least 1.")
            if keys or shuffle or sort:
                raise ValueError("repartition: target_num_rows_per_block goes with strict only.")
        if sort and not keys:
            raise ValueError("repartition: sort=True sorts by keys: give keys.")
        return self._with(
            Repartition(
                (self._op,),
                num_blocks,
                target_num_rows_per_block,
                shuffle,
                tuple(keys) if keys else None,
                sort,
                strict,
            )
        )
