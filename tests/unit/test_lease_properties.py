"""Random histories of a cluster, checked against a model that only knows events and instructions."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rayjup.engine.leases import (
    Blocked,
    Cancelled,
    ClientGone,
    Default,
    Grant,
    GroupLost,
    GroupPending,
    GroupPlaced,
    GroupRemoved,
    GroupRequested,
    GroupReturned,
    Held,
    Infeasible,
    Labels,
    LeaseScheduler,
    NodeAffinity,
    NodeDraining,
    NodeJoined,
    NodeLeft,
    NodeMissing,
    NodeReturned,
    NodeSupply,
    Reclaim,
    Released,
    Requested,
    Revoke,
    Shape,
    Spread,
    Unblocked,
)

EPS = 1e-6
CLIENTS = ["ann", "bob", "cat"]


@dataclass
class Lease:
    grant: Grant
    blocked: bool = False


@dataclass
class Node:
    total: dict[str, float]
    labels: dict[str, str]
    draining: bool = False


@dataclass
class Request:
    client: str
    shape: Shape
    open: int


@dataclass
class Group:
    client: str
    bundles: list[dict[str, float]]
    strategy: str
    detached: bool
    nodes: list[str] | None = None  # of each bundle, while placed
    lost: set[int] = field(default_factory=set)


class Model:
    """What the instructions say, and whether they may."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.leases: dict[str, Lease] = {}
        self.requests: dict[str, Request] = {}
        self.groups: dict[bytes, Group] = {}
        self.told: set[str] = set()
        self.oversupplied: set[str] = set()

    def reserved(self, node_id: str) -> list[dict[str, float]]:
        return [
            bundle
            for group in self.groups.values()
            for i, bundle in enumerate(group.bundles)
            if group.nodes and i not in group.lost and group.nodes[i] == node_id
        ]

    def used(self, node_id: str, group: bytes | None = None) -> Counter[str]:
        """What leases (of a group, or of none) hold on a node, blocked ones without their CPUs."""
        used: Counter[str] = Counter()
        for lease in self.leases.values():
            if lease.grant.node_id == node_id and lease.grant.shape.group == group:
                for name, amount in lease.grant.resources.items():
                    used[name] += 0 if name == "CPU" and lease.blocked else amount
        if group is None:
            for bundle in self.reserved(node_id):
                used.update(bundle)
        return used

    def gpu_use(self, node_id: str) -> dict[int, float]:
        use: dict[int, float] = defaultdict(float)
        for lease in self.leases.values():
            if lease.grant.node_id == node_id:
                for index, share in lease.grant.gpu_ids:
                    use[index] += share
        return use

    def apply(self, instructions: list) -> None:
        for one in instructions:
            if isinstance(one, Grant):
                self.check_grant(one)
            elif isinstance(one, Revoke):
                lease = self.leases.pop(one.lease_id)
                assert (lease.grant.client, lease.grant.node_id) == (one.client, one.node_id)
            elif isinstance(one, Infeasible):
                assert one.request_id in self.requests and one.text
                self.told.add(one.request_id)
            elif isinstance(one, GroupPlaced):
                self.check_placed(one)
            elif isinstance(one, GroupLost):
                self.groups[one.group_id].lost |= set(one.bundles)
            elif isinstance(one, Reclaim):
                held = [
                    lease
                    for lease in self.leases.values()
                    if (lease.grant.client, lease.grant.shape) == (one.client, one.shape)
                ]
                assert one.wanted > 0
                assert held and one.shape.kind == "task", "asked for leases it does not have"
            else:
                assert isinstance(one, GroupPending) and one.text

    def check_grant(self, grant: Grant) -> None:
        request = self.requests[grant.request_id]
        assert request.open > 0 and request.client == grant.client and request.shape == grant.shape
        request.open -= 1
        assert grant.lease_id not in self.leases
        assert grant.resources == dict(grant.shape.resources)
        node = self.nodes[grant.node_id]  # only to nodes that are there
        self.leases[grant.lease_id] = Lease(grant)
        used = self.used(grant.node_id, grant.shape.group)
        if grant.shape.group is None:
            assert not node.draining
            room = node.total
            strategy = grant.shape.strategy
            if isinstance(strategy, NodeAffinity) and not strategy.soft:
                assert strategy.node_id == grant.node_id
            if isinstance(strategy, Labels):
                assert all(node.labels.get(k) == v for k, v in strategy.hard)
        else:
            group = self.groups[grant.shape.group]
            assert group.nodes is not None
            mine = [
                bundle
                for i, bundle in enumerate(group.bundles)
                if group.nodes[i] == grant.node_id and i not in group.lost and grant.shape.bundle in (-1, i)
            ]
            assert mine
            room = Counter()
            for i, bundle in enumerate(group.bundles):
                if group.nodes[i] == grant.node_id and i not in group.lost:
                    room.update(bundle)
        for name in grant.resources:
            assert used[name] <= room.get(name, 0) + EPS, f"{name} granted beyond what is there"
        shares = dict(grant.gpu_ids)
        assert abs(sum(shares.values()) - grant.resources.get("GPU", 0)) < EPS
        assert all(share <= 1 for share in shares.values())
        if grant.resources.get("GPU", 0) >= 1:
            assert all(share == 1 for share in shares.values()), "whole GPUs are not shared"

    def check_placed(self, placed: GroupPlaced) -> None:
        group = self.groups[placed.group_id]
        assert len(placed.nodes) == len(group.bundles), "all bundles or none"
        if group.nodes is not None:
            for i, node_id in enumerate(placed.nodes):
                assert i in group.lost or group.nodes[i] == node_id, "bundles that are placed stay"
        group.nodes, group.lost = placed.nodes, set()
        if group.strategy == "STRICT_PACK":
            assert len(set(placed.nodes)) == 1
        if group.strategy == "STRICT_SPREAD":
            assert len(set(placed.nodes)) == len(placed.nodes)
        for node_id in set(placed.nodes):
            assert node_id in self.nodes
            names = {name for bundle in group.bundles for name in bundle}
            used = self.used(node_id)
            if node_id not in self.oversupplied:
                for name in names - {"CPU"}:
                    assert used[name] <= self.nodes[node_id].total.get(name, 0) + EPS

    def hosts(self, node: Node, resources: dict[str, float]) -> bool:
        return not node.draining and all(node.total.get(n, 0) + EPS >= a for n, a in resources.items())

    def allowed(self, request: Request, node_id: str, node: Node) -> bool:
        strategy = request.shape.strategy
        if not self.hosts(node, dict(request.shape.resources)):
            return False
        if isinstance(strategy, NodeAffinity):
            target = self.nodes.get(strategy.node_id)
            if target is not None and self.hosts(target, dict(request.shape.resources)):
                return node_id == strategy.node_id
            return strategy.soft
        if isinstance(strategy, Labels):
            return all(node.labels.get(k) == v for k, v in strategy.hard)
        return True

    def has_room(self, node_id: str, node: Node, resources: dict[str, float]) -> bool:
        used = self.used(node_id)
        if any(used[n] + a > node.total.get(n, 0) + EPS for n, a in resources.items()):
            return False
        return "GPU" not in resources  # which GPUs bundles hold is not told


