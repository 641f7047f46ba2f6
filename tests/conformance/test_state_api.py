"""The state API: what programs can list, get and summarize of a cluster."""

import os
import sys
import time

import pytest
import ray

ON_RAY = os.environ.get("RAYJUP_CONFORMANCE_ENGINE") == "ray"
WAIT_S = 60.0  # Ray's processes report about once a second, through several hands

pytestmark = [
    pytest.mark.usefixtures("ray_cluster"),
    # A process that the machine keeps from running for two seconds is left out, and asked again.
    pytest.mark.filterwarnings("ignore:no answer in time:UserWarning"),
]


@pytest.fixture(scope="module")
def ray_cluster(engine):
    module = engine()
    if ON_RAY:
        # Ray asks its dashboard for the state.
        pytest.importorskip("aiohttp", reason="Ray's state API needs its dashboard: pip install ray[default]")
    module.init(num_cpus=4, include_dashboard=True)
    before = os.environ.get("RAY_ADDRESS")
    if ON_RAY:  # there may be other clusters on this machine
        os.environ["RAY_ADDRESS"] = module.get_runtime_context().gcs_address
    yield module
    if ON_RAY and before is None:
        del os.environ["RAY_ADDRESS"]
    module.shutdown()


def state():
    """The module, imported when the engine is there."""
    import ray.util.state

    return ray.util.state


