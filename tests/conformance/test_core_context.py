"""What a program can ask about the cluster and about where it runs."""

import itertools
import os

import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_nodes_describe_the_cluster():
    nodes = ray.nodes()
    assert len(nodes) == 1
    node = nodes[0]
    assert node["Alive"] is True
    assert node["Resources"]["CPU"] == 4
    assert {"NodeID", "NodeManagerAddress", "NodeManagerHostname", "Resources", "Alive", "Labels"} <= set(
        node
    )


def test_total_resources_do_not_change_with_load_and_available_ones_do(gate, eventually):
    @ray.remote(num_cpus=3)
    def hold(wait):
        wait()

    ref = hold.remote(gate.wait)
    eventually(lambda: ray.available_resources().get("CPU") == 1)
    assert ray.cluster_resources()["CPU"] == 4
    gate.open()
    ray.get(ref)
    eventually(lambda: ray.available_resources().get("CPU") == 4)


def test_the_driver_knows_its_job_and_node():
    context = ray.get_runtime_context()
    assert context.get_node_id() == ray.nodes()[0]["NodeID"]
    assert int(context.get_job_id(), 16) > 0
    assert context.get_actor_id() is None
    assert context.get_task_id() is None
    assert len(context.get_worker_id()) == 56
    assert isinstance(context.namespace, str)


def test_a_task_knows_itself():
    @ray.remote(num_cpus=2, name="a name")
    def ask():
        context = ray.get_runtime_context()
        return {
            "task": context.get_task_id(),
            "name": context.get_task_name(),
            "function": context.get_task_function_name(),
            "actor": context.get_actor_id(),
            "job": context.get_job_id(),
            "node": context.get_node_id(),
            "worker": context.get_worker_id(),
            "resources": context.get_assigned_resources(),
        }

    ref = ask.remote()
    answer = ray.get(ref)
    driver = ray.get_runtime_context()
    assert answer["task"] == ref.task_id().hex()
    assert answer["name"] == "a name"
    assert answer["function"].endswith("ask")
    assert answer["actor"] is None
    assert answer["job"] == driver.get_job_id()
    assert answer["node"] == driver.get_node_id()
    assert answer["worker"] != driver.get_worker_id()
    assert answer["resources"]["CPU"] == 2


def test_an_actor_knows_itself():
    @ray.remote(num_cpus=1)
    class Asks:
        def ask(self):
            context = ray.get_runtime_context()
            return context.get_actor_id(), context.get_actor_name(), context.get_assigned_resources()

    actor = Asks.options(name="asks").remote()
    actor_id, name, resources = ray.get(actor.ask.remote())
    assert len(actor_id) == 32
    assert name == "asks"
    assert resources["CPU"] == 1


def test_an_unnamed_actor_has_no_name():
    @ray.remote
    class Asks:
        def ask(self):
            return ray.get_runtime_context().get_actor_name()

    assert not ray.get(Asks.remote().ask.remote())


def test_a_first_run_is_no_reconstruction():
    @ray.remote
    class Asks:
        def ask(self):
            return ray.get_runtime_context().was_current_actor_reconstructed

    assert ray.get(Asks.remote().ask.remote()) is False


def test_no_gpus_without_asking():
    @ray.remote
    def ask():
        return ray.get_gpu_ids(), ray.get_runtime_context().get_accelerator_ids().get("GPU", [])

    assert ray.get(ask.remote()) == ([], [])


def test_ids_of_objects_and_tasks_belong_together():
    @ray.remote(num_returns=2)
    def two():
        return 1, 2

    first, second = two.remote()
    assert first.task_id() == second.task_id()
    assert first.job_id().hex() == ray.get_runtime_context().get_job_id()
    assert len(first.binary()) == 28


def test_environment_of_the_driver_reaches_no_task_by_accident():
    @ray.remote
    def read():
        return os.environ.get("SET_AFTER_INIT")

    os.environ["SET_AFTER_INIT"] = "1"
    try:
        assert ray.get(read.remote()) is None
    finally:
        del os.environ["SET_AFTER_INIT"]


def test_tasks_run_in_the_drivers_directory():
    @ray.remote
    def where():
        return os.getcwd()

    assert os.path.realpath(ray.get(where.remote())) == os.path.realpath(os.getcwd())


def test_custom_resources_limit_what_runs_at_once():
    ray.shutdown()
    ray.init(num_cpus=4, resources={"seat": 1})

    @ray.remote(num_cpus=0, resources={"seat": 1})
    def sit():
        import time

        start = time.monotonic()
        time.sleep(0.05)
        return start, time.monotonic()

    spans = sorted(ray.get([sit.remote() for _ in range(3)]))
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    ray.shutdown()


def test_what_no_node_can_ever_give_waits():
    @ray.remote(resources={"unicorn": 1})
    def never():
        return 1

    ref = never.remote()
    assert ray.wait([ref], timeout=0.2)[0] == []
    ray.cancel(ref)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(ref, timeout=60)
