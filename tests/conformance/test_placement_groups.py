"""Placement groups: made, waited for, used, captured, removed."""

import os
import subprocess
import sys
import textwrap
import time

import pytest
import ray
from ray.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def made():
    """Makes groups that are removed at the end of the test."""
    groups = []

    def make(*args, **kwargs):
        groups.append(placement_group(*args, **kwargs))
        return groups[-1]

    yield make
    for group in groups:
        remove_placement_group(group)


def free_cpus():
    return ray.available_resources().get("CPU", 0)


# -- making and waiting


def test_a_group_reserves_its_bundles_and_gives_them_back(eventually):
    group = placement_group([{"CPU": 1}, {"CPU": 2}])
    assert group.wait(60) is True
    eventually(lambda: free_cpus() == 1)
    assert ray.cluster_resources()["CPU"] == 4
    remove_placement_group(group)
    eventually(lambda: free_cpus() == 4)


def test_ready_is_a_reference_to_the_group(made):
    group = made([{"CPU": 1}])
    ref = group.ready()
    assert isinstance(ref, ray.ObjectRef)
    assert ray.get(ref, timeout=60) == group
    assert ray.wait([group.ready()], timeout=60)[0] != []


def test_ready_as_an_argument(made):
    @ray.remote(num_cpus=0)
    def bundles(group):
        return group.bundle_specs

    assert ray.get(bundles.remote(made([{"CPU": 1}]).ready()), timeout=60) == [{"CPU": 1.0}]


def test_what_does_not_fit_yet_waits_for_what_is_in_use(made):
    first = made([{"CPU": 3}])
    assert first.wait(60)
    second = made([{"CPU": 2}])
    assert second.wait(0.2) is False
    ref = second.ready()
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(ref, timeout=0.2)
    remove_placement_group(first)
    assert ray.get(ref, timeout=60) == second


def test_all_bundles_or_none(made):
    group = made([{"CPU": 3}, {"CPU": 3}])
    assert group.wait(0.3) is False
    assert free_cpus() == 4


def test_a_group_knows_its_bundles(made):
    group = made([{"CPU": 1}, {"CPU": 0.5}])
    assert group.bundle_count == 2
    assert group.bundle_specs == [{"CPU": 1.0}, {"CPU": 0.5}]
    assert not group.is_empty
    assert len(group.id.hex()) == 36
    assert hash(group) == hash(PlacementGroup(group.id))


def test_the_empty_group():
    group = PlacementGroup.empty()
    assert group.is_empty
    assert ray.get(group.ready(), timeout=60).is_empty


@pytest.mark.parametrize("strategy", ["PACK", "SPREAD", "STRICT_PACK"])
def test_strategies_that_one_node_can_meet(made, strategy):
    assert made([{"CPU": 1}] * 3, strategy=strategy).wait(60)


def test_strict_spread_needs_as_many_nodes_as_bundles(made):
    assert made([{"CPU": 1}], strategy="STRICT_SPREAD").wait(60)
    assert made([{"CPU": 1}] * 2, strategy="STRICT_SPREAD").wait(0.3) is False


@pytest.mark.parametrize(
    "arguments",
    [
        {"bundles": []},
        {"bundles": [{}]},
        {"bundles": [{"CPU": 0}]},
        {"bundles": {"CPU": 1}},
        {"bundles": [{"CPU": "one"}]},
        {"bundles": [{1: 1}]},
        {"bundles": [{"CPU": 1}], "strategy": "SOMEHOW"},
        {"bundles": [{"CPU": 1}], "lifetime": "forever"},
        {"bundles": [{"CPU": 1}], "bundle_label_selector": [{}, {}]},
        {"bundles": [{"CPU": 1}], "_soft_target_node_id": "ab" * 28},
    ],
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError):
        placement_group(**arguments)


def test_the_function_is_found_in_both_places():
    group = ray.util.placement_group([{"CPU": 1}])
    assert ray.get(group.ready(), timeout=60) == group
    ray.util.remove_placement_group(group)
    assert ray.util.get_current_placement_group() is None


