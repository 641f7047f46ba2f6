"""Feature stores: historical features as datasets, online features for serving (Feast).

``pip install feast``. The store itself is Feast's, with whatever offline and online store it is set up with.

Examples
--------
>>> from rayjup.data.feature_stores import historical_features, OnlineFeatures
>>> training = historical_features("repo", entities, ["drivers:rating"])  # doctest: +SKIP
>>> lookup = OnlineFeatures("repo", ["drivers:rating"])  # doctest: +SKIP
>>> lookup([{"driver": 7}])  # doctest: +SKIP
[{'driver': 7, 'rating': 4.5}]
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rayjup.data.datasource.pieces import need

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset

__all__ = ["OnlineFeatures", "historical_features"]


def open_store(store: Any) -> Any:
    """A Feast store: as it is, or the one of a repository's path."""
    if isinstance(store, (str, os.PathLike)):
        return need("feast", "A feature store").FeatureStore(repo_path=os.fspath(store))
    if not hasattr(store, "get_historical_features"):
        raise TypeError(f"A store is a feast.FeatureStore or the path of its repository, not {store!r}.")
    return store


def historical_features(
    store: Any,
    entities: Any,
    features: Sequence[str] | Any,
    *,
    full_feature_names: bool = False,
    batch_size: int | None = 100_000,
) -> Dataset:
    """Entities with the features that were known at their times (a point-in-time join).

    Parameters
    ----------
    store
        The path of Feast's repository, or a ``feast.FeatureStore``.
    entities
        A dataset or a DataFrame with entity columns and ``event_timestamp``, or a query for the offline
        store. The rows of a dataset are joined batch by batch, in the tasks that work on them; for that the
        repository has to be given by its path.
    features
        ``"view:feature"`` names, or a ``feast.FeatureService``.
    full_feature_names
        Whether features are named ``view__feature``.
    batch_size
        How many rows of a dataset are joined at a time.
    """
    from rayjup.data.dataset import Dataset
    from rayjup.data.read_api import from_arrow

    if isinstance(entities, Dataset):
        if not isinstance(store, (str, os.PathLike)):
            raise TypeError(
                "To join a dataset, give the path of Feast's repository: tasks open the store themselves."
            )
        join = _Join(os.path.abspath(os.fspath(store)), features, full_feature_names)
        return entities.map_batches(join, batch_format="pandas", batch_size=batch_size)
    job = open_store(store).get_historical_features(
        entity_df=entities, features=features, full_feature_names=full_feature_names
    )
    return from_arrow(job.to_arrow().replace_schema_metadata(None))


class _Join:
    """Joins the rows of a batch; opens the store once per process."""

    def __init__(self, repo_path: str, features: Any, full_feature_names: bool) -> None:
        self.repo_path, self.features, self.full_feature_names = repo_path, features, full_feature_names
        self.__name__ = "historical_features"
        self._store: Any = None

    def __call__(self, frame: Any) -> Any:
        if self._store is None:
            self._store = open_store(self.repo_path)
        order = "__row"
        # Feast may give rows back in another order.
        frame = frame.assign(**{order: range(len(frame))})
        if hasattr(frame["event_timestamp"], "dt"):
            frame["event_timestamp"] = frame["event_timestamp"].astype("datetime64[ns, UTC]")
        joined = self._store.get_historical_features(
            entity_df=frame, features=self.features, full_feature_names=self.full_feature_names
        ).to_df()
        return joined.sort_values(order).drop(columns=order).reset_index(drop=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_store": None}


class OnlineFeatures:
    """Looks up the latest features of entities; made for a deployment, or for ``map_batches``.

    Parameters
    ----------
    store
        The path of Feast's repository, or a ``feast.FeatureStore``.
    features
        ``"view:feature"`` names, or a ``feast.FeatureService``.
    full_feature_names
        Whether features are named ``view__feature``.
    """

    def __init__(
        self, store: Any, features: Sequence[str] | Any, *, full_feature_names: bool = False
    ) -> None:
        self._where = os.path.abspath(os.fspath(store)) if isinstance(store, (str, os.PathLike)) else None
        self._store = None if self._where is not None else open_store(store)
        self._features, self._full = features, full_feature_names

    @property
    def store(self) -> Any:
        """The store, opened when it is first used."""
        if self._store is None:
            self._store = open_store(self._where)
        return self._store

    def __getstate__(self) -> dict[str, Any]:
        if self._where is None:
            raise TypeError("To send OnlineFeatures to other processes, give the path of Feast's repository.")
        return {**self.__dict__, "_store": None}

    def _look_up(self, rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
        found = self.store.get_online_features(
            features=self._features, entity_rows=rows, full_feature_names=self._full
        )
        return found.to_dict()

    def __call__(self, entities: Any) -> Any:
        """Entities with their features: a list of dicts, one dict, or a batch (a dict of columns)."""
        if isinstance(entities, Mapping):
            if all(not hasattr(value, "__len__") or isinstance(value, str) for value in entities.values()):
                return self([dict(entities)])[0]
            from rayjup.data.block.convert import iter_rows, to_table

            table = to_table(entities)
            features = self._look_up(list(iter_rows(table)))
            return {**entities, **{name: values for name, values in features.items() if name not in entities}}
        rows = [dict(row) for row in entities]
        features = self._look_up(rows)
        names = list(features)
        return [{**row, **{name: features[name][place] for name in names}} for place, row in enumerate(rows)]
