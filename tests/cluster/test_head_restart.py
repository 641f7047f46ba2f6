"""The head is killed: calls go on, another head takes over, and what it knew is still there."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result
from support.clusters import T, node_pid, poll

from rayjup._version import __version__
from rayjup.cli.app import program
from rayjup.cluster import manager
from rayjup.cluster.descriptors import Descriptor, find, process_start_time
from rayjup.cluster.supervisor import Follower
from rayjup.observe import ClusterView

RESTART_S = 40.0  # three on a quiet machine


def descriptor() -> Descriptor:
    from rayjup.core import session

    current = session.current()
    assert current is not None
    return current.cluster


def kill_head(wait: bool = False) -> float:
    """Kill the head, and wait for the next one if asked to; when it was killed."""
    cluster = descriptor()
    pid, started = cluster.head()
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    if wait:
        poll(lambda: cluster.head() != (pid, started), RESTART_S)
    return began


@pytest.fixture
def ray(own: ModuleType) -> ModuleType:
    """rayjup, connected to a cluster of two CPUs of the test's own."""
    own.init(num_cpus=2)
    return own


@pytest.fixture
def listed(own: ModuleType) -> Iterator[Descriptor]:
    """A cluster that is nobody's, to be joined."""
    cluster = manager.start(num_cpus=2, owner_pid=os.getpid(), object_store_memory=256 << 20)
    yield cluster
    own.shutdown()
    manager.stop(cluster)


def counter(ray: ModuleType):
    @ray.remote
    class Counter:
        def __init__(self) -> None:
            self.n = 0

        def add(self) -> int:
            self.n += 1
            return self.n

        def pid(self) -> int:
            return os.getpid()

    return Counter


def adds(ray: ModuleType):
    @ray.remote
    def add(a: int, b: int) -> int:
        return a + b

    return add


def idle(ray: ModuleType) -> None:
    """Everything is given back in the end."""
    poll(lambda: ray.available_resources() == ray.cluster_resources())


def test_while_idle(ray):
    add, actor = adds(ray), counter(ray).remote()
    assert ray.get([add.remote(1, 2), actor.add.remote()], timeout=T) == [3, 1]
    idle(ray)
    began = kill_head()
    assert ray.get(actor.add.remote(), timeout=T) == 2
    assert ray.get(add.options(num_cpus=2).remote(1, 1), timeout=T) == 2
    assert time.monotonic() - began < RESTART_S
    assert ray.get(counter(ray).remote().add.remote(), timeout=T) == 1
    assert ray.get(actor.add.remote(), timeout=T) == 3
    assert [node["Alive"] for node in ray.nodes()] == [True]
    idle(ray)


def test_running_calls_and_actors_go_on(ray, tmp_path):
    actor = counter(ray).remote()
    pid = ray.get(actor.pid.remote(), timeout=T)

    @ray.remote(max_retries=0)
    def waits(path: str) -> int:
        Path(path).touch()
        while not os.path.exists(path + ".go"):
            time.sleep(0.01)
        return os.getpid()

    path = str(tmp_path / "file")
    ref = waits.remote(path)
    poll(lambda: os.path.exists(path))
    poll(lambda: ray.available_resources().get("CPU") == 1.0)  # the call has the other one
    kill_head(wait=True)
    poll(lambda: ray.available_resources().get("CPU") == 1.0)
    assert ray.wait([ref], timeout=0)[0] == []
    Path(path + ".go").touch()
    assert ray.get(ref, timeout=T) > 0
    assert ray.get(actor.pid.remote(), timeout=T) == pid
    idle(ray)


def test_names_keys_groups_and_detached_actors(listed, own):
    from rayjup.core import session
    from rayjup.util import list_named_actors, placement_group, placement_group_table

    ray = own
    ray.init(address=listed.cluster_id, namespace="n")
    there = counter(ray).options(name="detached", lifetime="detached", num_cpus=0).remote()
    mine = counter(ray).options(name="mine", num_cpus=0).remote()
    assert ray.get([there.add.remote(), mine.add.remote()], timeout=T) == [1, 1]
    group = placement_group([{"CPU": 1}], name="group")
    assert group.wait(T)
    request = session.current().runtime.link.request
    assert request("kv_put", "space", b"key", b"value", True) is False
    assert request("kv_put", "space", b"other", b"value", True) is False
    assert request("kv_del", "space", b"other")
    job = ray.get_runtime_context().get_job_id()
    kill_head(wait=True)
    assert request("kv_get", "space", b"key") == b"value"
    assert request("kv_keys", "space", b"") == [b"key"]
    poll(lambda: sorted(list_named_actors()) == ["detached", "mine"])
    assert ray.get(ray.get_actor("mine").add.remote(), timeout=T) == 2
    poll(lambda: placement_group_table(group)["state"] == "CREATED")
    poll(lambda: ray.available_resources().get("CPU") == 1.0)
    strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(group)
    assert ray.get(adds(ray).options(scheduling_strategy=strategy).remote(1, 2), timeout=T) == 3
    ray.shutdown()
    ray.init(address=listed.cluster_id, namespace="n")
    assert ray.get_runtime_context().get_job_id() != job
    poll(lambda: ray.available_resources().get("CPU") == 2.0)
    poll(lambda: list_named_actors() == ["detached"])
    assert ray.get(ray.get_actor("detached").add.remote(), timeout=T) == 2
    with pytest.raises(ValueError, match="mine"):
        ray.get_actor("mine")
    kill_head(wait=True)
    assert ray.get(ray.get_actor("detached").add.remote(), timeout=T) == 3
    ray.kill(ray.get_actor("detached"))


