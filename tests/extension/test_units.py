"""The parts of the live service that need no server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from rayjup_lab.services.clusters.observer import ClusterObserver
from rayjup_lab.services.errors import BadRequest
from rayjup_lab.services.live.shorten import MAX_ROWS, shorten
from rayjup_lab.services.live.subscriber import MAX_SUBSCRIPTIONS, Subscriber

from rayjup.cluster.descriptors import Descriptor


def task(name: str, pending: int = 0, running: int = 0, finished: int = 0, failed: int = 0) -> dict[str, Any]:
    return {"name": name, "pending": pending, "running": running, "finished": finished, "failed": failed}


def snapshot(**parts: Any) -> dict[str, Any]:
    return {"cluster_id": "c", "nodes": [], "tasks": [], "actors": [], "drivers": [], **parts}


class TestShorten:
    def test_caps_every_table_and_says_how_many_there_were(self) -> None:
        long = shorten(
            snapshot(
                nodes=[{"alive": True, "is_head": False}] * (MAX_ROWS + 300),
                tasks=[task(f"t{i}", finished=1) for i in range(MAX_ROWS + 1)],
                actors=[{"state": "ALIVE"}] * (MAX_ROWS + 201),
            )
        )
        assert {name: len(long[name]) for name in ("nodes", "tasks", "actors")} == dict.fromkeys(
            ("nodes", "tasks", "actors"), MAX_ROWS
        )
        assert long["totals"] == {"nodes": MAX_ROWS + 300, "tasks": MAX_ROWS + 1, "actors": MAX_ROWS + 201}

    def test_what_is_cut_is_the_least_interesting(self) -> None:
        tasks = [
            task("done", finished=9),
            task("broken", failed=1),
            task("waits", pending=3),
            task("active", running=1),
        ]
        assert [t["name"] for t in shorten(snapshot(tasks=tasks))["tasks"]] == [
            "active",
            "waits",
            "broken",
            "done",
        ]
        actors = [{"state": s} for s in ("DEAD", "ALIVE", "RESTARTING")]
        assert [a["state"] for a in shorten(snapshot(actors=actors), 2)["actors"]] == ["RESTARTING", "ALIVE"]

    def test_the_original_is_left_alone(self) -> None:
        original = snapshot(tasks=[task("b"), task("a")])
        before = json.dumps(original)
        shorten(original, 1)
        assert json.dumps(original) == before


class TestSubscriber:
    def test_a_slow_line_is_not_ready_until_all_is_out(self) -> None:
        loop = asyncio.new_event_loop()
        futures: list[asyncio.Future[None]] = []

        def write(text: str) -> asyncio.Future[None]:
            futures.append(loop.create_future())
            return futures[-1]

        subscriber = Subscriber(write)
        assert subscriber.ready()
        subscriber.send({"type": "x"})
        subscriber.send({"type": "y"})
        futures[1].set_result(None)
        assert not subscriber.ready()
        # A tab closed in the middle of a message: as good as sent, and nobody is told off for it.
        futures[0].set_exception(ConnectionError("closed"))
        assert subscriber.ready()
        loop.close()

    def test_an_unchanged_list_is_repeated_only_after_a_while(self) -> None:
        sent: list[dict[str, Any]] = []
        subscriber = Subscriber(lambda text: sent.append(json.loads(text)) or _Done())
        for now, body in ((0, "a"), (5, "a"), (6, "b"), (7, "b"), (17, "b")):
            subscriber.send_clusters({"type": "clusters", "clusters": [body]}, now, 10)
        assert [message["time"] for message in sent] == [0, 6, 17]

    def test_a_list_that_could_not_be_sent_counts_as_not_sent(self) -> None:
        lines: list[Any] = [None, _Done()]
        subscriber = Subscriber(lambda text: lines.pop(0))
        for now in (0, 1):
            subscriber.send_clusters({"clusters": []}, now, 10)
        assert lines == []

    def test_one_connection_cannot_watch_everything(self) -> None:
        subscriber = Subscriber(lambda text: None)
        for number in range(MAX_SUBSCRIPTIONS):
            subscriber.handle(_subscribe(f"c{number}"))
        with pytest.raises(BadRequest, match=f"at most {MAX_SUBSCRIPTIONS} things"):
            subscriber.handle(_subscribe("one-more"))
        subscriber.handle(_subscribe("c0"))
        subscriber.handle(_subscribe("c1", "unsubscribe"))
        subscriber.handle(_subscribe("one-more"))
        assert len(subscriber.watched) == MAX_SUBSCRIPTIONS

    def test_active_means_wanted_and_looked_at(self) -> None:
        subscriber = Subscriber(lambda text: None)
        assert not subscriber.active
        subscriber.handle('{"type": "subscribe", "topic": "clusters"}')
        assert subscriber.active
        subscriber.handle('{"type": "pause"}')
        assert not subscriber.active
        subscriber.handle('{"type": "resume"}')
        assert subscriber.active


class _Done:
    def done(self) -> bool:
        return True

    def exception(self) -> None:
        return None


def _subscribe(cluster: str, kind: str = "subscribe") -> str:
    return json.dumps({"type": kind, "topic": "snapshot", "cluster": cluster})


def test_a_cluster_that_does_not_answer_shows_the_end_of_its_log(tmp_path: Path) -> None:
    lost = Descriptor("rj-lost", "lost", "unix:///x", str(tmp_path), str(tmp_path / "no-agent"), 1)
    observer = ClusterObserver(lost)
    with pytest.raises(ConnectionError, match="lost"):
        observer.read()
    assert observer.log == "", "there is no log"
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "cluster.log").write_text("".join(f"line {n}\n" for n in range(5000)))
    with pytest.raises(ConnectionError, match="lost"):
        observer.read()
    lines = observer.log.splitlines()
    assert (len(lines), lines[0], lines[-1]) == (20, "line 4980", "line 4999")
    observer.close()
