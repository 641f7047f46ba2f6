"""Wrong use is one clear error that names the thing, the rule and the next step."""

from __future__ import annotations

import os
import threading
import time

import pytest
from support.clusters import T


def says(error: BaseException, *words: str) -> None:
    text = str(error)
    missing = [word for word in words if word not in text]
    assert not missing, f"{missing} not in: {text}"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"num_cpu": 1}, ValueError, ["num_cpu", "num_cpus"]),
        ({"num_cpus": -1}, ValueError, ["num_cpus", "-1"]),
        ({"num_cpus": "two"}, (TypeError, ValueError), ["num_cpus"]),
        ({"num_gpus": 1.5}, ValueError, ["num_gpus", "1.5"]),
        ({"resources": {"CPU": 1}}, ValueError, ["CPU", "num_cpus"]),
        ({"resources": [1]}, (TypeError, ValueError), ["resources"]),
        ({"max_retries": -2}, ValueError, ["max_retries", "-1"]),
        ({"num_returns": -1}, ValueError, ["num_returns"]),
        ({"max_restarts": 1}, ValueError, ["max_restarts"]),
        ({"name": 5}, (TypeError, ValueError), ["name"]),
    ],
    ids=str,
)
def test_options_of_tasks(options, error, words):
    import rayjup as ray

    def f():
        pass

    with pytest.raises(error) as caught:
        ray.remote(**options)(f)
    says(caught.value, *words)
    with pytest.raises(error):
        ray.remote(f).options(**options)
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"max_retries": 1}, ValueError, ["max_retries"]),
        ({"max_concurrency": 0}, ValueError, ["max_concurrency"]),
        ({"max_restarts": -5}, ValueError, ["max_restarts", "-1"]),
        ({"lifetime": "forever"}, ValueError, ["lifetime", "detached"]),
        ({"name": ""}, (TypeError, ValueError), ["name"]),
        ({"num_returns": 2}, ValueError, ["num_returns"]),
    ],
    ids=str,
)
def test_options_of_actors(options, error, words):
    import rayjup as ray

    class A:
        pass

    with pytest.raises(error) as caught:
        ray.remote(**options)(A)
    says(caught.value, *words)


def test_remote_things_are_not_called_directly():
    import rayjup as ray

    @ray.remote
    def work():
        pass

    @ray.remote
    class Actor:
        pass

    with pytest.raises(TypeError) as caught:
        work()
    says(caught.value, "work", "cannot be called directly", "work.remote(")
    with pytest.raises(TypeError) as caught:
        Actor()
    says(caught.value, "Actor", "Actor.remote(")
    for bad in (5, "text", [work]):
        with pytest.raises(TypeError, match=r"@ray\.remote"):
            ray.remote(bad)
    with pytest.raises(TypeError, match="once"):
        ray.remote(work)
    assert not ray.is_initialized()


# -- connecting


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"num_cpu": 2}, RuntimeError, ["num_cpu", "num_cpus"]),
        ({"num_cpus": -1}, ValueError, ["num_cpus", "negative"]),
        ({"num_cpus": "2"}, TypeError, ["num_cpus", "number", "str"]),
        ({"object_store_memory": True}, TypeError, ["object_store_memory", "number"]),
        ({"resources": {"GPU": 1}}, ValueError, ["GPU", "num_gpus"]),
        ({"resources": {"a": -1}}, ValueError, ["a", "-1"]),
        ({"resources": {"a": "x"}}, (TypeError, ValueError), ["a"]),
        ({"resources": ["a"]}, (TypeError, ValueError), ["resources"]),
        ({"address": "no-such-cluster"}, ConnectionError, ["no-such-cluster", "running", "auto"]),
        ({"address": "auto"}, ConnectionError, ["running cluster", "rayjup.init()"]),
        (
            {"address": "auto", "num_cpus": 1},
            ValueError,
            ["num_cpus", "a cluster that runs already", "Leave them out"],
        ),
        ({"address": "tcp://127.0.0.1:9"}, ConnectionError, ["tcp://127.0.0.1:9"]),
        ({"address": "127.0.0.1:9"}, ConnectionError, ["127.0.0.1:9"]),
        ({"address": 5}, (TypeError, ValueError), ["address"]),
        ({"namespace": 5}, (TypeError, ValueError), ["namespace"]),
        ({"runtime_env": "x"}, (TypeError, ValueError), ["runtime_env"]),
    ],
    ids=str,
)
def test_init(own, options, error, words):
    started = time.monotonic()
    with pytest.raises(error) as caught:
        own.init(**options)
    says(caught.value, *words)
    assert not own.is_initialized()
    assert time.monotonic() - started < 28, "a cluster that runs is waited for, for thirty seconds"


def test_init_twice(own):
    own.init(num_cpus=1)
    with pytest.raises(RuntimeError) as caught:
        own.init(num_cpus=1)
    says(caught.value, "ray.init", "ignore_reinit_error=True", "ray.shutdown()")
    assert own.get(own.put(1)) == 1


def test_questions_without_a_connection(own):
    for ask in (own.nodes, own.cluster_resources, own.available_resources):
        with pytest.raises(own.exceptions.RaySystemError) as caught:
            ask()
        says(caught.value, "not connected", "ray.init()")
    assert not own.is_initialized()