def test_under_load_and_twice_in_a_row(ray):
    add, Counter = adds(ray), counter(ray)
    actors = [Counter.options(num_cpus=0).remote() for _ in range(2)]
    stop = threading.Event()
    done: list[int] = []

    def load() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            refs = [add.remote(number, i) for i in range(50)]
            assert ray.get(refs, timeout=3 * T) == [number + i for i in range(50)]
            assert ray.get([a.add.remote() for a in actors], timeout=T) == [number, number]
            done.append(number)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(2):
            count = len(done)
            poll(lambda count=count: len(done) > count + 3, T)
            kill_head(wait=True)
        count = len(done)
        poll(lambda: len(done) > count + 3 or not thread.is_alive(), T)
    finally:
        stop.set()
        thread.join(4 * T)
    assert not thread.is_alive() and len(done) > 6
    assert ray.get([a.add.remote() for a in actors], timeout=T) == [len(done) + 1] * 2
    idle(ray)


def test_while_actors_are_being_created(ray):
    Counter = counter(ray).options(num_cpus=0.01)
    actors = []
    for number in range(30):
        actors.append(Counter.remote())
        if number in (10, 20):
            kill_head()
    assert ray.get([a.add.remote() for a in actors], timeout=2 * T) == [1] * 30
    assert len(set(ray.get([a.pid.remote() for a in actors], timeout=T))) == 30
    del actors
    idle(ray)


def test_an_actor_that_died_meanwhile(ray):
    Counter = counter(ray)
    again, never = Counter.options(max_restarts=1).remote(), Counter.remote()
    pids = ray.get([again.pid.remote(), never.pid.remote()], timeout=T)
    kill_head()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

    def back(actor=again) -> bool:
        try:
            return ray.get(actor.pid.remote(), timeout=T) != pids[0]
        except ray.exceptions.ActorUnavailableError:
            return False

    poll(back, T)
    back.__defaults__ = ()
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(never.add.remote(), timeout=T)
    del again, never
    idle(ray)


