"""The state API beyond what Ray does: exactness, processes that are gone or silent, other clusters."""

import os
import re
import time
from pathlib import Path
from types import ModuleType

import pytest
from support.clusters import poll

from rayjup.observe import metrics_text
from rayjup.util import state
from rayjup.util.state import _source
from rayjup.util.state.common import StateResource, SummaryApiOptions, SummaryResource
from rayjup.util.state.exception import RayStateApiException


def named(name: str, **options):
    return state.list_tasks(filters=[("name", "=", name)], detail=True, limit=10_000, **options)


def test_everything_is_there_at_once(ray: ModuleType):
    @ray.remote
    def at_once(i):
        return i

    ray.get([at_once.remote(i) for i in range(3000)])
    rows = named("at_once")
    assert len(rows) == 3000
    assert {row.state for row in rows} == {"FINISHED"}
    assert len({row.task_id for row in rows}) == 3000
    assert all(row.creation_time_ms <= row.start_time_ms <= row.end_time_ms for row in rows)


def test_calls_of_threads_and_coroutines_are_seen(ray: ModuleType, tmp_path: Path):
    @ray.remote
    def made_inside():
        return 1

    @ray.remote(max_concurrency=3)
    class Threaded:
        def wait(self, name):
            ray.get(made_inside.options(name=name).remote())
            while not (tmp_path / name).exists():
                time.sleep(0.01)

    @ray.remote
    class Asynchronous:
        async def wait(self, name):
            import asyncio

            await made_inside.options(name=name).remote()
            while not (tmp_path / name).exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.01)

    for class_, name in ((Threaded, "by-thread"), (Asynchronous, "by-coroutine")):
        actor = class_.remote()
        refs = [actor.wait.remote(name) for _ in range(2)]
        full = f"{class_.__name__}.wait"
        poll(lambda full=full: [row.state for row in named(full)] == ["RUNNING"] * 2)
        (tmp_path / name).touch()
        ray.get(refs)
        assert [row.state for row in named(full)] == ["FINISHED"] * 2
        parents = {row.parent_task_id for row in named(name)}
        assert parents == {ref.task_id().hex() for ref in refs}


def test_calls_that_wait_for_an_actor(ray: ModuleType, tmp_path: Path):
    @ray.remote
    class Slow:
        def wait(self):
            while not (tmp_path / "go").exists():
                time.sleep(0.01)

    actor = Slow.remote()
    refs = [actor.wait.remote() for _ in range(3)]
    wanted = ["PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY"] * 2 + ["RUNNING"]
    poll(lambda: sorted(row.state for row in named("Slow.wait")) == wanted)
    (tmp_path / "go").touch()
    ray.get(refs)


def test_cancelled_tasks(ray: ModuleType):
    @ray.remote(num_cpus=4)
    def cancelled():
        time.sleep(30)

    running, waiting = cancelled.remote(), cancelled.remote()
    poll(lambda: "RUNNING" in [row.state for row in named("cancelled")])
    for ref in (waiting, running):
        ray.cancel(ref)
        with pytest.raises(ray.exceptions.TaskCancelledError):
            ray.get(ref)
    rows = named("cancelled")
    assert [(row.state, row.error_type) for row in rows] == [("FAILED", "TASK_CANCELLED")] * 2


def test_a_generator_that_raises_has_failed(ray: ModuleType):
    @ray.remote
    def generates():
        yield 1
        raise ValueError("in the middle")

    for ref in generates.remote():
        try:
            ray.get(ref)
        except ValueError:
            pass
    (row,) = named("generates")
    assert row.state == "FAILED"
    assert "in the middle" in row.error_message


def test_a_process_that_does_not_answer(ray: ModuleType, monkeypatch: pytest.MonkeyPatch):
    @ray.remote(max_retries=0)
    def stopped():
        import signal

        os.kill(os.getpid(), signal.SIGSTOP)

    ref = stopped.remote()
    monkeypatch.setattr(_source, "PROCESSES_S", 1.5)  # the others may be busy
    poll(lambda: any(_is_stopped(w.pid) for w in state.list_workers() if w.is_alive))
    with pytest.raises(RayStateApiException, match=r"no answer in time from executor \d+"):
        named("stopped")
    with pytest.warns(UserWarning, match=r"no answer in time"):
        (row,) = named("stopped", raise_on_missing_output=False)
    assert row.state == "SUBMITTED_TO_WORKER"  # what the driver knows of it
    ray.cancel(ref, force=True)
    with pytest.raises(ray.exceptions.RayError):
        ray.get(ref)


def _is_stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "T"
    except FileNotFoundError:
        return False


def test_lineage(ray: ModuleType):
    @ray.remote
    def lineage_leaf():
        return 1

    @ray.remote
    class Tree:
        def grow(self):
            return ray.get([lineage_leaf.remote() for _ in range(2)])

    tree = Tree.remote()
    ray.get(tree.grow.remote())
    answer = state.StateApiClient().summary(
        SummaryResource.TASKS,
        options=SummaryApiOptions(summary_by="lineage"),
        raise_on_missing_output=True,
    )
    tops = {row["name"]: row for row in answer["cluster"]["summary"]}
    top = tops["Tree"]
    assert top["type"] == "ACTOR"
    grow = {child["name"]: child for child in top["children"]}["Tree.grow"]
    assert [child["name"] for child in grow["children"]] == ["lineage_leaf"]
    assert grow["state_counts"] == {"FINISHED": 3}


