"""``ray.timeline``: tasks as a trace in the trace event format."""

import json
import time

import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")
PHASES = {"X", "M", "s", "f", "t", "B", "E", "i", "I", "C"}


def events(wanted, timeout_s=60.0):
    """The trace as soon as it holds ``wanted`` events that tell of the execution of tasks."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = ray.timeline()
        if wanted(found):
            return found
        assert time.monotonic() < deadline, [e.get("cat") for e in found]
        time.sleep(0.1)


def check(trace):
    """The rules of the trace event format."""
    for event in trace:
        assert event["ph"] in PHASES
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], (int, str))
        if event["ph"] == "M":
            assert isinstance(event["args"], dict)
            continue
        assert isinstance(event["tid"], (int, str))
        assert isinstance(event["ts"], (int, float))
        assert event["ts"] > 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
        if event["ph"] in ("s", "f"):
            assert "id" in event
    assert json.loads(json.dumps(trace)) == trace


def test_tasks_and_their_phases():
    @ray.remote
    def traced(seconds):
        time.sleep(seconds)
        return {"a": 1}

    before = time.time()
    ray.get([traced.remote(0.05) for _ in range(2)])
    after = time.time()
    trace = events(lambda found: sum(e.get("cat") == "task::traced" for e in found) == 2)
    check(trace)
    whole = [e for e in trace if e.get("cat") == "task::traced"]
    for event in whole:
        assert before - 1 < event["ts"] / 1e6 < after + 1
        assert event["dur"] >= 0.05 * 1e6
        assert event["tid"].startswith("worker:")
        same = [e for e in trace if e.get("tid") == event["tid"] and e.get("name") == "task:execute"]
        inside = [e for e in same if event["ts"] <= e["ts"] <= event["ts"] + event["dur"]]
        assert any(e["dur"] >= 0.05 * 1e6 for e in inside)


def test_methods_and_constructors():
    @ray.remote
    class Traced:
        def method(self):
            return 1

    actor = Traced.remote()
    ray.get(actor.method.remote())
    trace = events(
        lambda found: {"task::Traced.method", "task::Traced.__init__"} <= {e.get("cat") for e in found}
    )
    method = next(e for e in trace if e.get("cat") == "task::Traced.method")
    made = next(e for e in trace if e.get("cat") == "task::Traced.__init__")
    assert method["tid"] == made["tid"]
    assert method["ts"] >= made["ts"]


def test_a_file(tmp_path):
    @ray.remote
    def written():
        return 1

    ray.get(written.remote())
    events(lambda found: any(e.get("cat") == "task::written" for e in found))
    path = tmp_path / "trace.json"
    assert ray.timeline(filename=str(path)) is None
    trace = json.loads(path.read_text())
    assert any(e.get("cat") == "task::written" for e in trace)
    check(trace)


def test_who_submitted():
    @ray.remote
    def submitted():
        return 1

    ray.get(submitted.remote())
    trace = events(lambda found: any(e.get("name") == "submit_task" for e in found))
    made = [e for e in trace if e.get("name") == "submit_task" and e["ph"] == "X"]
    assert any(e["tid"].startswith("driver:") for e in made)


def test_it_needs_a_connection():
    ray.shutdown()
    with pytest.raises(Exception, match=r"init"):
        ray.timeline()