def test_a_driver_that_left_meanwhile(listed, own, run_dir):
    import subprocess
    import sys

    ray = own
    ray.init(address=listed.cluster_id, namespace="n")
    program = (
        "import sys, time, rayjup as ray\n"
        f"ray.init(address={listed.cluster_id!r}, namespace='n')\n"
        "@ray.remote\nclass A:\n    def f(self): return 1\n"
        "a = A.options(name='theirs').remote()\n"
        "d = A.options(name='stays', lifetime='detached', num_cpus=0).remote()\n"
        "print(ray.get([a.f.remote(), d.f.remote()]), flush=True)\n"
        "time.sleep(1000)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "[1, 1]\n"
    kill_head()
    other.kill()
    other.communicate()
    poll(lambda: sorted(ray.util.list_named_actors()) == ["stays"], T)
    assert ray.get(ray.get_actor("stays").f.remote(), timeout=T) == 1
    assert ray.get(adds(ray).options(num_cpus=2).remote(1, 1), timeout=T) == 2
    ray.kill(ray.get_actor("stays"))
    idle(ray)


def test_several_nodes_come_back_and_one_does_not(listed, own):
    ray = own
    nodes = [manager.add_node(listed, num_cpus=1, resources={name: 1}) for name in "ab"]
    ray.init(address=listed.cluster_id)
    Counter = counter(ray)
    a, b = (Counter.options(resources={name: 1}, num_cpus=0, max_restarts=0).remote() for name in "ab")
    assert ray.get([a.add.remote(), b.add.remote()], timeout=T) == [1, 1]
    kill_head()
    os.kill(nodes[1].pid, signal.SIGKILL)
    poll(lambda: sorted(n["Alive"] for n in ray.nodes()) == [False, True, True], T)
    assert ray.get(a.add.remote(), timeout=T) == 2
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(b.add.remote(), timeout=T)
    poll(lambda: ray.cluster_resources()["CPU"] == 3.0)
    assert ray.get(adds(ray).options(resources={"a": 0}, num_cpus=2).remote(1, 1), timeout=T) == 2
    poll(lambda: not os.path.exists(nodes[1].store_dir))


def test_a_head_that_ends_is_not_taken_for_the_next_one(tmp_path):
    """Killed, it may still listen when its connections have ended; who joins it waits in vain."""
    me = [os.getpid(), process_start_time(os.getpid())]
    follower = Follower({"head": me, "supervisor": me, "session_dir": str(tmp_path)})
    path = str(tmp_path / "head.sock")

    async def follows() -> None:
        ends = await asyncio.start_unix_server(lambda _, writer: writer.close(), path)
        waiting = asyncio.ensure_future(follower.again())
        await asyncio.sleep(0.2)
        assert not waiting.done()
        ends.close()
        os.unlink(path)

        def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            writer.close()

        greets = await asyncio.start_unix_server(greet, path)
        assert await asyncio.wait_for(waiting, T)
        greets.close()

    asyncio.run(follows())


def test_descriptor_view_and_stop_go_on(listed):
    view = ClusterView(listed)
    before = view.snapshot()
    pid, _ = listed.head()
    os.kill(pid, signal.SIGKILL)
    assert listed.is_alive() and find(listed.cluster_id) is not None
    after = view.snapshot()
    assert after["cluster_id"] == before["cluster_id"]

    def node_ids(snapshot) -> list[str]:
        return [node["node_id"] for node in snapshot["nodes"]]

    poll(lambda: node_ids(view.snapshot()) == node_ids(before))  # its node comes to the new head
    view.close()
    found = find(listed.cluster_id)
    assert found is not None and found.created == listed.created and found.head_pid != pid
    assert manager.stop(listed), "a descriptor from before the restart will do"
    assert not listed.is_alive() and not os.path.exists(listed.session_dir)


def test_stop_while_there_is_no_head(listed):
    os.kill(listed.head()[0], signal.SIGKILL)
    assert manager.stop(listed)
    assert not os.path.exists(listed.session_dir)


def test_shutdown_while_there_is_no_head(ray):
    session_dir = descriptor().session_dir
    kill_head()
    ray.shutdown()
    poll(lambda: not os.path.exists(session_dir))


def test_a_head_that_keeps_ending_is_given_up(ray):
    cluster = descriptor()
    Path(cluster.session_dir, "journal.db").unlink()
    Path(cluster.session_dir, "journal.db").mkdir()  # no head can open that
    kill_head()
    with pytest.raises(ray.exceptions.RayError, match=r"rayjup\.init"):
        ray.get(adds(ray).options(num_cpus=2).remote(1, 1), timeout=6 * T)
    poll(lambda: process_start_time(int(cluster.extra["node_pid"])) == 0.0, T)


def test_the_journal_is_private(ray):
    path = Path(descriptor().session_dir, "journal.db")
    assert path.stat().st_mode & 0o777 == 0o600 and node_pid()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with which another version of rayjup is installed: Python reads it when it starts."""
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    return tmp_path / "sitecustomize.py"


def restart() -> Result:
    return CliRunner().invoke(program, ["restart-head"])


def test_the_head_is_upgraded_and_the_nodes_come_to_the_new_one(installed, listed, own, monkeypatch):
    second = manager.add_node(listed, num_cpus=1, resources={"second": 2}, object_store_memory=80 << 20)
    own.init(address=listed.name)
    actor = counter(own).options(name="stays", num_cpus=0, resources={"second": 1}).remote()
    assert own.get(actor.add.remote(), timeout=T) == 1
    first = listed.head()

    installed.write_text("import rayjup.engine.dask.attach as a\na.PROTOCOL = 99\n")
    done = restart()
    assert done.exit_code == 1
    assert "(protocol 99), and the nodes run rayjup" in done.output and "Stop the cluster" in done.output
    installed.write_text("raise SystemExit('half of it is missing')\n")
    assert "does not start: SystemExit: half of it is missing" in restart().output
    assert listed.head() == first

    installed.write_text("import rayjup.engine.head.journal as j\nj.VERSION = 99\n")
    assert "the new head did not start" in restart().output
    assert own.get(actor.add.remote(), timeout=T) == 2

    installed.write_text("import rayjup._version as v\nv.__version__ = '99.1'\n")
    done = restart()
    assert done.exit_code == 0, done.output
    assert "A head of rayjup 99.1 runs, and 2 nodes have come to it." in done.output
    assert own.get(actor.add.remote(), timeout=T) == 3
    assert own.get(own.get_actor("stays").add.remote(), timeout=T) == 4
    assert own.get(adds(own).options(resources={"second": 0.1}).remote(1, 2), timeout=T) == 3
    said = CliRunner().invoke(program, ["status"]).output
    assert said.count(f"; runs rayjup {__version__}, the head 99.1") == 2
    assert second.is_alive()
