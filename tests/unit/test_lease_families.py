"""Trees of calls: each takes its turn as one client does, and within it the deepest calls come first."""

from __future__ import annotations

from rayjup.engine.leases import Blocked, Grant, LeaseScheduler, NodeJoined, Released, Requested, Shape

ONE = Shape.of({"CPU": 1})


def scheduler(cpus: float) -> LeaseScheduler:
    made = LeaseScheduler()
    made.handle(NodeJoined("n", {"CPU": cpus}, {}))
    return made


def ask(made, id, client, family="", depth=0, count=1):
    return granted_of(made.handle(Requested(id, client, None, ONE, count, None, family, depth)))


def granted_of(instructions):
    return [i for i in instructions if isinstance(i, Grant)]


def release_next(made, lease):
    """The requests that get what ``lease`` gives back, and their leases."""
    return granted_of(made.handle(Released(lease)))


def run_out(made, first):
    """Give each lease back as soon as it is granted; the order of the requests."""
    order = []
    grants = [first]
    while grants:
        grant = grants.pop()
        more = release_next(made, grant.lease_id)
        order += [g.request_id for g in more]
        grants += more
    return order


def test_the_deepest_calls_of_a_tree_come_first():
    made = scheduler(1)
    (first,) = ask(made, "busy", "driver")
    for depth in (1, 3, 2):
        ask(made, f"depth{depth}", f"e{depth}", "tree", depth)
    assert run_out(made, first) == ["depth3", "depth2", "depth1"]


def test_clients_of_one_level_take_turns():
    made = scheduler(1)
    (first,) = ask(made, "busy", "driver")
    ask(made, "a", "ea", "tree", 2, count=2)
    ask(made, "b", "eb", "tree", 2, count=2)
    assert run_out(made, first) == ["a", "b", "a", "b"]


def test_a_tree_takes_its_turn_like_one_client():
    made = scheduler(1)
    (first,) = ask(made, "busy", "someone")
    for number in range(4):
        ask(made, f"t{number}", f"e{number}", "tree", number + 1)
    ask(made, "driver", "driver", count=2)
    assert run_out(made, first) == ["t3", "driver", "t2", "driver", "t1", "t0"]


def test_a_branch_without_end_does_not_starve_the_rest_of_its_tree():
    made = scheduler(1)
    (grant,) = ask(made, "busy", "driver")
    ask(made, "waits", "shallow", "tree", 1)
    order = []
    for number in range(100):  # there is always a deeper call that waits
        ask(made, f"deep{number}", "deep", "tree", 5)
        (grant,) = release_next(made, grant.lease_id)
        order.append(grant.request_id)
    assert "waits" in order


def test_a_recursive_tree_takes_about_as_many_processes_as_it_is_deep():
    """A binary tree of calls on two CPUs: parents block, and what they lend goes to the deepest."""
    depth, cpus = 10, 2
    made = scheduler(cpus)
    numbers = iter(range(10**6))
    state = {}  # by lease: what it runs
    waiting = {}  # by request: (parent's lease, depth)
    most = 0

    def start(grants):
        nonlocal most
        for grant in grants:
            parent, level = waiting[grant.request_id]
            state[grant.lease_id] = {"parent": parent, "left": 2 if level < depth else 0, "level": level}
            most = max(most, len(state))
            queue.append(grant.lease_id)

    queue: list[str] = []
    request = f"r{next(numbers)}"
    waiting[request] = (None, 0)
    start(ask(made, request, "driver"))
    finished = 0
    while queue:
        lease = queue.pop(0)
        me = state[lease]
        if me["left"] == 2:  # it has just begun: calls twice, then waits
            for _ in range(2):
                request = f"r{next(numbers)}"
                waiting[request] = (lease, me["level"] + 1)
                start(ask(made, request, f"process-of-{lease}", "tree", me["level"] + 1))
            start(granted_of(made.handle(Blocked(lease))))
            continue
        while me is not None and me["left"] == 0:
            finished += 1
            del state[lease]
            start(release_next(made, lease))
            lease = me["parent"]
            me = state.get(lease)
            if me is not None:
                me["left"] -= 1
    assert finished == 2 ** (depth + 1) - 1
    assert most <= 5 * depth  # in turn it would be hundreds
