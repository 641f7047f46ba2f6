"""The journal of the head, and what a head that takes over makes of it and of what it is told."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from rayjup.engine import leases as ls
from rayjup.engine.head import actors as ad
from rayjup.engine.head import saved
from rayjup.engine.head.groups import CREATED, Group
from rayjup.engine.head.head import Head
from rayjup.engine.head.journal import Journal

ONE = {"resources": {"CPU": 1.0}}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


def test_rows_come_back(path):
    journal = Journal(path)
    journal.note("kind", b"key", lambda: {"a": (1, b"x")})
    journal.note("kind", "text", lambda: None)
    journal.note("other", b"key", lambda: 1)
    journal.flush()
    journal.note("other", b"key", None)
    assert journal.get("other", b"key") == 1, "not written yet"
    journal.close()
    again = Journal(path)
    assert sorted(again.rows("kind"), key=str) == [("text", None), (b"key", {"a": (1, b"x")})]
    assert list(again.rows("other")) == [] and again.get("other", b"key") is None
    assert (journal.life, again.life) == (0, 1)
    again.close()


def test_the_last_value_counts_and_is_taken_when_written(path):
    journal = Journal(path)
    value = [1]
    journal.note("k", b"1", lambda: value)
    journal.note("k", b"2", lambda: "old")
    journal.note("k", b"2", lambda: "new")
    journal.note("k", b"3", lambda: "there")
    journal.note("k", b"3", None)
    value.append(2)
    journal.close()
    assert list(Journal(path).rows("k")) == [(b"1", [1, 2]), (b"2", "new")]


def test_written_at_the_end_of_the_turn(path):
    async def main() -> None:
        journal = Journal(path)
        journal.note("k", b"1", lambda: 1)
        assert journal.get("k", b"1") is None
        await asyncio.sleep(0)
        assert journal.get("k", b"1") == 1
        journal.close()

    asyncio.run(main())


def test_only_the_owner_may_read_it(path):
    before = os.umask(0)
    try:
        journal = Journal(path)
        journal.note("k", b"1", lambda: 1)
        journal.flush()
        modes = {stat.S_IMODE(file.stat().st_mode) for file in Path(path).parent.iterdir()}
        assert modes == {0o600}, "so are the files beside it"
        journal.close()
    finally:
        os.umask(before)


def test_another_version_is_refused(path):
    journal = Journal(path)
    journal.note("meta", "head", lambda: {"version": 99, "life": 0})
    journal.close()
    with pytest.raises(ValueError, match=r"version 99.*stop the cluster and start it again"):
        Journal(path)


def test_actors_and_groups_are_as_they_were():
    spec = {"class_name": "A", "name": "a", "shape": ONE, "max_restarts": 3}
    actor = ad.Actor(b"id", spec, b"payload", "creator", b"job", restarts=2, watchers={"x"}, placed=1.5)
    copy = saved.actor_from(saved.actor_birth(actor), saved.actor_state(actor))
    assert copy.watchers == set()
    copy.watchers = actor.watchers
    assert copy == actor
    assert saved.actor_from(saved.actor_birth(actor), {**saved.actor_state(actor), "newer": 1}).id == b"id"
    group = Group(b"g", {"name": "", "bundles": [{"CPU": 1.0}]}, b"job", CREATED, ["n0"], rounds=2)
    group.placed = group.requested + 0.25
    back, places = saved.group_from(saved.group_state(group, [("n0", ())]))
    assert (back.id, back.spec, back.job_id, back.state, back.nodes, back.rounds) == (
        b"g", group.spec, b"job", CREATED, ["n0"], 2,
    )  # fmt: skip
    assert places == [("n0", ())] and abs(back.placed - back.requested - 0.25) < 0.01


class Life:
    """A head on a journal, with nodes that write down what they are sent."""

    def __init__(self, path: str) -> None:
        self.journal = Journal(path)
        self.head = Head({"cluster_id": "c", "name": "c", "address": "", "status": "running"}, self.journal)
        self.sent: list[tuple[str, tuple[Any, ...]]] = []

    def info(self, node_id: str, cpus: float = 4.0) -> dict[str, Any]:
        return {
            "node_id": node_id,
            "name": node_id,
            "host": "host",
            "agent_path": "",
            "resources": {"CPU": cpus},
            "labels": {},
            "joined_at": 1.0,
        }

    def join(self, node_id: str) -> None:
        self.head.node_joined(self.info(node_id), lambda message: self.sent.append((node_id, message)))

    def back(self, node_id: str, **report: Any) -> bool:
        empty: dict[str, Any] = {
            key: [] for key in ("clients", "leases", "actors", "jobs", "environments", "kept")
        }
        return self.head.recovery.node_returned(
            self.info(node_id), {**empty, **report}, lambda message: self.sent.append((node_id, message))
        )

    def say(self, *message: Any, node: str = "n0") -> None:
        self.head.on_message(node, message)

    def told(self, kind: str) -> list[tuple[Any, ...]]:
        """Messages of a kind to nodes, and to clients through them."""
        found = []
        for _, message in self.sent:
            if message[0] == "to_client" and message[2][0] == kind:
                found.append(message[2])
            elif message[0] == kind:
                found.append(message)
        return found

    def ask(self, op: str, *payload: Any) -> Any:
        self.say("request", "d", 1, op, payload)
        _, _, ok, value = self.told("answer")[-1]
        assert ok, value
        return value

    def ends(self) -> None:
        self.journal.close()


def actor_spec(name: str = "", **more: Any) -> dict[str, Any]:
    shape = {"resources": {"CPU": 1.0}, "kind": "actor"}
    spec = {
        "class_name": "A",
        "name": name,
        "namespace": "",
        "shape": shape,
        "holding": {"CPU": 1.0},
        "meta": {},
    }
    return {**spec, **more}


@pytest.fixture
def first(path) -> Life:
    life = Life(path)
    life.join("n0")
    life.say("driver", "d", 1, {"namespace": "x"})
    return life


def report_of_actor(life: Life, actor_id: bytes, ready: bool = True) -> dict[str, Any]:
    lease_id = next(m for m in life.told("actor_start") if m[1] == actor_id)[4]
    return {
        "actor_id": actor_id, "lease_id": lease_id, "shape": actor_spec()["shape"], "gpus": (),
        "cpus": 1.0, "blocked": False, "ready": ready, "pid": 7, "address": "/w-1",
    }  # fmt: skip


DRIVER = [("d", "driver", 1, b"\0\0\0\1")]


def test_keys_names_and_jobs_survive(first, path):
    assert first.ask("kv_put", "s", b"k", b"v", True) is False
    assert first.ask("actor_create_named", b"a", actor_spec("a")) is None
    first.say("actor_create", "d", b"a", actor_spec("a"), b"payload")
    row = report_of_actor(first, b"a")
    first.say("actor_placed", b"a", 7, "/w-1")
    first.ends()
    second = Life(path)
    assert second.back("n0", clients=DRIVER, actors=[row], jobs=[b"\0\0\0\1"])
    assert not second.head.recovery.active and second.told("end_job") == []
    second.say("resumed", "d", [])
    assert second.ask("kv_get", "s", b"k") == b"v"
    assert second.ask("get_actor", "", "a") == {"actor_id": b"a", "meta": {}}
    assert second.ask("available_resources") == {"CPU": 3.0}
    assert second.head.actors.by_id[b"a"].state == ad.ALIVE and second.told("actor_start") == []
    assert second.ask("actor_create_named", b"a", actor_spec("a")) is None, "the same request, asked again"
    second.say("actor_create", "d", b"a", actor_spec("a"), b"payload")
    assert second.told("actor_start") == [] and second.told("actor")[-1][2] == ad.ALIVE
    second.say("driver", "e", 2, {})
    assert second.told("driver_welcome")[-1] == ("driver_welcome", "e", b"\0\0\0\2")


def test_actors_that_are_not_there_any_more(first, path):
    for actor_id, restarts in ((b"a", 1), (b"b", 0), (b"c", 0), (b"e", 0)):
        first.say("actor_create", "d", actor_id, actor_spec(max_restarts=restarts), b"p")
        if actor_id != b"c":  # of that nobody has heard a process
            first.say("actor_placed", actor_id, 7, "/w-1")
    stranger = report_of_actor(first, b"e")
    first.say("actor_out_of_scope", "d", b"e")
    first.ends()
    second = Life(path)
    assert second.back("n0", clients=DRIVER, actors=[stranger])
    states = {actor_id: actor.state for actor_id, actor in second.head.actors.by_id.items()}
    assert states == {b"a": ad.RESTARTING, b"b": ad.DEAD, b"c": ad.PENDING_CREATION, b"e": ad.DEAD}
    assert {m[1] for m in second.told("actor_start")} == {b"a", b"c"}
    assert second.head.actors.by_id[b"c"].restarts == 0 and second.head.actors.by_id[b"a"].restarts == 1
    assert [m[1] for m in second.told("actor_kill")] == [b"e"]
    assert second.head.scheduler.available() == {"CPU": 1.0}
    second.say("actor_ended", b"e", stranger["lease_id"], -9, "")
    assert second.head.scheduler.available() == {"CPU": 2.0}


def test_why_an_actor_ended_meanwhile_is_told(first, path):
    first.say("actor_create", "d", b"a", actor_spec(), b"p")
    lease_id = report_of_actor(first, b"a")["lease_id"]
    first.say("actor_placed", b"a", 7, "/w-1")
    first.ends()
    second = Life(path)
    second.back("n0", clients=DRIVER, kept=[("actor_ended", b"a", lease_id, 3, "")])
    assert second.head.actors.by_id[b"a"].death_cause == "its process exited with code 3"
    second.say("actor_ended", b"a", lease_id, 3, "")  # and once more
    assert second.head.scheduler.available() == {"CPU": 4.0}


def test_leases_are_kept_or_given_back_as_their_clients_say(first, path):
    first.say("lease", "d", 1, ONE, 3)
    leases = [m[1] for m in first.told("grant")]
    assert len(leases) == 3
    first.ends()
    second = Life(path)
    rows = [(i, "d", 1, ls.Shape.of({"CPU": 1.0}), (), n < 2, False) for n, i in enumerate(leases)]
    second.back("n0", clients=DRIVER, leases=rows)
    assert second.head.scheduler.available() == {"CPU": 1.0}
    second.say("lease", "d", 1, ONE, 4)
    assert second.told("grant") == [], "who has not said what it holds asks again"
    # It has the first one; gave the second back; the third is still being started.
    second.say("resumed", "d", [(1, ONE, 2, leases[:1])])
    assert second.told("released") == [("released", leases[1], False)]
    assert second.head.scheduler.available() == {"CPU": 2.0}
    second.say("lease", "d", 1, ONE, 2, None, 2)
    (grant,) = second.told("grant")  # the one that is on its way counts
    assert grant[1] not in leases
    second.say("release", "d", leases[0])
    second.say("executor_ended", leases[2], 1, "")
    assert second.head.scheduler.available() == {"CPU": 3.0}


def test_who_is_not_back_has_no_part_in_it(first, path):
    first.say("actor_create", "d", b"a", actor_spec(), b"p")
    first.say("actor_create", "d", b"b", actor_spec("b", detached=True), b"p")
    rows = [report_of_actor(first, actor_id) for actor_id in (b"a", b"b")]
    first.say("lease", "d", 1, ONE, 1)
    lease_id = first.told("grant")[0][1]
    first.ends()
    second = Life(path)
    changes: list[int] = []
    second.head.on_driver_change = changes.append
    second.back("n0", actors=rows, leases=[(lease_id, "d", 1, ls.Shape.of({"CPU": 1.0}), (), True, False)])
    assert [m[1] for m in second.told("actor_kill")] == [b"a"]
    assert "ended" in second.head.jobs[b"\0\0\0\1"] and changes[-1] == 0
    assert second.told("end_job") == [("end_job", b"\0\0\0\1", {b"b"})]
    assert second.told("released") == [("released", lease_id, False)]
    assert second.head.scheduler.available() == {"CPU": 2.0}, "until the process of a has ended"


def test_nodes_that_do_not_come_back(first, path):
    first.join("n1")
    spec = {
        "bundles": [{"CPU": 4.0}, {"CPU": 4.0}], "strategy": "STRICT_SPREAD", "name": "g", "namespace": "",
        "detached": False, "creator_actor": b"", "labels": [], "preferred_node": None,
    }  # fmt: skip
    first.say("group_create", "d", b"g", spec)
    assert first.ask("group_table", b"g")["state"] == "CREATED"
    first.ends()
    second = Life(path)
    second.back("n0", clients=DRIVER)
    assert second.head.recovery.active and second.head.scheduler.available() == {}
    assert second.ask("group_table", b"g")["state"] == "CREATED", "the other half may come back"
    second.say("group_create", "d", b"g", spec)  # said again
    second.head.recovery.give_up_all()
    row = second.ask("group_table", b"g")
    assert row["state"] == "RESCHEDULING" and row["bundles_to_node_id"] == {0: "n0", 1: ""}
    assert [node["Alive"] for node in second.ask("nodes")] == [True, False]
    assert not second.back("n1"), "it is too late: others may do its work"
    second.join("n2")
    assert second.ask("group_table", b"g")["bundles_to_node_id"] == {0: "n0", 1: "n2"}
    second.say("group_remove", "d", b"g")
    second.say("group_remove", "d", b"g")
    second.ends()
    third = Life(path)
    third.back("n0", clients=DRIVER)
    assert third.ask("group_table", b"g") == {}


def test_a_node_by_name_is_waited_for_before_it_is_given_up(first, path):
    first.join("n1")
    first.ends()
    second = Life(path)
    second.back("n0", clients=DRIVER)
    second.say("resumed", "d", [])
    shape = {**ONE, "strategy": ("NODE", "n1", False)}
    second.say("lease", "d", 1, shape, 1)
    second.say("actor_watch", "d", b"unknown")
    assert second.told("unschedulable") == [] and second.told("actor") == []
    second.head.recovery.give_up_all()
    assert len(second.told("unschedulable")) == 1 and second.told("actor")[0][2] == ad.DEAD


def test_a_head_without_a_journal_keeps_none():
    head = Head({"cluster_id": "c", "name": "c", "address": "", "status": "running"})
    assert head.saved.journal is None and not head.recovery.active
