"""Rows, options and summaries of the state API, and the joining of what processes report. No cluster."""

import pickle

import pytest

from rayjup.observe.trace import events_of
from rayjup.util.metrics_text import Family, render
from rayjup.util.state import common
from rayjup.util.state._filters import matches
from rayjup.util.state._join import Tasks
from rayjup.util.state._source import Gathered

DRIVER = b"d" * 12 + b"\0\0\0\1"
NODE = {"node_id": "n1", "ip": "10.0.0.1"}
JOBS = [{"job_id": "00000001", "client": DRIVER[:8].hex(), "pid": 1, "node_id": "n1", "start": 1.0, "end": 0}]


def report(prefix: bytes, pid: int, **content):
    return {
        "worker_id": (prefix[:12] + b"w" * 16).hex(),
        "prefix": prefix,
        "pid": pid,
        "job_id": "00000001",
        "clock": (1000.0, 0.0),
        "report": content,
        **NODE,
    }


def executed(finished=(), **more):
    return {"finished": list(finished), "failures": {}, "leases": [(0.0, {"CPU": 1.0})], **more}


def submitted(**more):
    return {"pending": [], "failures": [], "parents": [], "ticks": [], "counts": {}, **more}


def call(seq: int, ended: float, failed: bool = False, prefix: bytes = DRIVER, name: str = "f"):
    return (prefix, seq, name, None, ended, 100_000, failed, None)


def joined(*reports, handed=(), past=None, actors=()):
    return Tasks(Gathered(list(reports), list(handed), [], past or {}), list(actors), JOBS)


def calls(tasks: Tasks):
    return [row for row in tasks.rows if row["type"] != "DRIVER_TASK"]


def test_an_executor_tells_what_has_run_and_the_submitter_when_it_was_made():
    ticks = submitted(ticks=[(5, 1.0), (9, 2.0)], counts={"f": [0, 0, 1, 0]})
    tasks = joined(
        report(DRIVER, 1, submitted=ticks), report(b"e" * 16, 2, executed=executed([call(6, 3.0)]))
    )
    (row,) = calls(tasks)
    assert (row["state"], row["worker_pid"], row["attempt_number"]) == ("FINISHED", 2, 0)
    assert (row["created"], row["end"]) == (1002.0, 1003.0)
    assert row["start"] == pytest.approx(1002.9)
    assert row["parent_task_id"] == "f" * 40 + "00000001"
    assert row["required_resources"] == {"CPU": 1.0}
    assert tasks.dropped == {}


def test_attempts_are_numbered_in_time_and_the_running_one_is_the_last():
    running = executed([call(1, 4.0, failed=True)], running=[(DRIVER, 1, "f", None, 5.0)])
    crashed = {
        "seq": 1,
        "function": "f",
        "name": None,
        "state": "FAILED",
        "kind": "NORMAL_TASK",
        "error": ("WORKER_DIED", "it crashed"),
        "ended": 2.0,
        "final": False,
    }
    pending = {"seq": 1, "function": "f", "name": None, "state": "SUBMITTED_TO_WORKER", "kind": "NORMAL_TASK"}
    tasks = joined(
        report(DRIVER, 1, submitted=submitted(pending=[pending], failures=[crashed])),
        report(b"e" * 16, 2, executed=running),
    )
    found = [(r["attempt_number"], r["state"], r.get("error_type")) for r in calls(tasks)]
    assert found == [(0, "FAILED", "WORKER_DIED"), (1, "FAILED", None), (2, "RUNNING", None)]


def test_an_answer_that_is_on_its_way_counts_as_the_end():
    executor = b"e" * 16
    pending = {
        "seq": 1,
        "function": "f",
        "name": None,
        "state": "SUBMITTED_TO_WORKER",
        "kind": "NORMAL_TASK",
        "worker": executor[:8].hex(),
    }
    for failed in (False, True):
        tasks = joined(
            report(DRIVER, 1, submitted=submitted(pending=[pending])),
            report(executor, 2, executed=executed([call(1, 1.0, failed)])),
        )
        assert [row["state"] for row in calls(tasks)] == ["FAILED" if failed else "FINISHED"]


def test_what_was_handed_over_twice_counts_once():
    part = report(b"e" * 16, 2, executed=executed([call(1, 1.0), call(2, 2.0)]))
    later = report(b"e" * 16, 2, executed=executed([call(2, 2.0), call(3, 3.0)]))
    assert len(calls(joined(handed=[part, later]))) == 3


def test_parents_by_number():
    parents = [(3, b"p" * 24), (7, b""), (9, b"q" * 24)]
    caller = b"c" * 12 + b"\0\0\0\1"
    rows = executed([call(seq, seq, prefix=caller) for seq in (2, 3, 6, 7, 10)])
    tasks = joined(
        report(caller, 3, submitted=submitted(parents=parents)), report(b"e" * 16, 2, executed=rows)
    )
    found = [row["parent_task_id"] for row in calls(tasks)]
    assert found == ["", (b"p" * 24).hex(), (b"p" * 24).hex(), "", (b"q" * 24).hex()]


def test_forgotten_calls_are_counted():
    counts = submitted(counts={"a.<locals>.f": [0, 0, 10, 2]})
    tasks = joined(
        report(DRIVER, 1, submitted=counts),
        report(b"e" * 16, 2, executed=executed([call(1, 1.0)], hidden={"f": 3})),
        past={"g": [0, 0, 5, 0]},
    )
    assert tasks.dropped == {"f": [6, 2], "g": [5, 0]}