def poll(look, wanted, timeout_s=WAIT_S):
    """What ``look`` returns as soon as ``wanted`` says it is right."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = look()
        if wanted(found):
            return found
        assert time.monotonic() < deadline, f"not in time; last: {str(found)[:2000]}"
        time.sleep(0.05)


def tasks(**filters):
    return state().list_tasks(filters=[(k, "=", v) for k, v in filters.items()], detail=True, limit=1000)


# -- tasks


def test_a_finished_task():
    @ray.remote(num_cpus=2)
    def finished_task():
        return os.getpid()

    ref = finished_task.remote()
    pid = ray.get(ref)
    (task,) = poll(
        lambda: tasks(name="finished_task"), lambda t: t and t[0].state == "FINISHED" and t[0].worker_pid
    )
    context = ray.get_runtime_context()
    assert task.task_id == ref.task_id().hex()
    assert task.type == "NORMAL_TASK"
    assert task.func_or_class_name == "finished_task"
    assert task.job_id == context.get_job_id()
    assert task.attempt_number == 0
    assert task.actor_id is None
    assert task.node_id == context.get_node_id()
    assert task.worker_pid == pid
    assert task.error_type is None
    assert task.error_message is None
    assert task.required_resources == {"CPU": 2.0}
    assert task.language == "PYTHON"
    assert abs(task.end_time_ms / 1000 - time.time()) < 60
    assert task.creation_time_ms <= task.start_time_ms <= task.end_time_ms
    assert [e["state"] for e in task.events][0] == "PENDING_ARGS_AVAIL"
    assert [e["state"] for e in task.events][-1] == "FINISHED"


def test_columns_of_details_are_none_without_detail():
    @ray.remote
    def without_detail():
        return 1

    ray.get(without_detail.remote())
    (task,) = poll(
        lambda: state().list_tasks(filters=[("name", "=", "without_detail")]),
        lambda t: t and t[0].state == "FINISHED",
    )
    assert task.required_resources is None
    assert task.events is None
    assert task.start_time_ms is None
    assert task["name"] == "without_detail"
    assert task.get("nothing", 5) == 5
    assert task.asdict()["state"] == "FINISHED"


def test_a_failed_task_tells_why():
    @ray.remote
    def failing_task():
        raise ValueError("that was wrong")

    with pytest.raises(ValueError):
        ray.get(failing_task.remote())
    (task,) = poll(lambda: tasks(name="failing_task"), lambda t: t and t[0].state == "FAILED")
    assert task.error_type == "TASK_EXECUTION_EXCEPTION"
    assert "that was wrong" in task.error_message
    assert "ValueError" in task.error_message


def test_a_name_of_ones_own():
    @ray.remote
    def plainly_named():
        return 1

    ray.get(plainly_named.options(name="given-name").remote())
    (task,) = poll(lambda: tasks(name="given-name"), lambda t: t and t[0].state == "FINISHED")
    assert task.func_or_class_name == "plainly_named"


def test_states_before_the_end(gate, eventually):
    @ray.remote(num_cpus=4)
    def holding(wait):
        wait()

    @ray.remote
    def depending(value):
        return value

    first = holding.remote(gate.wait)
    second = holding.remote(gate.wait)
    third = depending.remote(first)

    def states():
        by_id = {t.task_id: t.state for t in state().list_tasks(limit=1000)}
        return [by_id.get(ref.task_id().hex()) for ref in (first, second, third)]

    poll(states, lambda s: s == ["RUNNING", "PENDING_NODE_ASSIGNMENT", "PENDING_ARGS_AVAIL"])
    gate.open()
    ray.get([first, second, third])
    poll(states, lambda s: s == ["FINISHED"] * 3)


def test_a_parent_is_named():
    @ray.remote
    def child_task():
        return 1

    @ray.remote
    def parent_task():
        return ray.get(child_task.remote())

    ref = parent_task.remote()
    ray.get(ref)
    (child,) = poll(lambda: tasks(name="child_task"), lambda t: t and t[0].state == "FINISHED")
    assert child.parent_task_id == ref.task_id().hex()
    (parent,) = poll(lambda: tasks(name="parent_task"), lambda t: t and t[0].state == "FINISHED")
    assert parent.parent_task_id.startswith("f" * 40)


def test_attempts_are_rows_of_their_own(tmp_path):
    mark = str(tmp_path / "tried")

    @ray.remote(max_retries=2, retry_exceptions=True)
    def tried_twice():
        if not os.path.exists(mark):
            open(mark, "w").close()
            raise ValueError("the first time")

    ref = tried_twice.remote()
    ray.get(ref)
    rows = poll(lambda: tasks(name="tried_twice"), lambda t: {r.state for r in t} == {"FINISHED", "FAILED"})
    assert {(r.attempt_number, r.state) for r in rows} == {(0, "FAILED"), (1, "FINISHED")}
    assert {r.task_id for r in rows} == {ref.task_id().hex()}


def test_a_crash_is_told(tmp_path):
    @ray.remote(max_retries=0)
    def crashing():
        os._exit(3)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(crashing.remote())
    (task,) = poll(lambda: tasks(name="crashing"), lambda t: t and t[0].state == "FAILED")
    assert task.error_type == "WORKER_DIED"


def test_calls_of_methods_and_constructors():
    @ray.remote
    class Counted:
        def method(self):
            return os.getpid()

        def wrong(self):
            raise KeyError("k")

    actor = Counted.options(name="counted").remote()
    pid = ray.get(actor.method.remote())
    with pytest.raises(KeyError):
        ray.get(actor.wrong.remote())
    actor_id = actor._actor_id.hex()

    def rows():
        return {t.name: t for t in tasks(actor_id=actor_id)}

    found = poll(rows, lambda r: len(r) == 3 and all(t.state in ("FINISHED", "FAILED") for t in r.values()))
    method, wrong = found["Counted.method"], found["Counted.wrong"]
    (made,) = [t for t in found.values() if t.type == "ACTOR_CREATION_TASK"]
    assert method.type == wrong.type == "ACTOR_TASK"
    assert method.worker_pid == pid
    assert wrong.state == "FAILED"
    assert made.name == "counted:Counted.__init__"
    assert made.func_or_class_name == "Counted.__init__"
    assert made.state == "FINISHED"


def test_a_constructor_that_fails():
    @ray.remote
    class Unmade:
        def __init__(self):
            raise ValueError("not like this")

        def ping(self):
            return 1

    actor = Unmade.remote()
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.ping.remote())
    actor_id = actor._actor_id.hex()
    rows = poll(
        lambda: tasks(actor_id=actor_id, type="ACTOR_CREATION_TASK"), lambda t: t and t[0].state == "FAILED"
    )
    assert "not like this" in rows[0].error_message
    dead = state().get_actor(actor_id)
    assert dead.state == "DEAD"
    assert dead.death_cause


def test_tasks_can_be_kept_out():
    @ray.remote(enable_task_events=False)
    def unseen_task():
        return 1

    @ray.remote
    def seen_task():
        return 1

    ray.get([unseen_task.remote(), seen_task.remote()])
    poll(lambda: tasks(name="seen_task"), len)
    assert tasks(name="unseen_task") == []


def test_get_task_by_ref_and_by_id():
    @ray.remote
    def asked_for():
        return 1

    ref = asked_for.remote()
    ray.get(ref)
    task = poll(lambda: state().get_task(ref), lambda t: t is not None and t.state == "FINISHED")
    assert task.name == "asked_for"
    assert task.required_resources == {"CPU": 1.0}
    assert state().get_task(task.task_id).task_id == task.task_id
    assert state().get_task("ab" * 24) is None


def test_tasks_from_inside_a_task():
    @ray.remote
    def looking():
        from ray.util.state import list_tasks

        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            rows = list_tasks(filters=[("name", "=", "looking")])
            if rows and rows[0].state == "RUNNING":
                return rows[0].type
            time.sleep(0.05)

    if ON_RAY:
        address = os.environ["RAY_ADDRESS"]
        looking = looking.options(runtime_env={"env_vars": {"RAY_ADDRESS": address}})
    assert ray.get(looking.remote()) == "NORMAL_TASK"


# -- filters, limits, options


def test_filters():
    @ray.remote
    def filtered_a():
        return 1

    @ray.remote
    def filtered_b():
        return 1

    ray.get([filtered_a.remote() for _ in range(3)] + [filtered_b.remote()])
    poll(lambda: tasks(func_or_class_name="filtered_a", state="FINISHED"), lambda t: len(t) == 3)
    poll(lambda: tasks(name="filtered_b", state="finished"), lambda t: len(t) == 1)
    names = {t.name for t in state().list_tasks(filters=[("name", "!=", "filtered_a")], limit=1000)}
    assert "filtered_a" not in names
    assert "filtered_b" in names
    two = [("name", "!=", "filtered_b"), ("type", "=", "NORMAL_TASK")]
    assert "filtered_b" not in {t.name for t in state().list_tasks(filters=two, limit=1000)}
    pid = poll(lambda: tasks(name="filtered_b")[0].worker_pid, lambda pid: pid is not None)
    assert {t.worker_pid for t in state().list_tasks(filters=[("worker_pid", "=", pid)])} == {pid}
    assert state().list_tasks(filters=[("name", "=", "never")]) == []


def test_filters_that_are_not_possible():
    from ray.util.state.exception import RayStateApiException

    with pytest.raises(RayStateApiException, match="nothing"):
        state().list_tasks(filters=[("nothing", "=", "x")])
    with pytest.raises(RayStateApiException):
        state().list_nodes(filters=[("resources_total", "=", "x")])
    with pytest.raises(ValueError, match="<"):
        state().list_tasks(filters=[("name", "<", "x")])
    with pytest.raises(RayStateApiException):
        state().list_tasks(limit=1_000_000)


def test_filters_that_exclude_each_other():
    filters = [("state", "=", "FINISHED"), ("state", "=", "FAILED")]
    with pytest.warns(UserWarning):
        assert state().list_tasks(filters=filters) == []


def test_a_limit():
    @ray.remote
    def one_of_many():
        return 1

    ray.get([one_of_many.remote() for _ in range(5)])
    poll(lambda: tasks(name="one_of_many", state="FINISHED"), lambda t: len(t) == 5)
    assert len(state().list_tasks(filters=[("name", "=", "one_of_many")], limit=2)) == 2
    assert state().list_tasks(limit=0) == []


# -- actors


def test_actors(eventually):
    @ray.remote(num_cpus=1)
    class Listed:
        def pid(self):
            return os.getpid()

    actor = Listed.options(name="listed", lifetime="detached", namespace="room").remote()
    pid = ray.get(actor.pid.remote())
    actor_id = actor._actor_id.hex()
    row = poll(lambda: state().get_actor(actor_id), lambda a: a is not None and a.state == "ALIVE")
    assert row.class_name.endswith("Listed")
    assert (row.name, row.ray_namespace, row.pid) == ("listed", "room", pid)
    assert row.node_id == ray.get_runtime_context().get_node_id()
    assert row.job_id == ray.get_runtime_context().get_job_id()
    assert row.is_detached is True
    assert row.required_resources == {"CPU": 1.0}
    assert row.num_restarts == 0
    assert row.death_cause is None
    assert actor_id in {a.actor_id for a in state().list_actors(filters=[("state", "=", "ALIVE")])}
    assert [a.actor_id for a in state().list_actors(filters=[("name", "=", "listed")])] == [actor_id]
    ray.kill(actor)
    poll(lambda: state().get_actor(actor_id).state, lambda s: s == "DEAD")
    assert state().get_actor("00" * 16) is None


def test_an_actor_that_waits_and_one_that_was_restarted():
    @ray.remote(max_restarts=1)
    class Restarted:
        def exit(self):
            os._exit(1)

        def ping(self):
            return 1

    @ray.remote(num_cpus=100)
    class Waiting:
        pass

    waiting = Waiting.remote()
    actor = Restarted.remote()
    ray.get(actor.ping.remote())
    actor.exit.remote()
    row = poll(
        lambda: state().get_actor(actor._actor_id.hex()),
        lambda a: a is not None and a.num_restarts == 1 and a.state == "ALIVE",
    )
    assert row.death_cause is None
    assert state().get_actor(waiting._actor_id.hex()).state == "PENDING_CREATION"


# -- nodes, jobs, processes, groups


def test_nodes():
    (node,) = state().list_nodes(detail=True)
    assert node.node_id == ray.get_runtime_context().get_node_id()
    assert node.state == "ALIVE"
    assert node.is_head_node is True
    assert node.resources_total["CPU"] == 4
    assert node.labels["ray.io/node-id"] == node.node_id
    assert abs(node.start_time_ms / 1000 - time.time()) < 600
    assert state().get_node(node.node_id).node_id == node.node_id
    assert state().get_node("ab" * 28) is None
    assert len(state().list_nodes(filters=[("is_head_node", "=", "true")])) == 1


def test_jobs():
    (job,) = state().list_jobs(detail=True)
    assert job.job_id == ray.get_runtime_context().get_job_id()
    assert job.type == "DRIVER"
    assert job.status == "RUNNING"
    assert job.driver_info.pid == str(os.getpid())
    assert os.path.basename(sys.executable) in job.entrypoint
    assert abs(job.start_time / 1000 - time.time()) < 600
    assert len(state().list_jobs(filters=[("status", "=", "RUNNING")])) == 1
    assert state().list_jobs(filters=[("status", "=", "FAILED")]) == []
    assert state().get_job("nothing") is None


def test_workers():
    @ray.remote
    def pid_of_worker():
        return os.getpid(), ray.get_runtime_context().get_worker_id()

    pid, worker_id = ray.get(pid_of_worker.remote())
    worker = poll(lambda: state().get_worker(worker_id), lambda w: w is not None)
    assert worker.pid == pid
    assert worker.is_alive is True
    assert worker.worker_type == "WORKER"
    assert worker.node_id == ray.get_runtime_context().get_node_id()
    poll(
        lambda: state().list_workers(filters=[("worker_type", "=", "DRIVER"), ("is_alive", "=", True)]),
        lambda drivers: [d.pid for d in drivers] == [os.getpid()],
    )


def test_a_worker_that_has_died():
    @ray.remote(max_retries=0)
    def dies():
        os._exit(7)

    @ray.remote
    def ident():
        return ray.get_runtime_context().get_worker_id()

    @ray.remote
    class Dies:
        def ident(self):
            return ray.get_runtime_context().get_worker_id()

    actor = Dies.remote()
    worker_id = ray.get(actor.ident.remote())
    ray.kill(actor)
    worker = poll(lambda: state().get_worker(worker_id), lambda w: w is not None and not w.is_alive)
    assert worker.exit_type in ("INTENDED_SYSTEM_EXIT", "INTENDED_USER_EXIT", "SYSTEM_ERROR")
    assert worker.end_time_ms >= worker.start_time_ms


def test_placement_groups():
    group = ray.util.placement_group([{"CPU": 1}, {"CPU": 2}], name="listed-group")
    ray.get(group.ready())
    (row,) = state().list_placement_groups(filters=[("name", "=", "listed-group")], detail=True)
    assert row.placement_group_id == group.id.hex()
    assert row.state == "CREATED"
    assert row.is_detached is False
    assert row.creator_job_id == ray.get_runtime_context().get_job_id()
    assert len(row.bundles) == 2
    assert state().get_placement_group(group.id.hex()).name == "listed-group"
    ray.util.remove_placement_group(group)
    poll(lambda: state().get_placement_group(group.id.hex()), lambda g: g is None or g.state == "REMOVED")


# -- objects


def test_objects():
    large = ray.put(b"x" * 1_000_000)
    (row,) = poll(lambda: state().get_objects(large.hex()), lambda rows: len(rows) == 1)
    assert row.object_size >= 1_000_000
    assert row.pid == os.getpid()
    assert row.type == "DRIVER"
    assert row.reference_type in ("LOCAL_REFERENCE", "PINNED_IN_MEMORY")
    assert large.hex() in {o.object_id for o in state().list_objects(limit=1000)}
    assert not state().get_objects("ab" * 28)


def test_objects_of_pending_tasks(gate):
    @ray.remote
    def keeps(wait, value):
        wait()

    argument = ray.put(b"y" * 500_000)
    ref = keeps.remote(gate.wait, argument)
    poll(
        lambda: {o.reference_type for o in state().get_objects(argument.hex()) if o.type == "DRIVER"},
        lambda kinds: kinds == {"USED_BY_PENDING_TASK"},
    )
    gate.open()
    ray.get(ref)


def test_handles_of_actors_are_objects():
    @ray.remote
    class Handled:
        def ping(self):
            return 1

    actor = Handled.remote()
    ray.get(actor.ping.remote())
    poll(lambda: [o for o in state().list_objects(limit=1000) if o.reference_type == "ACTOR_HANDLE"], len)


# -- summaries


def test_summaries():
    @ray.remote
    def summed():
        return 1

    @ray.remote
    class Summed:
        def ping(self):
            return 1

    actor = Summed.remote()
    ray.get([summed.remote() for _ in range(4)] + [actor.ping.remote()])

    def of_tasks():
        return state().summarize_tasks()["cluster"]

    found = poll(of_tasks, lambda s: s["summary"].get("summed", {}).get("state_counts") == {"FINISHED": 4})
    assert found["summary"]["summed"]["type"] == "NORMAL_TASK"
    assert found["summary_by"] == "func_name"
    assert found["total_tasks"] >= 4
    poll(of_tasks, lambda s: s["summary"].get("Summed.ping", {}).get("state_counts") == {"FINISHED": 1})
    actors = state().summarize_actors()["cluster"]
    (name,) = [n for n in actors["summary"] if n.endswith("Summed")]
    assert actors["summary"][name]["state_counts"] == {"ALIVE": 1}
    objects = state().summarize_objects()["cluster"]
    assert objects["total_objects"] >= 1
    assert objects["callsite_enabled"] is False
    assert set(objects["summary"]) == {"disabled"}


# -- logs


def test_logs_of_a_node():
    ray.get(ray.remote(lambda: 1).remote())
    logs = poll(
        lambda: state().list_logs(node_id=ray.get_runtime_context().get_node_id()),
        lambda logs: logs.get("worker_out"),
    )
    assert all(isinstance(names, list) for names in logs.values())
    only = state().list_logs(node_id=ray.get_runtime_context().get_node_id(), glob_filter="*.out")
    assert all(name.endswith(".out") for names in only.values() for name in names)


def test_the_log_of_an_actor_and_of_a_process():
    @ray.remote
    class Talking:
        def talk(self):
            print("first line")
            print("second line")
            sys.stderr.write("an error line\n")
            return os.getpid()

    actor = Talking.remote()
    pid = ray.get(actor.talk.remote())
    actor_id = actor._actor_id.hex()

    def read(**which):
        return "".join(state().get_log(**which))

    text = poll(lambda: read(actor_id=actor_id), lambda t: "second line" in t)
    assert text.index("first line") < text.index("second line")
    assert "an error line" not in text
    assert "an error line" in poll(lambda: read(actor_id=actor_id, suffix="err"), lambda t: "error line" in t)
    last = read(actor_id=actor_id, tail=1)
    assert "second line" in last
    assert "first line" not in last
    node_id = ray.get_runtime_context().get_node_id()
    assert "first line" in read(pid=pid, node_id=node_id)


def test_the_log_of_a_task():
    from ray.util.state.exception import RayStateApiException

    @ray.remote
    def prints_something(text):
        print(text)

    one, other = prints_something.remote("said by one"), prints_something.remote("said by the other")
    ray.get([one, other])

    def read():
        try:
            return "".join(state().get_log(task_id=one.task_id().hex()))
        except RayStateApiException as error:  # it is not known yet
            return str(error)

    text = poll(read, lambda t: "said by one" in t)
    assert "said by the other" not in text


def test_following_a_log():
    @ray.remote
    class Counting:
        def count(self, n):
            print(f"number {n}")

    actor = Counting.remote()
    ray.get(actor.count.remote(1))
    lines = state().get_log(actor_id=actor._actor_id.hex(), follow=True)
    seen = ""
    said = False
    deadline = time.monotonic() + WAIT_S
    for piece in lines:
        seen += piece
        if "number 1" in seen and not said:
            said = True
            actor.count.remote(2)
        if "number 2" in seen:
            break
        assert time.monotonic() < deadline, seen
    lines.close()


def test_a_log_has_to_be_named():
    with pytest.raises(ValueError):
        list(state().get_log())
    with pytest.raises(ValueError):
        list(state().get_log(filename="x"))


# -- the client and the helpers


def test_the_client():
    from ray.util.state import StateApiClient
    from ray.util.state.common import GetApiOptions, ListApiOptions, StateResource

    client = StateApiClient()
    nodes = client.list(StateResource.NODES, ListApiOptions(), raise_on_missing_output=True)
    assert len(nodes) == 1
    assert client.get(StateResource.NODES, nodes[0].node_id, GetApiOptions()).state == "ALIVE"


def test_columns_of_rows():
    from ray.util.state.common import ActorState, NodeState, StateResource, TaskState, resource_to_schema

    assert "start_time_ms" not in NodeState.base_columns()
    assert "start_time_ms" in NodeState.detail_columns()
    assert {"task_id", "name", "state", "type", "job_id"} <= TaskState.filterable_columns()
    assert "death_cause" not in ActorState.filterable_columns()
    assert NodeState.list_columns()[:2] == ["node_id", "node_ip"]
    assert resource_to_schema(StateResource.TASKS) is TaskState
    assert "2026" in TaskState.humanify({"start_time_ms": 1_784_000_000_000})["start_time_ms"]
