"""init, shutdown, is_initialized: each test has a cluster of its own."""

import pytest
import ray


@pytest.fixture(autouse=True)
def disconnected():
    assert not ray.is_initialized()
    yield
    ray.shutdown()


def test_a_session_begins_with_init_and_ends_with_shutdown():
    ray.init(num_cpus=2)
    assert ray.is_initialized()
    assert ray.cluster_resources()["CPU"] == 2
    ray.shutdown()
    assert not ray.is_initialized()


def test_shutdown_without_a_session_does_nothing():
    ray.shutdown()
    ray.shutdown()
    assert not ray.is_initialized()


def test_a_second_session_is_new():
    ray.init(num_cpus=1, namespace="first")
    first = ray.get_runtime_context().get_job_id(), ray.nodes()[0]["NodeID"]
    ray.shutdown()
    ray.init(num_cpus=2)
    assert ray.nodes()[0]["NodeID"] != first[1]
    assert ray.cluster_resources()["CPU"] == 2

    @ray.remote
    def one():
        return 1

    assert ray.get(one.remote()) == 1


def test_functions_defined_before_init_run_in_every_session():
    @ray.remote
    def double(x):
        return 2 * x

    for _ in range(2):
        ray.init(num_cpus=1)
        assert ray.get(double.remote(4)) == 8
        ray.shutdown()


def test_init_twice_is_refused_unless_told_to_ignore_it():
    ray.init(num_cpus=1)
    with pytest.raises(RuntimeError, match="ignore_reinit_error"):
        ray.init(num_cpus=1)
    assert ray.init(num_cpus=1, ignore_reinit_error=True) is not None
    assert ray.is_initialized()


def test_init_is_a_context_manager():
    with ray.init(num_cpus=1, namespace="place") as context:
        assert ray.is_initialized()
        assert context.address_info["node_id"] == ray.nodes()[0]["NodeID"]
        assert ray.get_runtime_context().namespace == "place"
    assert not ray.is_initialized()


def test_declared_resources_are_those_of_the_cluster():
    ray.init(num_cpus=3, num_gpus=2, resources={"license": 3})
    total = ray.cluster_resources()
    assert (total["CPU"], total["GPU"], total["license"]) == (3, 2, 3)
    available = ray.available_resources()
    assert (available["CPU"], available["GPU"], available["license"]) == (3, 2, 3)


def test_first_use_starts_a_session():
    @ray.remote(num_cpus=0)
    def one():
        return 1

    assert ray.get(one.remote()) == 1
    assert ray.is_initialized()


def test_questions_about_the_cluster_need_a_session():
    for ask in (ray.nodes, ray.cluster_resources, ray.available_resources):
        with pytest.raises(ray.exceptions.RaySystemError):
            ask()
    assert not ray.is_initialized()


def test_wrong_arguments_leave_no_session():
    with pytest.raises(RuntimeError, match="no_such_argument"):
        ray.init(num_cpus=1, no_such_argument=1)
    assert not ray.is_initialized()
    with pytest.raises((ValueError, TypeError, AssertionError)):
        ray.init(resources={"CPU": 2})
    assert not ray.is_initialized()