# -- tables and names


def test_the_table_describes_a_group(made):
    group = made([{"CPU": 1}, {"CPU": 1}], strategy="SPREAD", name="described")
    assert group.wait(60)
    row = placement_group_table(group)
    assert row["placement_group_id"] == group.id.hex()
    assert row["name"] == "described"
    assert row["strategy"] == "SPREAD"
    assert row["state"] == "CREATED"
    assert row["bundles"] == {0: {"CPU": 1.0}, 1: {"CPU": 1.0}}
    node = ray.nodes()[0]["NodeID"]
    assert row["bundles_to_node_id"] == {0: node, 1: node}
    assert placement_group_table()[group.id.hex()]["state"] == "CREATED"


def test_the_table_tells_of_groups_that_wait_and_that_are_gone(made, eventually):
    group = made([{"CPU": 100}])
    assert placement_group_table(group)["state"] == "PENDING"
    remove_placement_group(group)
    eventually(lambda: placement_group_table(group)["state"] == "REMOVED")


def test_groups_by_name(made, eventually):
    group = made([{"CPU": 1}], name="known")
    assert get_placement_group("known") == group
    assert get_placement_group("known").bundle_specs == [{"CPU": 1.0}]
    with pytest.raises(ray.exceptions.RaySystemError):
        placement_group([{"CPU": 1}], name="known")
    remove_placement_group(group)
    with pytest.raises(ValueError, match="known"):
        get_placement_group("known")
    with pytest.raises(ValueError):
        get_placement_group("")
    assert made([{"CPU": 1}], name="known").wait(60)


# -- running in a group


def test_a_task_runs_in_its_group(made):
    group = made([{"CPU": 2}])

    @ray.remote(num_cpus=2)
    def where():
        context = ray.get_runtime_context()
        return context.get_placement_group_id(), get_current_placement_group()

    strategy = PlacementGroupSchedulingStrategy(group)
    identity, current = ray.get(where.options(scheduling_strategy=strategy).remote(), timeout=60)
    assert identity == group.id.hex()
    assert current == group


def test_a_driver_and_a_plain_task_are_in_no_group():
    @ray.remote
    def where():
        return ray.get_runtime_context().get_placement_group_id(), get_current_placement_group()

    assert ray.get(where.remote()) == (None, None)
    assert get_current_placement_group() is None
    context = ray.get_runtime_context()
    assert context.get_placement_group_id() is None
    assert context.should_capture_child_tasks_in_placement_group is False


def test_a_process_that_served_a_group_serves_others(made):
    @ray.remote
    def where():
        return os.getpid(), ray.get_runtime_context().get_placement_group_id()

    for _ in range(3):
        group = made([{"CPU": 1}])
        inside = where.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group)).remote()
        assert ray.get(inside, timeout=60)[1] == group.id.hex()
        assert ray.get(where.remote(), timeout=60)[1] is None
        remove_placement_group(group)


def test_tasks_wait_for_room_in_their_bundle(made, gate, eventually, tmp_path):
    group = made([{"CPU": 1}, {"CPU": 1}])
    started = tmp_path / "started"

    @ray.remote
    def hold(wait):
        started.touch()
        wait()
        return 1

    @ray.remote
    def quick():
        return 2

    first = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
    second = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=1)
    holding = hold.options(scheduling_strategy=first).remote(gate.wait)
    eventually(started.exists)
    waiting = quick.options(scheduling_strategy=first).remote()
    assert ray.get(quick.options(scheduling_strategy=second).remote(), timeout=60) == 2
    assert ray.wait([waiting], timeout=0.3)[0] == []  # two CPUs are free, but not in its bundle
    gate.open()
    assert ray.get([holding, waiting], timeout=60) == [1, 2]