def test_objects_in_objects_and_arrays_in_use(ray: ModuleType):
    import numpy

    inner = ray.put(b"i" * 10)
    inner_id = inner.hex()
    outer = ray.put([inner])
    assert state.get_objects(inner_id)[0].reference_type == "LOCAL_REFERENCE"
    del inner
    poll(lambda: [row.reference_type for row in state.get_objects(inner_id)] == ["CAPTURED_IN_OBJECT"])
    del outer
    poll(lambda: state.get_objects(inner_id) == [])
    array = ray.put(numpy.zeros(1_000_000))
    assert state.get_objects(array.hex())[0].reference_type == "LOCAL_REFERENCE"
    view = ray.get(array)
    (row,) = state.get_objects(array.hex())
    assert row.reference_type == "PINNED_IN_MEMORY"
    assert row.object_size >= view.nbytes


def test_metrics_of_all_processes(ray: ModuleType):
    @ray.remote
    class Measuring:
        def measure(self, n):
            from rayjup.util.metrics import Counter, Histogram

            Counter("measured", "how often", tag_keys=("who",)).inc(n, {"who": "a"})
            Histogram("took", boundaries=[1.0, 2.0]).observe(1.5)

    actors = [Measuring.remote() for _ in range(2)]
    ray.get([actor.measure.remote(3) for actor in actors])

    def counts(lines: list[str]) -> list[str]:
        return [line for line in lines if line.startswith("ray_measured_total{")]

    def is_all_there() -> bool:
        text = metrics_text()
        return (
            'ray_tasks{Name="Measuring.measure",State="FINISHED"' in text
            and len(counts(text.splitlines())) == 2
        )

    poll(is_all_there, 40)
    lines = metrics_text().splitlines()
    counted = counts(lines)
    assert [line.rsplit(" ", 1)[1] for line in counted] == ["3.0", "3.0"]
    node_id = ray.get_runtime_context().get_node_id()
    assert all(f'NodeId="{node_id}"' in line and "SessionName=" in line for line in counted)
    assert len({re.search(r'WorkerId="(\w+)"', line)[1] for line in counted}) == 2
    assert sum(line.startswith("ray_took_bucket{") for line in lines) == 6
    assert any(line.startswith('ray_actors{Name="Measuring",State="ALIVE"') for line in lines)
    assert any(line.startswith("ray_object_store_used_memory{") for line in lines)
    assert all(re.fullmatch(r"# (HELP|TYPE) .*|\w+(\{.*\})? \S+", line) for line in lines)


def test_logs_that_are_not_there(ray: ModuleType):
    node_id = ray.get_runtime_context().get_node_id()
    with pytest.raises(RayStateApiException, match=r"no log file 'no-such-file'"):
        list(state.get_log(filename="no-such-file", node_id=node_id))
    with pytest.raises(RayStateApiException, match=r"outside of the node's log directory"):
        list(state.get_log(filename="../../etc/passwd", node_id=node_id))
    with pytest.raises(RayStateApiException, match=r"no living node"):
        state.list_logs(node_id="ab" * 28)
    with pytest.raises(RayStateApiException, match=r"no executor is known of the actor"):
        list(state.get_log(actor_id="ab" * 16))
    with pytest.raises(RayStateApiException, match=r"is not known"):
        list(state.get_log(task_id="ab" * 24))


def test_full_logs_are_put_aside(ray: ModuleType):
    @ray.remote
    class Talker:
        def say(self, text, times):
            for i in range(times):
                print(text, i)

        def prints_next(self):
            print("the last word")
            return ray.get_runtime_context().get_task_id(), os.path.basename(os.readlink("/proc/self/fd/1"))

    limits = {"env_vars": {"RAY_ROTATION_MAX_BYTES": "10000", "RAY_ROTATION_BACKUP_COUNT": "2"}}
    actor = Talker.options(runtime_env=limits).remote()
    ray.get(actor.say.remote("x" * 90, 500))
    task_id, log = ray.get(actor.prints_next.remote())
    files = state.list_logs(node_id=ray.get_runtime_context().get_node_id(), glob_filter=f"{log}*")
    assert {name for names in files.values() for name in names} == {log, f"{log}.1", f"{log}.2"}
    assert list(state.get_log(task_id=task_id)) == ["the last word\n"]


def test_a_followed_log_ends_with_its_process(ray: ModuleType):
    @ray.remote
    class Ending:
        def say(self):
            print("the last words")

    actor = Ending.remote()
    ray.get(actor.say.remote())
    lines = state.get_log(actor_id=actor._actor_id.hex(), follow=True)
    assert "the last words" in next(lines)
    ray.kill(actor)
    assert "".join(lines) == ""


def test_dead_nodes_and_failed_filters(ray: ModuleType):
    assert state.list_nodes(filters=[("state", "=", "DEAD")]) == []
    with pytest.raises(RayStateApiException, match=r"neither true nor false"):
        state.list_nodes(filters=[("is_head_node", "=", "perhaps")])
    with pytest.raises(RayStateApiException, match=r"compares numbers with 'x'"):
        state.list_workers(filters=[("pid", "=", "x")])
    with pytest.raises(ValueError, match=r"have no id"):
        state.StateApiClient().get(StateResource.RUNTIME_ENVS, "x", None)
