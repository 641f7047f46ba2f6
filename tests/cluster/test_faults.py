"""kill -9 of everything: nothing hangs, the right exception is raised, nothing is left behind.

That nothing is left is checked by the fixtures of the whole suite after each test: processes,
sockets, /dev/shm entries and session directories, within five seconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from support import clusters
from support.clusters import T, poll


@pytest.fixture
def ray(own):
    own.init(num_cpus=2)
    return own


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # an executor may end between being listed and this
        os.kill(pid, signal.SIGKILL)


def works(ray) -> bool:
    @ray.remote
    def double(x):
        return 2 * x

    return ray.get([double.remote(i) for i in range(20)], timeout=T) == [2 * i for i in range(20)]


def sleeper(ray, tmp_path, **options):
    """A task that writes its pid and sleeps; its ref and the pid once it runs."""
    path = tmp_path / f"pid{time.monotonic_ns()}"

    @ray.remote(**options) if options else ray.remote
    def sleep(path):
        with open(path + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(path + ".new", path)
        time.sleep(60)

    ref = sleep.remote(str(path))
    poll(path.exists)
    return ref, int(path.read_text())


# -- executors


def test_an_idle_executor(ray):
    assert works(ray)
    for pid in clusters.executor_pids():
        kill(pid)
    assert works(ray)
    poll(lambda: ray.available_resources().get("CPU") == 2)


def test_a_running_executor_without_retries(ray, tmp_path):
    ref, pid = sleeper(ray, tmp_path, max_retries=0)
    kill(pid)
    with pytest.raises(ray.exceptions.WorkerCrashedError, match="max_retries"):
        ray.get(ref, timeout=T)
    assert works(ray)
    poll(lambda: ray.available_resources().get("CPU") == 2)


def test_a_running_executor_with_retries(ray, tmp_path):
    marks = tmp_path / "marks"

    @ray.remote(max_retries=3)
    def dies_twice(path):
        with open(path, "ab", buffering=0) as file:
            file.write(b".")
            count = file.tell()
        if count <= 2:
            os.kill(os.getpid(), 9)
        return count

    assert ray.get(dies_twice.remote(str(marks)), timeout=T) == 3


def test_retries_end(ray):
    @ray.remote(max_retries=2)
    def dies():
        os.kill(os.getpid(), 9)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(dies.remote(), timeout=T)
    assert works(ray)


def test_while_many_calls_are_queued(ray):
    @ray.remote
    def work(i):
        return i

    ray.get([work.remote(i) for i in range(500)], timeout=T)
    refs = [work.remote(i) for i in range(3000)]
    for pid in clusters.executor_pids():
        kill(pid)
    assert ray.get(refs, timeout=T) == list(range(3000))


def test_while_it_sends_large_results(ray, tmp_path):
    @ray.remote(max_retries=-1)
    def make(i):
        return np.full(3_000_000, i, np.uint8)

    @ray.remote(max_retries=-1)
    def text(i):
        return "x" * 90_000 + str(i)

    refs = [make.remote(i) for i in range(40)] + [text.remote(i) for i in range(40)]
    for _ in range(5):
        time.sleep(0.03)
        pids = clusters.executor_pids()
        if pids:
            kill(pids[0])
    values = ray.get(refs, timeout=T)
    assert [int(v[0]) for v in values[:40]] == list(range(40))
    assert [int(v[90_000:]) for v in values[40:]] == list(range(40))
    del values, refs
    clusters.check_freed(timeout_s=20.0)


def test_a_parent_whose_child_runs(ray, tmp_path):
    """The child goes with its parent: nobody waits for it, and it would occupy a CPU."""
    path = tmp_path / "child"

    @ray.remote(max_retries=0)
    def child(path):
        with open(path, "w") as file:
            file.write(str(os.getpid()))
        time.sleep(60)

    @ray.remote(max_retries=0)
    def parent(path):
        with open(path + ".parent", "w") as file:
            file.write(str(os.getpid()))
        ray.get(child.remote(path))

    ref = parent.remote(str(path))
    poll(lambda: path.exists() and path.read_text())
    kill(int(Path(str(path) + ".parent").read_text()))
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(ref, timeout=T)
    poll(lambda: not os.path.exists(f"/proc/{path.read_text()}"), 20.0)
    poll(lambda: ray.available_resources().get("CPU") == 2)
    assert works(ray)


# -- actors


def counter_class(ray, **options):
    @ray.remote(num_cpus=0, **options)
    class Counter:
        def __init__(self):
            self.n = 0

        def add(self):
            self.n += 1
            return self.n

        def pid(self):
            return os.getpid()

        def slow(self, path):
            with open(path, "ab", buffering=0) as file:
                file.write(b".")
                count = file.tell()
            if count == 1:
                time.sleep(60)
            return count

    return Counter


def test_an_actor_without_restarts(ray, tmp_path):
    actor = counter_class(ray).remote()
    pid = ray.get(actor.pid.remote(), timeout=T)
    running = actor.slow.remote(str(tmp_path / "x"))
    poll((tmp_path / "x").exists)
    kill(pid)
    for ref in (running, actor.add.remote()):
        with pytest.raises(ray.exceptions.ActorDiedError) as caught:
            ray.get(ref, timeout=T)
        assert "Counter" in str(caught.value) and "signal 9" in str(caught.value)


def test_an_actor_with_restarts(ray):
    actor = counter_class(ray, max_restarts=2).remote()
    for _ in range(2):
        assert ray.get([actor.add.remote() for _ in range(3)], timeout=T) == [1, 2, 3]
        pid = ray.get(actor.pid.remote(), timeout=T)
        kill(pid)

        def again(pid=pid):
            try:
                return ray.get(actor.pid.remote(), timeout=T) != pid
            except ray.exceptions.ActorUnavailableError:
                return False

        poll(again)
    kill(ray.get(actor.pid.remote(), timeout=T))

    def dead():
        try:
            ray.get(actor.add.remote(), timeout=T)
        except ray.exceptions.ActorDiedError:
            return True
        except ray.exceptions.ActorUnavailableError:
            return False
        return False

    poll(dead)


def test_an_actor_call_in_progress_with_task_retries(ray, tmp_path):
    path = tmp_path / "calls"
    actor = counter_class(ray, max_restarts=1, max_task_retries=1).remote()
    pid = ray.get(actor.pid.remote(), timeout=T)
    ref = actor.slow.remote(str(path))
    behind = actor.add.remote()
    poll(lambda: path.exists() and path.read_bytes() == b".")  # it counts as called
    kill(pid)
    assert ray.get(ref, timeout=T) == 2
    assert ray.get(behind, timeout=T) == 1


def test_an_actor_call_in_progress_without_task_retries(ray, tmp_path):
    path = tmp_path / "calls"
    actor = counter_class(ray, max_restarts=1).remote()
    pid = ray.get(actor.pid.remote(), timeout=T)
    ref = actor.slow.remote(str(path))
    poll(path.exists)
    kill(pid)
    with pytest.raises(ray.exceptions.ActorUnavailableError, match="max_task_retries"):
        ray.get(ref, timeout=T)
    assert ray.get(actor.add.remote(), timeout=T) == 1


def test_an_actor_in_its_constructor(ray, tmp_path):
    path = tmp_path / "pid"

    @ray.remote(num_cpus=0)
    class Slow:
        def __init__(self, path):
            with open(path + ".new", "w") as file:
                file.write(str(os.getpid()))
            os.rename(path + ".new", path)
            time.sleep(60)

        def ping(self):
            return 1

    actor = Slow.remote(str(path))
    ref = actor.ping.remote()
    poll(path.exists)
    kill(int(path.read_text()))
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(ref, timeout=T)


# -- the processes of the cluster


def test_the_zygote(ray, tmp_path):
    ref, _ = sleeper(ray, tmp_path, max_retries=0)
    actor = counter_class(ray).remote()
    assert ray.get(actor.add.remote(), timeout=T) == 1
    kill(clusters.zygote_pid())
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(ref, timeout=T)
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(actor.add.remote(), timeout=T)
    assert works(ray)
    poll(lambda: ray.available_resources().get("CPU") == 2)


def test_the_zygote_while_executors_are_asked_for(ray):
    @ray.remote(num_cpus=0.1, max_retries=-1)
    def work(i):
        time.sleep(0.02)
        return i

    @ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    class Echo:
        def echo(self, x):
            return x

    for _ in range(3):
        refs = [work.remote(i) for i in range(60)]
        actors = [Echo.remote() for _ in range(5)]
        refs += [actor.echo.remote(i) for i, actor in enumerate(actors)]
        time.sleep(0.02)
        kill(clusters.zygote_pid())
        assert ray.get(refs, timeout=T) == [*range(60), *range(5)]
        poll(lambda: clusters.node_children() == 1)
    del actors
    poll(lambda: ray.available_resources().get("CPU") == 2)


def test_a_zygote_that_is_still_starting(ray):
    """That it was killed says nothing about the next one: calls wait for that, and do not fail."""
    assert works(ray)
    first = clusters.zygote_pid()
    kill(first)
    refs = [ray.remote(max_retries=-1)(lambda i: i).remote(i) for i in range(3)]
    poll(lambda: clusters.zygote_pid() != first)
    kill(clusters.zygote_pid())
    assert ray.get(refs, timeout=T) == [0, 1, 2]
    poll(lambda: ray.available_resources().get("CPU") == 2)


@pytest.mark.parametrize("with_head", [False, True])
def test_the_node_and_the_head(ray, tmp_path, with_head):
    from rayjup.core import session

    ref, _ = sleeper(ray, tmp_path)
    stored = ray.put(np.ones(500_000))
    actor = counter_class(ray).remote()
    assert ray.get(actor.add.remote(), timeout=T) == 1
    if with_head:  # alone it would be started again
        os.kill(session.current().cluster.head_pid, signal.SIGKILL)
    kill(clusters.node_pid())
    with pytest.raises(ray.exceptions.RayError) as caught:
        ray.get(ref, timeout=T)
    assert "connection to the cluster was lost" in str(caught.value) and "rayjup.init()" in str(caught.value)
    for attempt in (
        lambda: ray.get(actor.add.remote(), timeout=T),
        lambda: works(ray),
        lambda: ray.cluster_resources(),
        lambda: counter_class(ray).remote().add.remote() and ray.nodes(),
    ):
        with pytest.raises(ray.exceptions.RayError):
            attempt()
    assert ray.get(stored, timeout=T).sum() == 500_000, "what is mapped here stays readable"
    ray.shutdown()
    ray.init(num_cpus=1)
    assert works(ray)


# -- drivers


DRIVER = """
    import os, sys, time
    import numpy as np
    import rayjup as ray

    ray.init(**{options})

    @ray.remote
    def sleep():
        time.sleep(60)

    @ray.remote
    class Actor:
        def ping(self):
            return os.getpid()

    actor = Actor.remote()
    kept = [ray.put(np.ones(500_000)), sleep.remote()]
    print(ray.get(actor.ping.remote()), flush=True)
    sys.stdin.read()