def test_a_group_runs_although_all_else_is_taken(made, gate, eventually):
    group = made([{"CPU": 1}])
    assert group.wait(60)

    @ray.remote(num_cpus=3)
    def hold(wait):
        wait()

    @ray.remote
    def one():
        return 1

    holding = hold.remote(gate.wait)
    eventually(lambda: free_cpus() == 0)
    outside = one.remote()
    assert ray.get(
        one.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group)).remote(), timeout=60
    )
    assert ray.wait([outside], timeout=0.2)[0] == []
    gate.open()
    ray.get([holding, outside], timeout=60)


def test_a_task_may_be_submitted_before_its_group_is_there(made, gate, eventually):
    @ray.remote(num_cpus=4)
    def hold(wait):
        wait()

    @ray.remote
    def one():
        return 1

    holding = hold.remote(gate.wait)
    eventually(lambda: free_cpus() == 0)
    group = made([{"CPU": 2}])
    ref = one.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group)).remote()
    assert ray.wait([ref], timeout=0.2)[0] == []
    gate.open()
    assert ray.get(ref, timeout=60) == 1
    ray.get(holding)


def test_actors_live_in_groups(made):
    @ray.remote(num_cpus=1)
    class Inside:
        def where(self):
            return ray.get_runtime_context().get_placement_group_id(), ray.get_runtime_context().get_node_id()

    group = made([{"CPU": 1}, {"CPU": 1}])
    actors = [
        Inside.options(
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
        ).remote()
        for index in range(2)
    ]
    node = ray.nodes()[0]["NodeID"]
    assert ray.get([a.where.remote() for a in actors], timeout=60) == [(group.id.hex(), node)] * 2


@pytest.mark.filterwarnings("ignore:placement_group:DeprecationWarning")
def test_the_older_options_for_groups(made):
    group = made([{"CPU": 1}])

    @ray.remote
    def where():
        return ray.get_runtime_context().get_placement_group_id()

    ref = where.options(placement_group=group, placement_group_bundle_index=0).remote()
    assert ray.get(ref, timeout=60) == group.id.hex()


def test_what_fits_no_bundle_is_refused_at_once(made):
    group = made([{"CPU": 1}, {"CPU": 1}])

    @ray.remote(num_cpus=2)
    def large():
        pass

    @ray.remote(num_cpus=2)
    class Large:
        pass

    strategy = PlacementGroupSchedulingStrategy(group)
    with pytest.raises(ValueError, match="cannot fit into any bundles"):
        large.options(scheduling_strategy=strategy).remote()
    with pytest.raises(ValueError, match="cannot fit into any bundles"):
        Large.options(scheduling_strategy=strategy).remote()


def test_an_actor_that_needs_a_cpu_to_be_made_fits_no_bundle_without(made):
    group = made([{"memory": 1024}])

    @ray.remote
    class Plain:
        pass

    with pytest.raises(ValueError, match="CPU for creation"):
        Plain.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group)).remote()


@pytest.mark.parametrize("index", [1, -2])
def test_bundles_that_are_not_there(made, index):
    group = made([{"CPU": 1}])

    @ray.remote
    def one():
        pass

    with pytest.raises(ValueError, match="bundle index"):
        one.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, index)).remote()


# -- children


def capturing(group):
    return PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)


def test_children_run_outside_unless_they_are_captured(made):
    @ray.remote
    def child():
        return ray.get_runtime_context().get_placement_group_id()

    @ray.remote
    def parent():
        context = ray.get_runtime_context()
        return context.should_capture_child_tasks_in_placement_group, ray.get(child.remote())

    group = made([{"CPU": 1}, {"CPU": 1}])
    plain = parent.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group))
    caught = parent.options(scheduling_strategy=capturing(group))
    for _ in range(2):  # also in a process that has run the other kind before
        assert ray.get(plain.remote(), timeout=60) == (False, None)
        assert ray.get(caught.remote(), timeout=60) == (True, group.id.hex())