amounts = st.fixed_dictionaries(
    {},
    optional={
        "CPU": st.sampled_from([0.5, 1.0, 2.0, 4.0]),
        "GPU": st.sampled_from([0.25, 0.5, 1.0, 2.0]),
        "disk": st.sampled_from([1.0, 3.0]),
    },
)
totals = st.fixed_dictionaries(
    {"CPU": st.sampled_from([0.0, 1.0, 2.0, 4.0, 8.0])},
    optional={"GPU": st.sampled_from([1.0, 2.0, 4.0]), "disk": st.sampled_from([1.0, 5.0])},
)
some_amounts = st.one_of(  # of at least one resource
    amounts.map(lambda drawn: drawn or {"CPU": 1.0}), st.just({"CPU": 1.0}), st.just({"CPU": 4.0})
)
zones = st.sampled_from(["a", "b"])


class Cluster(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 3), limit=st.sampled_from([2, 1000]), first=st.lists(totals, max_size=4))
    def start(self, seed: int, limit: int, first: list[dict[str, float]]) -> None:
        self.scheduler = LeaseScheduler(seed=seed, overtake_limit=limit)
        self.lives = 0
        self.past: set[str] = set()  # ids of all leases there have ever been
        self.model = Model()
        self.numbers = iter(range(1, 1_000_000))
        for i, total in enumerate(first):
            self.node_joins(total, "ab"[i % 2])

    def handle(self, event: object) -> list:
        out = self.scheduler.handle(event)  # type: ignore[arg-type]
        self.model.apply(out)
        self.past |= set(self.model.leases)
        return out

    @rule(total=totals, zone=zones)
    def node_joins(self, total: dict[str, float], zone: str) -> None:
        node_id = f"n{next(self.numbers)}"
        self.model.nodes[node_id] = Node(total, {"zone": zone})
        self.handle(NodeJoined(node_id, total, {"zone": zone}))

    @precondition(lambda self: len(self.model.nodes) > 1)
    @rule(data=st.data())
    def node_leaves(self, data: st.DataObject) -> None:
        node_id = data.draw(st.sampled_from(sorted(self.model.nodes)))
        there = {i for i, lease in self.model.leases.items() if lease.grant.node_id == node_id}
        lost = {
            group_id
            for group_id, group in self.model.groups.items()
            if group.nodes and any(n == node_id and i not in group.lost for i, n in enumerate(group.nodes))
        }
        del self.model.nodes[node_id]
        out = self.handle(NodeLeft(node_id))
        assert there <= {one.lease_id for one in out if isinstance(one, Revoke)}
        assert lost == {one.group_id for one in out if isinstance(one, GroupLost)}

    @precondition(lambda self: sum(not n.draining for n in self.model.nodes.values()) > 2)
    @rule(data=st.data())
    def node_drains(self, data: st.DataObject) -> None:
        node_id = data.draw(st.sampled_from(sorted(self.model.nodes)))
        self.model.nodes[node_id].draining = True
        self.handle(NodeDraining(node_id))

    @precondition(lambda self: self.model.nodes)
    @rule(data=st.data(), total=totals)
    def node_changes(self, data: st.DataObject, total: dict[str, float]) -> None:
        node_id = data.draw(st.sampled_from(sorted(self.model.nodes)))
        self.model.nodes[node_id].total = total
        self.model.oversupplied.add(node_id)
        self.handle(NodeSupply(node_id, total))

    @rule(
        data=st.data(),
        resources=st.one_of(amounts, some_amounts),
        client=st.sampled_from(CLIENTS),
        count=st.integers(1, 5),
        kind=st.sampled_from(["task", "actor"]),
        env=st.sampled_from(["", "x"]),
    )
    def asks(self, data: st.DataObject, resources, client, count, kind, env) -> None:
        nodes = sorted(self.model.nodes)
        group, bundle = None, -1
        choices = [
            st.just(Default()),
            st.just(Spread()),
            st.builds(Labels.of, st.fixed_dictionaries({"zone": zones})),
        ]
        if nodes:
            choices.append(st.builds(NodeAffinity, st.sampled_from([*nodes, "gone"]), st.booleans()))
        strategy = data.draw(st.one_of(choices))
        if self.model.groups and data.draw(st.booleans()):
            group = data.draw(st.sampled_from(sorted(self.model.groups)))
            bundle = data.draw(st.integers(-1, 3))
            strategy = Default()
        shape = Shape.of(resources, strategy, env=env, kind=kind, group=group, bundle=bundle)
        request_id = f"r{next(self.numbers)}"
        near = data.draw(st.sampled_from(nodes)) if nodes else None
        self.model.requests[request_id] = Request(client, shape, count)
        self.handle(Requested(request_id, client, near, shape, count, {near: 9} if near else None))

    @rule(
        cpus=st.sampled_from([1.0, 4.0]),
        client=st.sampled_from(CLIENTS),
        family=st.sampled_from(["", "tree", "other"]),
        depth=st.integers(0, 3),
    )
    def asks_for_cpus(self, cpus: float, client: str, family: str, depth: int) -> None:
        request_id = f"r{next(self.numbers)}"
        shape = Shape.of({"CPU": cpus})
        self.model.requests[request_id] = Request(client, shape, 3)
        self.handle(Requested(request_id, client, None, shape, 3, None, family, depth))

    @precondition(lambda self: self.model.leases)
    @rule(data=st.data())
    def releases(self, data: st.DataObject) -> None:
        lease_id = data.draw(st.sampled_from(sorted(self.model.leases)))
        del self.model.leases[lease_id]
        self.handle(Released(lease_id))

    @precondition(lambda self: self.model.leases)
    @rule(data=st.data(), blocked=st.booleans())
    def blocks(self, data: st.DataObject, blocked: bool) -> None:
        lease_id = data.draw(st.sampled_from(sorted(self.model.leases)))
        self.model.leases[lease_id].blocked = blocked
        self.handle(Blocked(lease_id) if blocked else Unblocked(lease_id))

    @precondition(lambda self: self.model.requests)
    @rule(data=st.data(), keep=st.integers(0, 2))
    def cancels(self, data: st.DataObject, keep: int) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.model.requests)))
        request = self.model.requests[request_id]
        request.open = min(request.open, keep)
        self.handle(Cancelled(request_id, keep))

    @rule(data=st.data(), number=st.integers(1, 60))
    def a_message_comes_late_or_twice(self, data: st.DataObject, number: int) -> None:
        """What it is about has ended: nothing may come of it but what was possible anyway."""
        lease_id, request_id = f"{number}", f"r{number}"
        known = set(self.model.leases)
        choices: list[object] = [NodeLeft(f"n{number}"), NodeDraining(f"n{number}"), NodeMissing("n0")]
        for lease in {
            lease_id,
            *data.draw(st.lists(st.sampled_from(sorted(self.past) or ["l"]), max_size=2)),
        }:
            if lease not in known:
                choices += [Released(lease), Blocked(lease), Unblocked(lease)]
        if request_id not in self.model.requests:
            choices.append(Cancelled(request_id, 0))
        choices.append(GroupRemoved(b"none"))
        choices.append(ClientGone("nobody"))
        event = data.draw(st.sampled_from(choices))
        if getattr(event, "node_id", None) not in self.model.nodes:
            assert not [one for one in self.handle(event) if isinstance(one, Revoke)]

    @precondition(lambda self: len(self.model.leases) > 4)
    @rule(client=st.sampled_from(CLIENTS))
    def client_goes(self, client: str) -> None:
        for request in self.model.requests.values():
            if request.client == client:
                request.open = 0
        theirs = {i for i, lease in self.model.leases.items() if lease.grant.client == client}
        out = self.scheduler.handle(ClientGone(client))
        # The groups end within this event, so the model forgets them between revokes and grants.
        revokes = [one for one in out if isinstance(one, Revoke)]
        assert theirs <= {one.lease_id for one in revokes}
        self.model.apply(revokes)
        for group_id, group in list(self.model.groups.items()):
            if group.client == client and not group.detached:
                del self.model.groups[group_id]
        self.model.apply([one for one in out if not isinstance(one, Revoke)])

    @rule(
        client=st.sampled_from(CLIENTS),
        bundles=st.lists(some_amounts, min_size=1, max_size=4),
        strategy=st.sampled_from(["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]),
        detached=st.booleans(),
    )
    def asks_for_group(self, client, bundles, strategy, detached) -> None:
        group_id = next(self.numbers).to_bytes(4, "big")
        self.model.groups[group_id] = Group(client, bundles, strategy, detached)
        self.handle(GroupRequested(group_id, client, bundles, strategy, detached))

    @precondition(lambda self: self.model.groups)
    @rule(data=st.data())
    def removes_group(self, data: st.DataObject) -> None:
        self.remove_group(data.draw(st.sampled_from(sorted(self.model.groups))))

    def remove_group(self, group_id: bytes) -> None:
        inside = {i for i, lease in self.model.leases.items() if lease.grant.shape.group == group_id}
        out = self.scheduler.handle(GroupRemoved(group_id))
        revokes = [one for one in out if isinstance(one, Revoke)]
        assert {one.lease_id for one in revokes} == inside
        self.model.apply(revokes)
        del self.model.groups[group_id]
        self.model.apply([one for one in out if not isinstance(one, Revoke)])

    @precondition(lambda self: self.model.nodes)
    @rule(data=st.data())
    def head_restarts(self, data: st.DataObject) -> None:
        """Another scheduler takes over: groups are told first, nodes and requests come in any order."""
        model, before = self.model, self.scheduler
        self.lives += 1
        self.scheduler = LeaseScheduler(overtake_limit=2, first=self.lives << 40)
        away = set(data.draw(st.lists(st.sampled_from(sorted(model.nodes)), max_size=1)))
        model.leases = {i: lease for i, lease in model.leases.items() if lease.grant.node_id not in away}
        nodes = {node_id: model.nodes.pop(node_id) for node_id in sorted(model.nodes)}
        for node in nodes.values():
            node.draining = False
        for group_id, group in model.groups.items():
            asked = GroupRequested(group_id, group.client, group.bundles, group.strategy, group.detached)
            self.handle(GroupReturned(asked, tuple(before.places(group_id))))
        events = [*nodes, *(request_id for request_id, request in model.requests.items() if request.open)]
        for name in data.draw(st.permutations(events)):
            if name in away:
                self.handle(NodeMissing(name))
            elif name in nodes:
                model.nodes[name] = nodes[name]
                held = tuple(
                    Held(i, lease.grant.client, lease.grant.shape, lease.grant.gpu_ids, lease.blocked)
                    for i, lease in model.leases.items()
                    if lease.grant.node_id == name
                )
                self.handle(NodeReturned(name, nodes[name].total, nodes[name].labels, held))
            else:
                request = model.requests[name]
                near = next(iter(nodes))
                self.handle(Requested(name, request.client, near, request.shape, request.open))

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        model = self.model
        free: Counter[str] = Counter()
        for node_id, node in model.nodes.items():
            used = model.used(node_id)
            for name, amount in node.total.items():
                free[name] += max(0.0, amount - used[name])
            assert node_id in model.oversupplied or all(
                use <= 1 + EPS for use in model.gpu_use(node_id).values()
            )
        available = self.scheduler.available()
        for name in {*free, *available}:
            assert abs(free[name] - available.get(name, 0)) < EPS, name
        state = self.scheduler.snapshot()
        assert {lease["lease_id"] for lease in state["leases"]} == set(model.leases)
        assert sum(row["count"] for row in state["demand"]) == sum(r.open for r in model.requests.values())

    @invariant()
    def nobody_waits_for_what_is_free(self) -> None:
        if not hasattr(self, "model") or self.scheduler._claims:
            return
        for request_id, request in self.model.requests.items():
            if not request.open or request.shape.group is not None:
                continue
            resources = dict(request.shape.resources)
            for node_id, node in self.model.nodes.items():
                if self.model.allowed(request, node_id, node):
                    assert not self.model.has_room(node_id, node, resources), (request_id, node_id)

    @invariant()
    def the_infeasible_are_told(self) -> None:
        if not hasattr(self, "model"):
            return
        for request_id, request in self.model.requests.items():
            if request.open and request.shape.group is None:
                possible = any(self.model.allowed(request, i, n) for i, n in self.model.nodes.items())
                assert possible or request_id in self.model.told

    def teardown(self) -> None:
        """When everything is given back, all that can be served has been."""
        if not hasattr(self, "model"):
            return
        model = self.model
        for _ in range(1000):
            for lease_id in list(model.leases):
                if lease_id in model.leases:
                    del model.leases[lease_id]
                    self.handle(Released(lease_id))
            if not model.leases:
                placed = [i for i, group in model.groups.items() if group.nodes]
                if not placed:
                    break
                self.remove_group(placed[0])
        assert not model.leases
        for request_id, request in model.requests.items():
            if request.open and request.shape.group is None:
                assert not any(model.allowed(request, i, n) for i, n in model.nodes.items()), request_id
        for group in model.groups.values():
            for bundle in group.bundles if len(group.bundles) == 1 else ():
                assert not any(model.hosts(node, bundle) for node in model.nodes.values())
        assert not self.scheduler._claims, "who has a claim is served in the end"
        assert self.scheduler._book.clients.keys() <= {
            *(r.client for r in model.requests.values() if r.open),
            *(g.client for g in model.groups.values()),
        }
        total = self.scheduler.total()
        kept = [
            b for g in model.groups.values() if g.nodes for i, b in enumerate(g.bundles) if i not in g.lost
        ]
        if not kept:
            assert self.scheduler.available() == total, "everything has come back"


Cluster.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestCluster = Cluster.TestCase