"""


def start_driver(text: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text).replace("{options}", repr(options))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def test_a_driver_with_a_cluster_of_its_own():
    with start_driver(DRIVER, num_cpus=2) as driver:
        assert int(driver.stdout.readline()) > 0
        driver.kill()
    # that its cluster ends with it is seen by the leak check


def test_a_driver_of_a_shared_cluster(own):
    from rayjup.cluster import manager

    cluster = manager.start("shared", num_cpus=2)
    try:
        own.init(address="shared")
        with start_driver(DRIVER, address="shared") as driver:
            actor_pid = int(driver.stdout.readline())
            poll(lambda: own.available_resources().get("CPU", 0) == 1)  # its task holds the other
            driver.kill()
        poll(lambda: own.available_resources().get("CPU") == 2, 20.0)
        poll(lambda: not os.path.exists(f"/proc/{actor_pid}"), 20.0)
        clusters.check_freed(timeout_s=20.0)
        assert works(own)
        own.shutdown()
    finally:
        manager.stop(cluster)


def test_a_driver_that_ends_by_itself_without_shutdown():
    with start_driver(DRIVER.replace("sys.stdin.read()", "sys.exit(3)"), num_cpus=2) as driver:
        driver.stdout.readline()
        assert driver.wait(60) == 3


def test_a_driver_that_ends_by_an_exception():
    text = DRIVER.replace("sys.stdin.read()", "raise ValueError('the end')")
    with start_driver(text, num_cpus=2) as driver:
        driver.stdout.readline()
        assert driver.wait(60) == 1


ARMED = """
    import os, signal, sys, threading, time

    armed = False

    def on_interrupt(*_):
        global armed
        if armed:
            armed = False
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_interrupt)
"""
INTERRUPTED = (
    ARMED
    + """
    import rayjup as ray

    ray.init(num_cpus=2)

    @ray.remote
    def slow():
        time.sleep(0.4)
        return 1

    @ray.remote
    def fast(x):
        return x

    stop = threading.Event()
    errors = []

    def load():
        i = 0
        while not stop.is_set():
            try:
                i += 1
                assert ray.get([fast.remote(j) for j in range(20)], timeout=40) == list(range(20))
            except BaseException as error:
                errors.append(repr(error))
                return

    threads = [threading.Thread(target=load) for _ in range(2)]
    for t in threads:
        t.start()
    caught = 0
    for i in range(20):
        timer = threading.Timer(0.01 + 0.002 * i, os.kill, (os.getpid(), signal.SIGINT))
        refs = [slow.options(num_cpus=0.1).remote() for _ in range(2)]
        try:
            armed = True
            timer.start()
            ray.get(refs, timeout=40)
            while armed:  # the timer may be late
                time.sleep(0.01)
        except KeyboardInterrupt:
            caught += 1
        timer.join()
        assert ray.get(fast.remote(i), timeout=40) == i
    stop.set()
    for t in threads:
        t.join(40)
    assert not errors, errors
    assert not any(t.is_alive() for t in threads)
    print(caught, flush=True)
"""
)


def test_twenty_interrupts_in_get_under_load():
    with start_driver(INTERRUPTED) as driver:
        out, _ = driver.communicate(timeout=100)
    assert driver.returncode == 0 and int(out) == 20


def test_an_interrupt_while_calls_are_submitted_leaves_a_usable_connection():
    text = """
    import rayjup as ray

    ray.init(num_cpus=2)

    @ray.remote
    def fast(x):
        return x

    caught = 0
    for i in range(20):
        timer = threading.Timer(0.005 + 0.001 * i, os.kill, (os.getpid(), signal.SIGINT))
        try:
            armed = True
            timer.start()
            while armed:  # an interrupt that hits what Python calls by itself is raised to nobody
                ray.get([fast.remote(j) for j in range(50)])
        except KeyboardInterrupt:
            caught += 1
        timer.join()
        assert ray.get([fast.remote(j) for j in range(50)], timeout=20) == list(range(50))
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU") != 2:
        assert time.monotonic() < deadline, ray.available_resources()
        time.sleep(0.02)
    print(caught, flush=True)
    """
    with start_driver(ARMED + text) as driver:
        out, _ = driver.communicate(timeout=100)
    assert driver.returncode == 0 and int(out) >= 18