def test_grandchildren_are_captured_too(made):
    @ray.remote
    def down(depth):
        here = ray.get_runtime_context().get_placement_group_id()
        return [here] if depth == 0 else [here, *ray.get(down.remote(depth - 1))]

    group = made([{"CPU": 2}])
    found = ray.get(down.options(scheduling_strategy=capturing(group)).remote(2), timeout=60)
    assert found == [group.id.hex()] * 3


def test_a_captured_child_may_leave(made):
    @ray.remote
    def child():
        return ray.get_runtime_context().get_placement_group_id()

    @ray.remote
    def parent():
        none = PlacementGroupSchedulingStrategy(placement_group=None)
        return ray.get(
            [
                child.options(scheduling_strategy=none).remote(),
                child.options(scheduling_strategy="DEFAULT").remote(),
                child.remote(),
            ]
        )

    group = made([{"CPU": 2}])
    found = ray.get(parent.options(scheduling_strategy=capturing(group)).remote(), timeout=60)
    assert found == [None, None, group.id.hex()]


def test_actors_capture_their_children(made):
    @ray.remote
    def child():
        return ray.get_runtime_context().get_placement_group_id()

    @ray.remote(num_cpus=1)
    class Parent:
        def ask(self):
            return ray.get(child.remote())

    @ray.remote(num_cpus=1)
    class AsyncParent:
        async def ask(self):
            return await child.remote()

    group = made([{"CPU": 1}, {"CPU": 1}])
    for kind in (Parent, AsyncParent):
        actor = kind.options(scheduling_strategy=capturing(group)).remote()
        assert ray.get(actor.ask.remote(), timeout=60) == group.id.hex()
        ray.kill(actor)


def test_actors_are_captured_as_children(made):
    @ray.remote(num_cpus=1)
    class Child:
        def where(self):
            return ray.get_runtime_context().get_placement_group_id()

    @ray.remote
    def parent():
        child = Child.remote()
        return ray.get(child.where.remote())

    group = made([{"CPU": 1}, {"CPU": 1}])
    found = ray.get(parent.options(scheduling_strategy=capturing(group)).remote(), timeout=60)
    assert found == group.id.hex()


def test_tasks_make_groups_of_their_own():
    @ray.remote
    def work():
        group = placement_group([{"CPU": 1}])
        inside = PlacementGroupSchedulingStrategy(group)

        @ray.remote
        def where():
            return ray.get_runtime_context().get_placement_group_id()

        ray.get(group.ready())
        found = ray.get(where.options(scheduling_strategy=inside).remote())
        remove_placement_group(group)
        return found == group.id.hex()

    assert ray.get(work.remote(), timeout=30) is True


def test_groups_are_passed_to_tasks(made):
    @ray.remote
    def use(group):
        @ray.remote
        def where():
            return ray.get_runtime_context().get_placement_group_id()

        assert group.wait(60)
        return ray.get(where.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group)).remote())

    group = made([{"CPU": 1}])
    assert ray.get(use.remote(group), timeout=30) == group.id.hex()


# -- removing


def test_removing_ends_what_runs_in_the_group(gate, eventually, tmp_path):
    group = placement_group([{"CPU": 1}, {"CPU": 1}])
    strategy = PlacementGroupSchedulingStrategy(group)
    started = str(tmp_path / "started")

    @ray.remote(max_retries=0)
    def hold(wait):
        open(started, "w").close()
        wait()

    @ray.remote(num_cpus=1)
    class Inside:
        def ping(self):
            return "pong"

    actor = Inside.options(scheduling_strategy=strategy).remote()
    assert ray.get(actor.ping.remote(), timeout=60) == "pong"
    ref = hold.options(scheduling_strategy=strategy).remote(gate.wait)
    eventually(lambda: os.path.exists(started))
    remove_placement_group(group)
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(ref, timeout=60)
    with pytest.raises(ray.exceptions.RayActorError):
        for _ in range(1000):  # its process may end a moment later
            ray.get(actor.ping.remote(), timeout=60)
            time.sleep(0.01)
    eventually(lambda: free_cpus() == 4)


