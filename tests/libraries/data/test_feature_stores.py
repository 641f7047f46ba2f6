"""Feast's local provider: point-in-time joins as datasets, online lookups."""

from __future__ import annotations

import datetime
import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import rayjup.data
from rayjup.data.feature_stores import OnlineFeatures, historical_features

feast = pytest.importorskip("feast")
pytestmark = pytest.mark.usefixtures("ray_cluster")

NOW = datetime.datetime(2026, 1, 10, tzinfo=datetime.timezone.utc)
FEATURES = ["drivers:rating", "drivers:trips"]


def day(number: int) -> datetime.datetime:
    return NOW + datetime.timedelta(days=number)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("feast")
    rows = [
        {"driver": driver, "event_timestamp": day(moment), "rating": driver + moment / 10, "trips": moment}
        for driver in (1, 2)
        for moment in (0, 1, 2)
    ]
    pd.DataFrame(rows).to_parquet(folder / "drivers.parquet")
    (folder / "feature_store.yaml").write_text(
        "project: demo\nregistry: registry.db\nprovider: local\n"
        "online_store:\n    type: sqlite\n    path: online.db\noffline_store:\n    type: file\n"
    )
    source = feast.FileSource(path=str(folder / "drivers.parquet"), timestamp_field="event_timestamp")
    driver = feast.Entity(name="driver", join_keys=["driver"], value_type=feast.ValueType.INT64)
    view = feast.FeatureView(
        name="drivers",
        entities=[driver],
        ttl=datetime.timedelta(days=365),
        schema=[
            feast.Field(name="rating", dtype=feast.types.Float64),
            feast.Field(name="trips", dtype=feast.types.Int64),
        ],
        source=source,
    )
    store = feast.FeatureStore(repo_path=str(folder))
    store.apply([driver, view])
    store.materialize(day(-1), day(3))
    return str(folder)


ENTITIES = pd.DataFrame(
    {"driver": [2, 1, 2], "event_timestamp": [day(0.5), day(1.5), day(2.5)], "label": [0, 1, 0]}
)


def test_entities_get_what_was_known_at_their_time(repo: str) -> None:
    joined = historical_features(repo, ENTITIES, FEATURES).to_pandas().sort_values("event_timestamp")
    assert joined["rating"].tolist() == [2.0, 1.1, 2.2] and joined["label"].tolist() == [0, 1, 0]


def test_datasets_are_joined_batch_by_batch_in_order(repo: str) -> None:
    entities = rayjup.data.from_pandas([ENTITIES.iloc[:1], ENTITIES.iloc[1:]])
    joined = historical_features(repo, entities, FEATURES, full_feature_names=True, batch_size=2)
    rows = joined.take_all()
    assert [row["drivers__trips"] for row in rows] == [0, 1, 2]
    assert [row["label"] for row in rows] == [0, 1, 0]
    with pytest.raises(TypeError, match="path of Feast's repository"):
        historical_features(feast.FeatureStore(repo_path=repo), entities, FEATURES)


def test_online_features(repo: str, tmp_path: Path) -> None:
    lookup: Any = pickle.loads(pickle.dumps(OnlineFeatures(repo, FEATURES)))
    assert lookup([{"driver": 1}, {"driver": 9}]) == [
        {"driver": 1, "rating": 1.2, "trips": 2},
        {"driver": 9, "rating": None, "trips": None},
    ]
    assert lookup({"driver": 2})["rating"] == 2.2
    ds = rayjup.data.from_items([{"driver": 1}, {"driver": 2}]).map_batches(lookup, batch_size=None)
    assert [row["trips"] for row in ds.take_all()] == [2, 2]
    with pytest.raises(TypeError, match=r"feast\.FeatureStore or the path"):
        OnlineFeatures(3, FEATURES)
