"""Children that a connected process forks."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest

T = 30
SIZE = 10_000_000


def in_child(work):
    """What ``work()`` returns, or the text of what it raises, in a forked child; and how that ended."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def run():
        try:
            send.send(work())
        except BaseException as error:  # noqa: BLE001 - the parent reads it
            send.send(f"{type(error).__name__}: {error}")

    child = context.Process(target=run)
    child.start()
    assert receive.poll(T), "the child does not answer"
    answer = receive.recv()
    child.join(T)
    return answer, child.exitcode


@pytest.fixture
def things(ray):
    @ray.remote
    def echo(x):
        return x

    @ray.remote
    class Counter:
        def __init__(self):
            self.n = 0

        def add(self):
            self.n += 1
            return self.n

    counter = Counter.remote()
    assert ray.get([echo.remote(1), counter.add.remote()], timeout=T) == [1, 1]
    return echo, counter


def test_whatever_a_child_tries_is_refused(ray, things):
    echo, counter = things
    ref = ray.put(b"x" * SIZE)
    tries = [
        lambda: echo.remote(1),
        lambda: echo.options(num_cpus=2).remote(1),
        lambda: counter.add.remote(),
        lambda: ray.get(ref),
        lambda: ray.put(1),
        lambda: ray.wait([ref]),
        lambda: ray.nodes(),
        lambda: ray.kill(counter),
        lambda: ray.get_actor("nobody"),
        lambda: ray.get_runtime_context().get_node_id(),
    ]

    def work():
        texts = []
        for attempt in tries:
            try:
                attempt()
                texts.append("nothing was raised")
            except ray.exceptions.RaySystemError as error:
                texts.append(str(error))
        return texts, ray.is_initialized()

    (texts, initialized), code = in_child(work)
    assert code == 0 and not initialized
    assert all("forked" in text and "rayjup.init()" in text for text in texts), texts
    assert ray.get([echo.remote(2), counter.add.remote()], timeout=T) == [2, 2]
    assert len(ray.get(ref, timeout=T)) == SIZE


def test_a_child_that_ends_takes_nothing_with_it(ray, things):
    echo, counter = things
    refs = [ray.put(b"x" * SIZE)]

    def work():
        refs.clear()  # the parent's object stays
        return "done"

    assert in_child(work) == ("done", 0)
    assert len(ray.get(refs[0], timeout=T)) == SIZE
    pid = os.fork()
    if pid == 0:
        del counter, echo, things
        ray.shutdown()
        os._exit(0)
    os.waitpid(pid, 0)
    assert ray.get(counter.add.remote(), timeout=T) == 2


def test_a_child_may_join_on_its_own(ray, things):
    echo, _ = things
    name = ray.get_runtime_context().gcs_address

    def work():
        with ray.init(address=name):
            return ray.get([echo.remote(i) for i in range(50)], timeout=T)

    assert in_child(work) == (list(range(50)), 0)
    assert ray.get(echo.remote(3), timeout=T) == 3


def test_refs_that_the_parent_waits_for_are_errors_in_the_child(ray, tmp_path):
    @ray.remote
    def slow():
        while not (tmp_path / "go").exists():
            time.sleep(0.01)
        return "slow"

    ref = slow.remote()
    name = ray.get_runtime_context().gcs_address

    def work():
        with ray.init(address=name):
            return ray.get(ref, timeout=20)

    text, code = in_child(work)
    assert "RaySystemError" in text and "forked" in text and code == 0
    (tmp_path / "go").touch()
    assert ray.get(ref, timeout=T) == "slow"


def test_children_of_tasks(ray):
    @ray.remote
    def forks():
        def work():
            return ray.put(1)

        return in_child(work), ray.get(ray.put(2))

    (text, code), value = ray.get(forks.remote(), timeout=T)
    assert "forked" in text
    assert (code, value) == (0, 2)


def test_forks_while_threads_submit(ray, things):
    import threading

    echo, _ = things
    stop = threading.Event()
    errors = []

    def load():
        while not stop.is_set():
            try:
                assert ray.get([echo.remote(i) for i in range(20)], timeout=T) == list(range(20))
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                errors.append(error)
                return

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    answers = [in_child(lambda: "RaySystemError" if not ray.is_initialized() else "") for _ in range(15)]
    stop.set()
    for thread in threads:
        thread.join(T)
    assert not errors
    assert answers == [("RaySystemError", 0)] * 15