def test_removing_fails_what_waits_in_the_group(gate, eventually, tmp_path):
    group = placement_group([{"CPU": 1}])
    strategy = PlacementGroupSchedulingStrategy(group)
    started = str(tmp_path / "started")

    @ray.remote(max_retries=0)
    def hold(wait):
        open(started, "w").close()
        wait()

    @ray.remote
    def one():
        return 1

    @ray.remote(num_cpus=1)
    class Inside:
        def ping(self):
            return "pong"

    holding = hold.options(scheduling_strategy=strategy).remote(gate.wait)
    eventually(lambda: os.path.exists(started))
    waiting = one.options(scheduling_strategy=strategy).remote()
    call = Inside.options(scheduling_strategy=strategy).remote().ping.remote()
    assert ray.wait([waiting, call], timeout=0.5)[0] == []
    remove_placement_group(group)
    with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved):
        ray.get(waiting, timeout=60)
    with pytest.raises((ray.exceptions.ActorUnschedulableError, ray.exceptions.ActorPlacementGroupRemoved)):
        ray.get(call, timeout=60)
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(holding, timeout=60)


def test_a_group_that_is_removed_is_never_ready(made):
    group = made([{"CPU": 100}])
    ref = group.ready()
    remove_placement_group(group)
    remove_placement_group(group)  # again: nothing happens
    for late in (ref, group.ready()):
        with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved):
            ray.get(late, timeout=60)
    with pytest.raises(Exception, match="does not exist"):
        group.wait(5)


def test_removing_one_group_makes_room_for_the_next(made):
    groups = [made([{"CPU": 2}]) for _ in range(6)]
    for group in groups:
        assert group.wait(60)
        remove_placement_group(group)


# -- lifetimes


@pytest.fixture
def run_driver(tmp_path):
    """Runs a program as a second driver of this cluster to its end; what it prints after "answer:"."""

    def run(body):
        address = ray.get_runtime_context().gcs_address
        head = f"import ray\nray.init(address={address!r}, namespace='shared', log_to_driver=False)\n"
        program = tmp_path / "driver.py"
        program.write_text(head + textwrap.dedent(body))
        launcher = [] if ray.__name__ == "ray" else ["-m", f"{ray.__name__}.as_ray"]
        done = subprocess.run(
            [sys.executable, *launcher, str(program)], capture_output=True, text=True, timeout=60, check=True
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("answer:")]
        return lines[0].removeprefix("answer:").split()

    return run


MAKE = """
from ray.util.placement_group import placement_group
group = placement_group([{"CPU": 1}], name="theirs", lifetime=LIFETIME)
ray.get(group.ready())
print("answer:", group.id.hex())
"""


def test_a_group_ends_with_the_job_that_made_it(run_driver, eventually):
    (identity,) = run_driver(MAKE.replace("LIFETIME", "None"))
    eventually(lambda: placement_group_table()[identity]["state"] == "REMOVED")
    eventually(lambda: free_cpus() == 4)


def test_a_detached_group_outlives_the_job_that_made_it(run_driver, eventually):
    (identity,) = run_driver(MAKE.replace("LIFETIME", "'detached'"))
    state, found = run_driver(
        """
        from ray.util.placement_group import *
        group = get_placement_group("theirs")
        print("answer:", placement_group_table(group)["state"], group.id.hex())
        remove_placement_group(group)
        """
    )
    assert (state, found) == ("CREATED", identity)
    eventually(lambda: placement_group_table()[identity]["state"] == "REMOVED")


def test_a_group_made_by_a_task_lives_as_long_as_the_job(eventually):
    @ray.remote
    def make():
        group = placement_group([{"CPU": 1}])
        ray.get(group.ready())
        return group

    group = ray.get(make.remote(), timeout=60)
    assert placement_group_table(group)["state"] == "CREATED"
    eventually(lambda: free_cpus() == 3)
    remove_placement_group(group)
