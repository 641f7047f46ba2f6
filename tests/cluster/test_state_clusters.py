"""The state API of clusters of a test's own: what is forgotten, ended jobs, which cluster is meant."""

import re
import subprocess
import sys
from types import ModuleType

import pytest
from support.clusters import poll

from rayjup.cluster import descriptors, manager
from rayjup.observe import ClusterView, metrics_text
from rayjup.util import state
from rayjup.util.state import _source
from rayjup.util.state.exception import RayStateApiException, ServerUnavailable


def named(name: str, **options):
    return state.list_tasks(filters=[("name", "=", name)], detail=True, limit=10_000, **options)


def test_a_summary_counts_what_is_forgotten(own: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAYJUP_TASK_EVENTS", "50")
    own.init(num_cpus=1)

    @own.remote
    def forgotten(i):
        if i % 100 == 0:
            raise ValueError(i)
        return i

    refs = [forgotten.remote(i) for i in range(1000)]
    own.wait(refs, num_returns=1000)
    with pytest.raises(RayStateApiException, match=r"not remembered"):
        named("forgotten")
    assert state.list_tasks(filters=[("state", "=", "RUNNING")]) == []
    with pytest.warns(UserWarning, match=r"not remembered"):
        assert len(named("forgotten", raise_on_missing_output=False)) <= 50
    counts = state.summarize_tasks()["cluster"]["summary"]["forgotten"]["state_counts"]
    assert counts == {"FINISHED": 990, "FAILED": 10}


def test_tasks_of_a_job_that_has_ended(own: ModuleType):
    cluster = manager.start(num_cpus=1)
    try:
        program = (
            "import rayjup as ray, sys, time\n"
            f"ray.init(address={cluster.cluster_id!r})\n"
            "@ray.remote\n"
            "def of_old_job(i):\n"
            "    if i == 3: raise ValueError('third')\n"
            "refs = [of_old_job.remote(i) for i in range(20)]\n"
            "ray.wait(refs, num_returns=20)\n"
            # Executors end with their job; until then they tell the node what they have done.
            "@ray.remote\n"
            "def told():\n"
            "    from rayjup.core import session\n"
            "    while session.connected().runtime.reports.events.behind: time.sleep(0.01)\n"
            "ray.get(told.remote())\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
        poll(lambda: state.list_jobs(address=cluster.name)[0].status == "SUCCEEDED")
        rows = state.list_tasks(cluster.cluster_id, filters=[("name", "=", "of_old_job")], detail=True)
        assert len(rows) == 20
        (failed,) = [row for row in rows if row.state == "FAILED"]
        assert "third" in failed.error_message
        assert all(row.parent_task_id.startswith("f" * 40) for row in rows)

        def dead() -> set[str]:
            rows = state.list_workers(address=cluster.name, filters=[("is_alive", "=", False)], detail=True)
            return {row.worker_type for row in rows}

        def messages() -> list[str]:
            return [event.message for event in state.list_cluster_events(address=cluster.name)]

        poll(lambda: dead() == {"DRIVER", "WORKER"})
        poll(lambda: any("has ended" in message for message in messages()))
        view = ClusterView(cluster)
        poll(lambda: re.search(r"ray_finished_jobs_total\{.*\} 1\n", metrics_text(view)))
        view.close()
    finally:
        manager.stop(cluster)


def test_which_cluster_is_meant(own: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConnectionError, match=r"no running cluster to ask"):
        state.list_nodes()
    first = manager.start(num_cpus=1)
    second = manager.start(num_cpus=2)
    try:
        with pytest.raises(ConnectionError, match=r"several clusters"):
            state.list_nodes()
        with pytest.raises(ConnectionError, match=r"no running cluster 'nothing'"):
            state.list_nodes("nothing")
        assert state.list_nodes(second.address)[0].resources_total["CPU"] == 2
        monkeypatch.setenv("RAY_ADDRESS", first.name)
        assert state.list_nodes()[0].resources_total["CPU"] == 1
        own.init(address=second.name)
        assert state.list_nodes()[0].resources_total["CPU"] == 2
        assert state.list_nodes(first.agent_socket)[0].resources_total["CPU"] == 1
    finally:
        own.shutdown()
        manager.stop(first)
        manager.stop(second)
    assert descriptors.list_clusters() == []


def test_a_cluster_that_is_gone(own: ModuleType):
    own.init(num_cpus=1)
    source = _source.find()
    own.shutdown()
    with pytest.raises(ServerUnavailable, match=r"did not answer"):
        source.rows("nodes", 1.0)


def test_call_sites(own: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_record_ref_creation_sites", "1")
    own.init(num_cpus=1)
    here = own.put(b"1" * 10)
    (row,) = state.get_objects(here.hex())
    assert re.search(r"\(put object\) .*test_state_clusters\.py:test_call_sites:\d+", row.call_site)
    summary = state.summarize_objects()["cluster"]
    assert summary["callsite_enabled"] is True
    assert row.call_site in summary["summary"]
