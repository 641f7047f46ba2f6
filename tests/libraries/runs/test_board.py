"""What runs publish about themselves, and what watchers ask of them."""

from __future__ import annotations

import threading
from types import ModuleType

import numpy
import pytest
from support.clusters import poll

from rayjup.experimental import internal_kv
from rayjup.runs import board
from rayjup.runs.board import Board


@pytest.fixture(autouse=True)
def _empty_board(ray_cluster: ModuleType) -> None:
    internal_kv._internal_kv_del("", del_by_prefix=True, namespace=board.SPACE)


def test_the_newest_row_is_seen_and_the_last_one_stays(ray_cluster: ModuleType) -> None:
    run = Board("tune", "digits")
    run.post({"trials": 1})
    poll(lambda: board.rows("tune"), 30)
    for count in range(2, 1000):
        run.post({"trials": count, "best": numpy.float32(0.5)})
    run.close("interrupted")
    (row,) = board.rows("tune")
    assert (row["run_id"], row["state"], row["trials"], row["best"]) == ("digits", "interrupted", 999, 0.5)
    assert row["started"] <= row["updated"] == row["ended"]


def test_a_row_is_seen_from_another_process(ray_cluster: ModuleType) -> None:
    run = Board("train", "net")
    run.post({"loss": 1.5})

    @ray_cluster.remote
    def seen() -> list[float]:
        return [row["loss"] for row in board.rows("train")]

    poll(lambda: ray_cluster.get(seen.remote()) == [1.5], 30)
    run.close("finished")


def test_requests_of_watchers_arrive_once(ray_cluster: ModuleType) -> None:
    asked: list[dict[str, object]] = []
    arrived = threading.Event()

    def on_request(request: dict[str, object]) -> None:
        asked.append(request)
        arrived.set()

    run = Board("tune", "search", on_request)
    run.post({})
    board.ask("tune", "search", {"stop": "trial-7"})
    assert arrived.wait(40)
    run.close("finished")
    assert asked == [{"stop": "trial-7"}]
    assert internal_kv._internal_kv_list("request/", namespace=board.SPACE) == []


def test_old_rows_are_taken_down(ray_cluster: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "_KEPT", 2)
    for number in range(4):
        run = Board("tune", f"run-{number}")
        run.post({})
        run.close("finished")
    assert [row["run_id"] for row in board.rows("tune")] == ["run-2", "run-3"]


def test_without_a_cluster_nothing_is_published(ray_cluster: ModuleType) -> None:
    ray_cluster.shutdown()
    run = Board("tune", "alone")
    run.post({"trials": 1})
    run.close("finished")
    ray_cluster.init(num_cpus=4)
    assert board.rows("tune") == []


def test_keys_and_values(ray_cluster: ModuleType) -> None:
    assert not internal_kv._internal_kv_put("a/1", b"x", namespace="test")
    assert internal_kv._internal_kv_put("a/1", b"y", overwrite=False, namespace="test")
    assert internal_kv._internal_kv_get(b"a/1", namespace=b"test") == b"x"
    assert internal_kv._internal_kv_get("a/1") is None
    internal_kv._internal_kv_put("a/2", b"", namespace="test")
    assert sorted(internal_kv._internal_kv_list("a/", namespace="test")) == [b"a/1", b"a/2"]
    assert internal_kv._internal_kv_exists("a/2", namespace="test")
    assert internal_kv._internal_kv_del("a/", del_by_prefix=True, namespace="test") == 2
    assert internal_kv._internal_kv_del("a/", del_by_prefix=True, namespace="test") == 0
    with pytest.raises(TypeError, match="bytes or str, not int"):
        internal_kv._internal_kv_put("a", 5, namespace="test")  # type: ignore[arg-type]
