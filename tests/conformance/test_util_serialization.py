"""Serializers of users, and finding what cannot be serialized."""

import io
import threading

import pytest


@pytest.fixture
def guarded(ray_cluster):
    class Guarded:
        def __init__(self, x):
            self.x = x
            self.lock = threading.Lock()

    ray_cluster.util.register_serializer(
        Guarded, serializer=lambda value: value.x, deserializer=lambda x: Guarded(x)
    )
    yield Guarded
    ray_cluster.util.deregister_serializer(Guarded)


def test_values_go_through_the_serializer(ray_cluster, guarded):
    ray = ray_cluster
    assert ray.get(ray.put(guarded(3))).x == 3
    assert [value.x for value in ray.get(ray.put([guarded(1), guarded(2)]))] == [1, 2]


def test_arguments_of_tasks_and_actors_too(ray_cluster, guarded):
    ray = ray_cluster

    @ray.remote
    def read(value):
        return value.x

    @ray.remote(num_cpus=0)
    class Reader:
        def read(self, value):
            return value.x

    assert ray.get(read.remote(guarded(4))) == 4
    reader = Reader.remote()
    assert ray.get(reader.read.remote(guarded(5))) == 5


def test_without_it_such_values_are_refused(ray_cluster):
    ray = ray_cluster

    class Guarded:
        def __init__(self, x):
            self.x = x
            self.lock = threading.Lock()

    ray.util.register_serializer(Guarded, serializer=lambda v: v.x, deserializer=Guarded)
    ray.get(ray.put(Guarded(1)))
    ray.util.deregister_serializer(Guarded)
    with pytest.raises(TypeError):
        ray.put(Guarded(1))


def test_what_can_be_serialized(ray_cluster):
    assert ray_cluster.util.inspect_serializability([1, 2], print_file=io.StringIO()) == (True, set())


def test_a_captured_lock_is_found(ray_cluster):
    lock = threading.Lock()

    def use():
        return lock

    out = io.StringIO()
    fine, failures = ray_cluster.util.inspect_serializability(use, name="use", print_file=out)
    assert not fine
    (failure,) = failures
    assert failure.obj is lock
    assert failure.parent is use
    assert failure.path == ("use", "lock")
    assert "lock" in out.getvalue()


def test_a_lock_in_an_object_is_found(ray_cluster):
    class Holder:
        def __init__(self):
            self.guard = threading.Lock()

    fine, failures = ray_cluster.util.inspect_serializability(Holder(), name="h", print_file=io.StringIO())
    assert not fine
    assert [failure.path[-1] for failure in failures] == ["guard"]
