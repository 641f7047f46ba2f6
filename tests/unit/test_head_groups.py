"""Placement groups in the head: states, who is told what, and when a group ends."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from rayjup.engine.head.groups import CREATED, PENDING, REMOVED, RESCHEDULING
from rayjup.engine.head.head import Head
from rayjup.engine.head.late import WARN_AFTER_S, Late

ONE = {"CPU": 1.0}


class Cluster:
    """A head with nodes that write down what they are sent."""

    def __init__(self, *nodes: dict[str, Any]) -> None:
        self.head = Head({"cluster_id": "c", "name": "c", "address": "", "status": "running"})
        self.sent: list[tuple[str, tuple[Any, ...]]] = []
        self.requests = 0
        for index, node in enumerate(nodes):
            self.join(f"n{index}", **node)

    def join(self, node_id: str, cpus: float, labels: dict[str, str] | None = None) -> None:
        info = {
            "node_id": node_id,
            "name": node_id,
            "host": "host",
            "agent_path": "",
            "resources": {"CPU": cpus},
            "labels": labels or {},
        }
        self.head.node_joined(info, lambda message: self.sent.append((node_id, message)))

    def say(self, *message: Any, node: str = "n0") -> None:
        self.head.on_message(node, message)

    def driver(self, client: str, node: str = "n0") -> None:
        self.say("driver", client, 1, {}, node=node)

    def make(self, group_id: bytes, bundles: list[dict[str, float]], client: str = "d", **more: Any) -> None:
        spec = {
            "bundles": bundles,
            "strategy": "PACK",
            "name": "",
            "namespace": "",
            "detached": False,
            "creator_actor": b"",
            "labels": [],
            "preferred_node": None,
            **more,
        }
        self.say("group_create", client, group_id, spec)

    def ask(self, op: str, *payload: Any, client: str = "d") -> Any:
        self.requests += 1
        self.say("request", client, self.requests, op, payload)
        ok, value = next(m[2:] for m in self.told(client) if m[0] == "answer" and m[1] == self.requests)
        if not ok:
            raise pickle.loads(value)
        return value

    def lease(self, pool: int, group: bytes | None, bundle: int = -1, **more: Any) -> None:
        shape = {"resources": ONE, "strategy": ("DEFAULT",), "kind": "task", "group": group, "bundle": bundle}
        self.say("lease", "d", pool, {**shape, **more}, 1)

    def told(self, client: str) -> list[tuple[Any, ...]]:
        """What a client was told, in order."""
        return [m[2] for _, m in self.sent if m[0] == "to_client" and m[1] == client]

    def states(self, client: str, group_id: bytes) -> list[str]:
        return [m[2] for m in self.told(client) if m[0] == "group" and m[1] == group_id]

    def grants(self) -> list[str]:
        return [node for node, m in self.sent if m[0] == "grant"]

    def row(self, group_id: bytes) -> dict[str, Any]:
        return self.ask("group_table", group_id)


@pytest.fixture
def two() -> Cluster:
    cluster = Cluster({"cpus": 2}, {"cpus": 2})
    cluster.driver("d")
    return cluster


def test_the_creator_is_told_when_its_group_is_placed(two):
    two.make(b"g", [ONE, ONE])
    assert two.states("d", b"g") == [CREATED]
    row = two.row(b"g")
    assert row["state"] == CREATED
    assert len(set(row["bundles_to_node_id"].values())) == 1


def test_strict_spread_takes_a_node_for_each_bundle(two):
    two.make(b"g", [ONE, ONE], strategy="STRICT_SPREAD")
    assert sorted(two.row(b"g")["bundles_to_node_id"].values()) == ["n0", "n1"]
    two.make(b"h", [ONE] * 3, strategy="STRICT_SPREAD")
    row = two.row(b"h")
    assert (row["state"], row["stats"]["scheduling_state"]) == (PENDING, "INFEASIBLE")
    two.join("n2", 1)
    assert two.states("d", b"h") == [CREATED]


def test_bundles_lie_where_their_labels_say():
    cluster = Cluster({"cpus": 4, "labels": {"zone": "a"}}, {"cpus": 4, "labels": {"zone": "b"}})
    cluster.driver("d")
    cluster.make(b"g", [ONE, ONE], labels=[{"zone": "b"}, {"zone": "a"}])
    assert cluster.row(b"g")["bundles_to_node_id"] == {0: "n1", 1: "n0"}
    cluster.make(b"h", [ONE], labels=[{"zone": "c"}])
    assert cluster.row(b"h")["stats"]["scheduling_state"] == "INFEASIBLE"
    cluster.make(b"i", [ONE, ONE], strategy="STRICT_PACK", labels=[{"zone": "b"}, {"zone": "a"}])
    assert cluster.row(b"i")["state"] == PENDING


@pytest.mark.parametrize("preferred", ["n0", "n1", "n2"])
def test_a_packed_group_goes_to_the_node_it_prefers(preferred):
    cluster = Cluster(*[{"cpus": 4}] * 3)
    cluster.driver("d")
    cluster.make(b"g", [ONE, ONE], strategy="STRICT_PACK", preferred_node=preferred)
    assert set(cluster.row(b"g")["bundles_to_node_id"].values()) == {preferred}
    cluster.make(b"h", [{"CPU": 3.0}], strategy="STRICT_PACK", preferred_node=preferred)
    assert set(cluster.row(b"h")["bundles_to_node_id"].values()) != {preferred}


def test_a_group_that_loses_a_node_is_placed_again(two):
    two.make(b"g", [{"CPU": 2.0}, {"CPU": 2.0}], strategy="STRICT_SPREAD")
    two.head.node_left("n1")
    row = two.row(b"g")
    assert row["state"] == RESCHEDULING
    assert sorted(row["bundles_to_node_id"].values()) == ["", "n0"]
    two.join("n2", 2)
    assert two.states("d", b"g") == [CREATED, RESCHEDULING, CREATED]
    assert sorted(two.row(b"g")["bundles_to_node_id"].values()) == ["n0", "n2"]


def test_others_may_ask_before_the_group_is_known(two):
    two.driver("e")
    two.say("group_watch", "e", b"g")
    assert two.states("e", b"g") == []
    two.make(b"g", [ONE])
    assert two.states("e", b"g") == [CREATED]
    two.driver("f")
    two.say("group_watch", "f", b"g")
    two.say("group_remove", "d", b"g")
    assert two.states("f", b"g") == [CREATED, REMOVED]


def test_leases_for_a_group_come_from_its_bundles(two):
    two.make(b"g", [ONE, ONE], strategy="STRICT_SPREAD")
    nodes = two.row(b"g")["bundles_to_node_id"]
    two.lease(1, b"g", 1)
    two.lease(2, b"g", 0)
    assert two.grants() == [nodes[1], nodes[0]]
    two.lease(3, b"g", 0)
    assert len(two.grants()) == 2  # the bundle is full, though the node is not


def test_leases_may_be_asked_for_before_the_group_is_known(two):
    two.lease(1, b"g")
    assert two.grants() == []
    two.make(b"g", [ONE])
    assert len(two.grants()) == 1


def test_removing_tells_those_who_wait_and_ends_what_runs(two):
    two.make(b"g", [ONE])
    two.lease(1, b"g")
    two.lease(2, b"g", kind="task", resources={"CPU": 0.5})
    assert len(two.grants()) == 1
    two.say("group_remove", "d", b"g")
    kinds = [m[0] for m in two.told("d")]
    assert kinds.index("revoke") < kinds.index("unschedulable")  # the reason comes first
    assert {m[1] for m in two.told("d") if m[0] == "unschedulable"} == {1, 2}
    assert two.head.scheduler.available()["CPU"] == 4
    two.say("group_remove", "d", b"g")
    assert two.states("d", b"g") == [CREATED, REMOVED]
    two.lease(3, b"g")
    assert two.told("d")[-1][:3] == ("unschedulable", 3, "group")


def test_a_group_ends_with_its_job_unless_it_is_detached(two):
    two.make(b"g", [ONE])
    two.make(b"h", [ONE], detached=True)
    two.say("client_gone", "d")
    two.driver("e")
    assert two.ask("group_table", b"g", client="e")["state"] == REMOVED
    assert two.ask("group_table", b"h", client="e")["state"] == CREATED


def actor(cluster: Cluster, actor_id: bytes, group: bytes | None = None, **more: Any) -> None:
    shape = {"resources": ONE, "strategy": ("DEFAULT",), "kind": "actor", "group": group, "bundle": -1}
    spec = {"class_name": "A", "meta": {}, "name": None, "shape": shape, "holding": ONE, **more}
    cluster.say("actor_create", "d", actor_id, spec, b"")


def test_a_group_made_by_a_detached_actor_ends_with_that(two):
    actor(two, b"a", detached=True)
    two.make(b"g", [ONE], creator_actor=b"a")
    two.say("client_gone", "d")
    assert two.head.groups.table.by_id[b"g"].state == CREATED
    two.driver("e")
    two.ask("actor_kill", b"a", True, client="e")
    assert two.head.groups.table.by_id[b"g"].state == REMOVED


def test_removing_ends_actors_for_good(two):
    two.make(b"g", [ONE])
    actor(two, b"a", b"g", max_restarts=-1)
    actor(two, b"b", b"g", max_restarts=-1)  # waits: the bundle is taken
    two.say("group_remove", "d", b"g")
    assert {two.head.actors.by_id[i].state for i in (b"a", b"b")} == {"DEAD"}
    assert ("actor_kill", b"a") in [m[:2] for _, m in two.sent]
    errors = {m[1]: m[4] for m in two.told("d") if m[0] == "actor" and m[4]}
    assert "placement group" in errors[b"a"]["error_message"]
    assert "placement group was removed" in errors[b"b"]["unschedulable"]
    assert two.head.scheduler.available()["CPU"] == 4


def test_names_are_taken_once_per_namespace(two):
    spec = {"strategy": "PACK", "detached": False, "creator_actor": b"", "name": "x", "bundles": [ONE]}
    two.ask("group_create_named", b"g", {**spec, "namespace": "one"})
    two.ask("group_create_named", b"h", {**spec, "namespace": "two"})
    with pytest.raises(Exception, match="already exists"):
        two.ask("group_create_named", b"i", {**spec, "namespace": "one"})
    assert two.ask("group_named", "two", "x")["placement_group_id"] == b"h".hex()
    assert two.ask("group_table", b"i") == {}


def test_the_table_forgets_groups_that_were_removed_long_ago(two):
    for number in range(1100):
        group_id = number.to_bytes(4, "big")
        two.make(group_id, [ONE])
        two.say("group_remove", "d", group_id)
    assert len(two.ask("group_table", None)) == 1000
    assert two.head.scheduler.available()["CPU"] == 4


# -- what can never be


def test_what_is_bound_to_a_node_that_is_gone_fails(two):
    two.lease(1, None, strategy=("NODE", "n7", False))
    assert two.told("d")[-1][:3] == ("unschedulable", 1, "node")
    two.lease(2, None, strategy=("NODE", "n7", True))
    assert len(two.grants()) == 1
    two.lease(3, None, resources={"CPU": 2.0}, strategy=("NODE", "n1", False))
    two.lease(4, None, resources={"CPU": 2.0}, strategy=("NODE", "n1", False))
    assert [m[1] for m in two.told("d") if m[0] == "unschedulable"] == [1]  # the last one only waits
    two.head.node_left("n1")
    assert [m[1] for m in two.told("d") if m[0] == "unschedulable"] == [1, 4]


def test_who_waits_in_vain_is_told_after_a_while_what_is_missing(two):
    now = 100.0
    two.head.late = Late(lambda: now)
    two.lease(1, None, resources={"CPU": 1.0, "unicorn": 2.0})
    two.lease(2, None, resources={"CPU": 3.0})
    two.lease(3, None, resources={"CPU": 1.0, "unicorn": 2.0}, env="another")
    two.make(b"g", [{"CPU": 5.0}])

    def warnings() -> list[str]:
        two.say("sample", {})
        return [m[1] for m in two.told("d") if m[0] == "warning"]

    assert warnings() == []
    two.join("n2", 3)  # which makes the second possible
    now += WARN_AFTER_S
    first, second = warnings()
    assert "2 unicorn more than any of 3 node(s) has" in first
    assert "n2 has {CPU: 3}" in first
    assert "cannot be placed" in second
    now += WARN_AFTER_S
    assert len(warnings()) == 2  # once is enough


def test_fallbacks_are_taken_in_their_order():
    cluster = Cluster(*[{"cpus": 1, "labels": {"zone": zone}} for zone in "abc"])
    cluster.driver("d")
    conditions = tuple((("zone", zone),) for zone in "xcb")
    strategy = ("LABELS", conditions[0], (), conditions[1:])
    for pool in range(3):
        cluster.lease(pool + 1, None, strategy=strategy)
    assert cluster.grants() == ["n2", "n1"]
    cluster.join("n3", 1, {"zone": "x"})
    assert cluster.grants() == ["n2", "n1", "n3"]