# -- using


def test_get_put_wait_cancel_kill_of_the_wrong_things(ray):
    ref = ray.put(1)

    @ray.remote
    def f(x):
        return x

    cases = [
        (lambda: ray.get(5), ValueError, ["int", "ObjectRef"]),
        (lambda: ray.get([ref, 5]), ValueError, ["int", "ObjectRef"]),
        (lambda: ray.get({"a": ref}), ValueError, ["dict", "ObjectRef"]),
        (lambda: ray.put(ref), TypeError, ["put", "ObjectRef", "list"]),
        (lambda: ray.wait(ref), TypeError, ["list", "ObjectRef"]),
        (lambda: ray.wait([5]), TypeError, ["int"]),
        (lambda: ray.wait([ref, ref]), ValueError, ["unique"]),
        (lambda: ray.wait([ref], num_returns=2), ValueError, ["num_returns", "1"]),
        (lambda: ray.wait([ref], num_returns=0), ValueError, ["0"]),
        (lambda: ray.wait([ref], timeout=-1), ValueError, ["timeout", "-1"]),
        (lambda: ray.cancel(5), TypeError, ["cancel", "int"]),
        (lambda: ray.kill(ref), ValueError, ["kill", "ray.cancel()"]),
        (lambda: ray.get_actor("nobody"), ValueError, ["nobody", "namespace"]),
        (lambda: ray.get_actor(""), ValueError, ["get_actor"]),
        (lambda: f.remote(), TypeError, ["x"]),
        (lambda: f.remote(1, 2), TypeError, ["too many"]),
        (lambda: f.remote(1, y=2), TypeError, ["y"]),
    ]
    for do, error, words in cases:
        with pytest.raises(error) as caught:
            do()
        says(caught.value, *words)


def test_arguments_that_cannot_travel(ray):
    @ray.remote
    def takes(a, b=None):
        return a

    @ray.remote(num_cpus=0)
    class Actor:
        def takes(self, a):
            return a

    lock = threading.Lock()
    with pytest.raises(TypeError) as caught:
        takes.remote(1, lock)
    says(caught.value, "argument 1", "lock", "takes()", "pass data")
    with pytest.raises(TypeError) as caught:
        takes.remote(1, b=lock)
    says(caught.value, "b", "lock", "takes()")
    with pytest.raises(TypeError) as caught:
        ray.put({"lock": lock})
    says(caught.value, "dict", "put()")
    actor = Actor.remote()
    with pytest.raises(TypeError) as caught:
        actor.takes.remote(lock)
    says(caught.value, "Actor.takes()", "lock")
    assert ray.get(actor.takes.remote(1), timeout=T) == 1


def test_results_that_cannot_travel(ray):
    @ray.remote
    def makes():
        return threading.Lock()

    @ray.remote(num_cpus=0)
    class Actor:
        def makes(self):
            return threading.Lock()

        def fine(self):
            return 1

    with pytest.raises(TypeError) as caught:
        ray.get(makes.remote(), timeout=T)
    says(caught.value, "lock", "makes")
    actor = Actor.remote()
    with pytest.raises(TypeError) as caught:
        ray.get(actor.makes.remote(), timeout=T)
    says(caught.value, "lock", "makes")
    assert ray.get(actor.fine.remote(), timeout=T) == 1


def test_functions_and_classes_that_cannot_travel(ray):
    lock = threading.Lock()

    @ray.remote
    def uses():
        return lock

    @ray.remote
    class Uses:
        held = lock

    with pytest.raises(TypeError) as caught:
        uses.remote()
    says(caught.value, "uses", "lock", "cannot")
    with pytest.raises(TypeError) as caught:
        Uses.remote()
    says(caught.value, "Uses", "__init__")


def test_the_wrong_number_of_results(ray):
    @ray.remote(num_returns=2)
    def three():
        return 1, 2, 3

    @ray.remote(num_returns=2)
    def one():
        return 1

    for function, got in ((three, "3 values"), (one, "int")):
        with pytest.raises(ValueError) as caught:
            ray.get(function.remote()[0], timeout=T)
        says(caught.value, "num_returns=2", got)


def test_actors_used_wrongly(ray):
    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self, a):
            pass

        def f(self, x):
            return x

    with pytest.raises(TypeError, match="a"):
        Actor.remote()
    actor = Actor.remote(1)
    with pytest.raises(AttributeError) as caught:
        actor.g
    says(caught.value, "Actor", "'g'", "f")
    with pytest.raises(TypeError) as caught:
        actor.f(1)
    says(caught.value, "f", "f.remote(")
    with pytest.raises(TypeError) as caught:
        actor.f.remote()
    says(caught.value, "Actor.f()", "x")
    with pytest.raises(TypeError):
        type("Sub", (Actor,), {})
    assert ray.get(actor.f.remote(1), timeout=T) == 1


def test_a_forked_child_is_told_not_to_use_the_connection(ray):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            try:
                ray.put(1)
                ray.nodes()
                text = "nothing was raised"
            except ray.exceptions.RaySystemError as error:
                text = str(error)
            os.write(write, text.encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    assert "forked" in text and "spawn" in text
    assert ray.get(ray.put(2)) == 2