def test_filters_compare_text_without_case_and_numbers_as_numbers():
    row = {"name": "Some", "pid": 5, "alive": True, "none": None}
    assert matches(row, [("name", "=", "some"), ("pid", "=", "5"), ("alive", "=", "TRUE")])
    assert matches(row, [("name", "!=", "other"), ("none", "!=", "x")])
    assert not matches(row, [("alive", "!=", 1)])
    with pytest.raises(common.__dict__.get("RayStateApiException", Exception), match="no int"):
        matches(row, [("pid", "=", "five")])


def test_options_are_checked():
    with pytest.raises(ValueError, match="must be at least 0"):
        common.ListApiOptions(limit=-1)
    with pytest.raises(TypeError, match="must be a number"):
        common.GetApiOptions(timeout="soon")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is not \\(column"):
        common.ListApiOptions(filters=[("state", "RUNNING")])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="exactly one of filename"):
        common.GetLogOptions(timeout=1, actor_id="a", task_id="b")
    with pytest.raises(ValueError, match="needs node_id or node_ip"):
        common.GetLogOptions(timeout=1, pid=5)
    with pytest.raises(ValueError, match="exclude each other"):
        common.GetLogOptions(timeout=1, pid=5, node_id="a", node_ip="b")
    with pytest.raises(ValueError, match="'out' or 'err'"):
        common.GetLogOptions(timeout=1, actor_id="a", suffix="log")
    with pytest.raises(ValueError, match="num_filtered"):
        common.ListApiResponse(total=5, num_after_truncation=5, num_filtered=0, result=[{}])


def test_rows_are_plain_objects():
    row = common.dict_to_state({"node_id": "n", "start_time_ms": 5}, common.StateResource.NODES)
    assert row["node_id"] == "n"
    assert pickle.loads(pickle.dumps(row)) == row
    with pytest.raises(KeyError, match="has no column 'x'"):
        row["x"]
    assert common.filter_fields({"node_id": "n", "start_time_ms": 5}, common.NodeState, False) == {
        name: "n" if name == "node_id" else None for name in common.NodeState.list_columns(detail=False)
    }
    job = common.JobState(type="DRIVER", status="RUNNING", entrypoint="x")
    assert job.job_id is None


def test_values_for_people():
    readable = common.Humanify
    assert readable.memory(3 * 2**20) == "3.000 MiB"
    assert readable.memory(5 * 2**30) == "5.000 GiB"
    assert readable.timestamp(0) == "1970-01-01 00:00:00"
    assert readable.duration(3_723_000) == "1:02:03"
    assert readable.node_resources({"CPU": 1, "memory": 2048}) == {"CPU": 1, "memory": "2.000 KiB"}
    assert readable.events([{"state": "X", "created_ms": 1000}])[0]["created_ms"].endswith("00:00:01")
    assert common.remove_ansi_escape_codes("\x1b[1;31mred\x1b[0m") == "red"


def test_lineage_with_a_circle_ends():
    one = {"task_id": "1", "name": "a", "type": "NORMAL_TASK", "state": "FINISHED", "parent_task_id": "2"}
    two = {"task_id": "2", "name": "b", "type": "NORMAL_TASK", "state": "FINISHED", "parent_task_id": "1"}
    summary = common.TaskSummaries.to_summary_by_lineage(tasks=[one, two], actors=[])
    assert summary.total_tasks == 2


def test_the_text_for_prometheus():
    family = Family("ray_h", "histogram", 'a "b"\nc')
    tags = (("k", 'v"\\\n'),)
    series = {"values": {tags: 3.0}, "buckets": {tags: [1, 1, 0]}, "boundaries": (1.0, 2.0)}
    family.add_series(series, (("NodeId", "n"),))
    assert render([family, Family("empty", "gauge")]).splitlines() == [
        '# HELP ray_h a "b"\\nc',
        "# TYPE ray_h histogram",
        'ray_h_bucket{k="v\\"\\\\\\n",NodeId="n",le="1.0"} 1',
        'ray_h_bucket{k="v\\"\\\\\\n",NodeId="n",le="2.0"} 2',
        'ray_h_bucket{k="v\\"\\\\\\n",NodeId="n",le="+Inf"} 2',
        'ray_h_sum{k="v\\"\\\\\\n",NodeId="n"} 3.0',
        'ray_h_count{k="v\\"\\\\\\n",NodeId="n"} 2',
    ]


def test_a_trace_has_arrows_and_nests():
    ticks = submitted(ticks=[(9, 0.5)])
    rows = executed([(DRIVER, 6, "f", None, 3.0, 1_000_000, False, (2.25, 2.75))])
    trace = events_of(joined(report(DRIVER, 1, submitted=ticks), report(b"e" * 16, 2, executed=rows)).rows)
    spans = [(e["cat"], e["ts"] / 1e6, e["dur"] / 1e6) for e in trace if e["ph"] == "X"]
    assert spans == [
        ("submit_task", 1000.5, pytest.approx(1e-5, rel=0.01)),
        ("task::f", 1002.0, 1.0),
        ("task:deserialize_arguments", 1002.0, 0.25),
        ("task:execute", 1002.25, 0.5),
        ("task:store_outputs", 1002.75, 0.25),
    ]
    start, end = [e for e in trace if e["ph"] in "sf"]
    assert start["id"] == end["id"]
    assert start["tid"].startswith("driver:")
    assert end["tid"].startswith("worker:")
    assert {e["name"] for e in trace if e["ph"] == "M"} == {"process_name", "thread_name"}
