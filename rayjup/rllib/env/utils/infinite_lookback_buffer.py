"""A column of an episode: a list while it grows, one array once it is complete.

The first ``lookback`` items lie before the episode's (or chunk's) own beginning: they are what models with
a memory of past observations look at. Index 0 is the first item after them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rayjup.rllib.utils import nested


class InfiniteLookbackBuffer:
    """Items by time step, with a lookback part before time 0."""

    __slots__ = ("data", "finalized", "lookback", "space")

    def __init__(self, data: Any = None, lookback: int = 0, space: Any = None) -> None:
        self.data: Any = [] if data is None else data
        self.finalized = not isinstance(self.data, list)
        self.lookback = min(lookback, nested.length(self.data) if self.finalized else len(self.data))
        self.space = space

    def __len__(self) -> int:
        return self.len_incl_lookback() - self.lookback

    def len_incl_lookback(self) -> int:
        """Length with the lookback part."""
        return nested.length(self.data) if self.finalized else len(self.data)

    def append(self, item: Any) -> None:
        """One more item at the end."""
        if self.finalized:
            self.data = nested.map_leaves(
                lambda old, new: np.concatenate([old, np.asarray(new)[None]]), self.data, item
            )
        else:
            self.data.append(item)

    def extend(self, items: Any) -> None:
        """More items at the end: a list, or arrays where this holds arrays."""
        if self.finalized:
            more = nested.stack(items) if isinstance(items, list) else items
            self.data = nested.concatenate([self.data, more])
        else:
            self.data.extend(items)

    def pop(self, index: int = -1) -> None:
        """Drop the last item."""
        if self.finalized:
            self.data = nested.take(self.data, slice(None, -1))
        else:
            self.data.pop(index)

    def finalize(self) -> None:
        """From a list of items to arrays."""
        if not self.finalized and self.data:
            self.data = nested.stack(self.data)
            self.finalized = True

    to_numpy = finalize

    def get(
        self,
        indices: int | slice | list[int] | None = None,
        *,
        neg_index_as_lookback: bool = False,
        fill: Any = None,
        one_hot_discrete: bool = False,
    ) -> Any:
        """Items at ``indices``: one, or as a list (array once finalized) for slices and lists.

        Parameters
        ----------
        indices
            Time steps; None for all after the lookback part. Negative ones count from the end.
        neg_index_as_lookback
            -1 is the last item before time 0 instead.
        fill
            Stands for items beyond both ends.
        one_hot_discrete
            Discrete items as one-hot vectors.
        """
        if indices is None:
            if fill is None and not one_hot_discrete:  # what is asked for most
                s = slice(self.lookback, None)
                return nested.take(self.data, s) if self.finalized else self.data[s]
            indices = slice(0, len(self))
        if isinstance(indices, slice):
            span = self._places_of_slice(indices, neg_index_as_lookback, fill is not None)
            if fill is None and not one_hot_discrete:
                return self._take_range(span)
            places = list(span)
        elif isinstance(indices, list):
            places = [self._place(i, neg_index_as_lookback, fill is not None) for i in indices]
        else:
            item = self._item(self._place(indices, neg_index_as_lookback, fill is not None), fill)
            return self._encode(item) if one_hot_discrete else item
        items = [self._item(place, fill) for place in places]
        if one_hot_discrete:
            items = [self._encode(item) for item in items]
        return nested.stack(items) if self.finalized and items else items

    def set(
        self,
        new_data: Any,
        *,
        at_indices: int | slice | list[int] | None = None,
        neg_index_as_lookback: bool = False,
    ) -> None:
        """Replace items; as many as the indices name."""
        if at_indices is None:
            at_indices = slice(0, len(self))
        if isinstance(at_indices, int):
            places, values = [self._place(at_indices, neg_index_as_lookback, False)], [new_data]
        else:
            if isinstance(at_indices, slice):
                places = list(self._places_of_slice(at_indices, neg_index_as_lookback, False))
            else:
                places = [self._place(i, neg_index_as_lookback, False) for i in at_indices]
            if isinstance(new_data, list):
                values = new_data
            else:
                values = [nested.take(new_data, i) for i in range(nested.length(new_data))]
            if len(values) != len(places):
                raise IndexError(
                    f"{len(values)} new items do not fit {len(places)} indices: give one item per index."
                )
        for place, value in zip(places, values, strict=True):
            if self.finalized:
                self._write(place, value)
            else:
                self.data[place] = value

    # ------------------------------------------------------------ places in the data

    def _place(self, index: int, as_lookback: bool, may_miss: bool) -> int:
        total = self.len_incl_lookback()
        place = index + self.lookback if index >= 0 or as_lookback else total + index
        if not may_miss and not 0 <= place < total:
            raise IndexError(
                f"time step {index} is outside of the {len(self)} steps (lookback: {self.lookback}); "
                "give `fill=` to have something else in its place."
            )
        return place

    def _places_of_slice(self, s: slice, as_lookback: bool, may_miss: bool) -> range:
        total = self.len_incl_lookback()
        step = 1 if s.step is None else s.step
        if step < 0:
            whole = range(total)[self.lookback :] if not as_lookback else range(total)
            return whole[s]

        def end(value: int | None, default: int) -> int:
            if value is None:
                return default
            if value >= 0 or as_lookback:
                return value + self.lookback
            return total + value

        start, stop = end(s.start, self.lookback), end(s.stop, total)
        if not may_miss:
            start, stop = max(start, 0), min(stop, total)
        return range(start, stop, step)

    def _take_range(self, places: range) -> Any:
        if places.step > 0:
            s = slice(places.start, places.stop, places.step)
            return nested.take(self.data, s) if self.finalized else self.data[s]
        if self.finalized:
            return nested.take(self.data, np.asarray(places))
        return [self.data[p] for p in places]

    def _item(self, place: int, fill: Any) -> Any:
        if 0 <= place < self.len_incl_lookback():
            return nested.take(self.data, place) if self.finalized else self.data[place]
        if self.space is not None:
            like = nested.zeros_like_space(self.space)
        else:
            like = self._item(0, None)
        return nested.map_leaves(lambda leaf: np.full_like(np.asarray(leaf), fill), like)

    def _write(self, place: int, value: Any) -> None:
        def write(array: np.ndarray, new: Any) -> np.ndarray:
            if not array.flags.writeable:
                array = array.copy()
            array[place] = new
            return array

        self.data = nested.map_leaves(write, self.data, value)

    def _encode(self, item: Any) -> Any:
        if self.space is None:
            raise ValueError("one_hot_discrete=True needs the space: make the episode with its spaces.")
        return _one_hot(self.space, item)


def _one_hot(space: Any, item: Any) -> Any:
    kind = type(space).__name__
    if kind == "Discrete":
        vector = np.zeros(int(space.n), np.float32)
        if 0 <= int(item) - int(space.start) < space.n:
            vector[int(item) - int(space.start)] = 1.0
        return vector
    if kind == "MultiDiscrete":
        vectors = []
        for n, value in zip(space.nvec.ravel(), np.asarray(item).ravel(), strict=True):
            vector = np.zeros(int(n), np.float32)
            vector[int(value)] = 1.0
            vectors.append(vector)
        return np.concatenate(vectors)
    if kind == "Dict":
        return {key: _one_hot(sub, item[key]) for key, sub in space.spaces.items()}
    if kind == "Tuple":
        return tuple(_one_hot(sub, part) for sub, part in zip(space.spaces, item, strict=True))
    return item
