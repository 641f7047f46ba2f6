"""How many nodes of which type: the decision alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayjup.cluster.scaling.plan import Decision, Situation, Up, Wanted, WantedGroup, decide
from rayjup.cluster.scaling.settings import TYPE_LABEL, NodeType, ScalingSettings, node_types

SMALL = NodeType("small", {"CPU": 2}, 0, 4)
LARGE = NodeType("large", {"CPU": 16}, 0, 2)
GPU = NodeType("gpu", {"CPU": 4, "GPU": 4}, 0, 2, {"chip": "a10"})


def settings(*types: NodeType, most: int = 100, **more: float) -> ScalingSettings:
    return ScalingSettings(types or (SMALL, LARGE, GPU), most, **more)


def up(number: int, kind: NodeType, **state) -> Up:
    total = dict(kind.resources)
    return Up(f"n{number}", kind.name, total, state.pop("free", total), kind.all_labels, **state)


def start(now: Situation, *types: NodeType, **more: float) -> dict[str, int]:
    return dict(decide(settings(*types, **more), now).start)


def test_nothing_waits_and_nothing_is_started():
    assert decide(settings(), Situation()) == Decision()


def test_what_exists_is_used_before_anything_is_started():
    nodes = (up(0, SMALL),)
    assert start(Situation(nodes, demand=(Wanted({"CPU": 1}, 2),))) == {}
    assert start(Situation(nodes, demand=(Wanted({"CPU": 1}, 3),))) == {"small": 1}
    assert start(Situation(nodes, {"small": 1}, (Wanted({"CPU": 1}, 4),))) == {}


def test_the_type_is_chosen_that_is_used_best():
    assert start(Situation(demand=(Wanted({"CPU": 1}, 2),))) == {"small": 1}
    assert start(Situation(demand=(Wanted({"CPU": 1}, 16),))) == {"small": 4, "large": 1}
    assert start(Situation(demand=(Wanted({"CPU": 8}, 1),))) == {"large": 1}


def test_no_gpus_for_what_needs_none_unless_nothing_else_is_there():
    assert start(Situation(demand=(Wanted({"CPU": 4}),)), GPU, LARGE) == {"large": 1}
    assert start(Situation(demand=(Wanted({"CPU": 4}),)), GPU) == {"gpu": 1}
    assert start(Situation(demand=(Wanted({"GPU": 4}),))) == {"gpu": 1}


def test_shares_of_gpus_do_not_add_up_to_whole_ones():
    free = Up("n0", "gpu", dict(GPU.resources), {"CPU": 4, "GPU": 1.0}, gpus={0: 5000, 1: 5000, 2: 0, 3: 0})
    assert start(Situation((free,), demand=(Wanted({"GPU": 1}),))) == {"gpu": 1}
    assert start(Situation((free,), demand=(Wanted({"GPU": 0.5}, 2),))) == {}
    assert start(Situation(demand=(Wanted({"GPU": 0.7}, 4),))) == {"gpu": 1}
    assert start(Situation(demand=(Wanted({"GPU": 0.7}, 5),))) == {"gpu": 2}


def test_labels_decide_which_type():
    wanted = Wanted({"CPU": 1}, 1, ((("chip", "a10"),),))
    assert start(Situation(demand=(wanted,))) == {"gpu": 1}
    by_type = Wanted({"CPU": 1}, 1, (((TYPE_LABEL, "large"),),))
    assert start(Situation(demand=(by_type,))) == {"large": 1}
    nowhere = decide(settings(), Situation(demand=(Wanted({"CPU": 1}, 1, ((("chip", "b"),),)),)))
    assert not nowhere.start
    assert "labels" in nowhere.unmet[0].why


def test_limits_hold_and_what_they_forbid_is_said():
    decision = decide(settings(SMALL), Situation(demand=(Wanted({"CPU": 1}, 100),)))
    assert decision.start == {"small": 4}
    assert (decision.unmet[0].count, decision.unmet[0].why) == (
        92,
        "as many nodes as there may be are there already: small (max_workers 4)",
    )
    decision = decide(settings(SMALL, most=3), Situation(demand=(Wanted({"CPU": 1}, 100),)))
    assert decision.start == {"small": 3}
    assert decision.unmet[0].why == "the cluster may have 3 worker nodes at most"
    too_large = decide(settings(SMALL), Situation(demand=(Wanted({"CPU": 3}),)))
    assert too_large.unmet[0].why == "no type of node is large enough"


def test_not_all_are_started_at_once():
    many = NodeType("many", {"CPU": 1}, 0, 1000)
    now = Situation(demand=(Wanted({"CPU": 1}, 100),))
    decision = decide(settings(many, most=1000), now)
    assert (decision.start, decision.missing) == ({"many": 5}, {"many": 95})
    nodes = tuple(up(i, many, free={"CPU": 0.0}) for i in range(10))
    now = Situation(nodes, {"many": 3}, now.demand)
    assert decide(settings(many, most=1000), now).start == {"many": 7}
    assert decide(settings(many, most=1000, upscaling_speed=3.0), now).start == {"many": 27}


def test_as_many_as_there_have_to_be():
    least = NodeType("least", {"CPU": 1}, 2, 3)
    assert start(Situation(), least) == {"least": 2}
    assert start(Situation((up(0, least),), {"least": 1}), least) == {}
    assert start(Situation((up(0, least), up(1, least, draining=True))), least) == {"least": 1}


def test_idle_nodes_end_but_not_below_the_least():
    least = NodeType("small", {"CPU": 2}, 1, 4)
    nodes = (up(0, least, idle_s=10.0), up(1, least, idle_s=70.0), up(2, least, idle_s=61.0), up(3, least))
    assert decide(settings(least), Situation(nodes)).stop == ("n1", "n2")
    assert decide(settings(least), Situation(nodes[:2])).stop == ("n1",)
    assert decide(settings(least), Situation(nodes[1:2])).stop == ()
    own = NodeType("small", {"CPU": 2}, 0, 4, idle_timeout_s=5.0)
    assert decide(settings(own), Situation((up(0, own, idle_s=6.0),))).stop == ("n0",)


def test_an_idle_node_stays_where_something_waits_for_it():
    node = up(0, SMALL, idle_s=100.0)
    assert decide(settings(), Situation((node,), demand=(Wanted({"CPU": 1}),))).stop == ()


def test_requested_resources_count_what_is_there_and_keep_it():
    busy = up(0, SMALL, free={"CPU": 0.0})
    idle = up(1, SMALL, idle_s=100.0)
    requested = (Wanted({"CPU": 1}, 4),)
    assert decide(settings(), Situation((busy, idle), requested=requested)) == Decision()
    more = decide(settings(), Situation((busy, idle), requested=(Wanted({"CPU": 1}, 5),)))
    assert (more.start, more.stop) == ({"small": 1}, ())
    # What is started for it serves what waits, too.
    both = Situation(demand=(Wanted({"CPU": 1}, 2),), requested=(Wanted({"CPU": 1}, 2),))
    assert start(both) == {"small": 1}


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("PACK", {"small": 1}),
        ("SPREAD", {"small": 2}),
        ("STRICT_SPREAD", {"small": 2}),
        ("STRICT_PACK", {"small": 1}),
    ],
)
def test_groups_are_placed_as_their_strategy_says(strategy, expected):
    group = WantedGroup(strategy, ({"CPU": 1}, {"CPU": 1}))
    assert start(Situation(groups=(group,)), SMALL) == expected


def test_a_group_for_one_node_takes_a_type_that_holds_all_of_it():
    assert start(Situation(groups=(WantedGroup("STRICT_PACK", ({"CPU": 4}, {"CPU": 4})),))) == {"large": 1}
    decision = decide(settings(), Situation(groups=(WantedGroup("STRICT_PACK", ({"CPU": 16}, {"CPU": 16})),)))
    assert decision.start == {}
    assert decision.unmet[0].resources == {"CPU": 32}


def test_a_type_of_which_none_can_be_had_is_passed_over():
    now = Situation(demand=(Wanted({"CPU": 1}),))
    barred = settings(barred=frozenset({"small", "large"}))
    assert decide(barred, now).start == {"gpu": 1}
    none = decide(settings(SMALL, barred=frozenset({"small"})), now)
    assert none.unmet[0].why == "small could not be had just now; it will be tried again"


amounts = st.fixed_dictionaries(
    {"CPU": st.integers(1, 8)}, optional={"GPU": st.sampled_from([0.25, 0.7, 1, 2])}
)


@given(
    st.lists(st.tuples(amounts, st.integers(1, 30)), max_size=5),
    st.lists(st.sampled_from([SMALL, LARGE, GPU]), max_size=6),
    st.integers(0, 10),
)
def test_limits_hold_whatever_waits_and_it_settles(wanted, there, most):
    rules = settings(most=most)
    there = there[:most]
    demand = tuple(Wanted(resources, count) for resources, count in wanted)
    nodes = tuple(up(i, kind) for i, kind in enumerate(there) if there[:i].count(kind) < kind.max_workers)
    starting: dict[str, int] = {}
    for _ in range(20):
        now = Situation(nodes, starting, demand)
        decision = decide(rules, now)
        for name, count in decision.start.items():
            starting[name] = starting.get(name, 0) + count
        for kind in rules.types:
            have = starting.get(kind.name, 0) + sum(n.type == kind.name for n in nodes)
            assert have <= kind.max_workers
        assert len(nodes) + sum(starting.values()) <= max(most, len(nodes))
        nodes += tuple(up(100 * len(nodes) + i, rules.type(n)) for n, c in starting.items() for i in range(c))
        starting = {}
        if not decision.start:
            break
    else:
        pytest.fail("it goes on starting nodes for ever")
    assert decision.missing == {}


def test_types_are_read_as_ray_declares_them():
    declared = {
        "head": {"resources": {"CPU": 1}, "max_workers": 0},
        "w": {"resources": {"CPU": 2}, "min_workers": 1, "max_workers": 3, "node_config": {"a": 1}},
    }
    (kind,) = node_types(declared, "head")
    assert (kind.name, kind.min_workers, kind.max_workers, kind.node_config) == ("w", 1, 3, {"a": 1})
    for wrong, message in (
        ({"w": {}}, "does not say what its nodes offer"),
        ({"w": {"resources": {"CPU": 1}, "min_workers": 2, "max_workers": 1}}, "nothing is both"),
        ({"w": {"resources": {"CPU": "x"}}}, "write a number"),
        ({"w": {"resources": {"CPU": 1}, "maxworkers": 1}}, "has no setting 'maxworkers'"),
    ):
        with pytest.raises(ValueError, match=message):
            node_types(wrong)
    rules = settings(kind)
    assert ScalingSettings.from_dict(rules.to_dict()) == rules
