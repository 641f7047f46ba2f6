"""Cluster descriptors: one private file each, read by everybody, gone with their cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from rayjup.cluster import descriptors
from rayjup.cluster.descriptors import Descriptor, process_start_time


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "rayjup"


def make(cluster_id: str = "rj-1", name: str = "one", pid: int | None = None, **more) -> Descriptor:
    pid = os.getpid() if pid is None else pid
    return Descriptor(
        cluster_id=cluster_id,
        name=name,
        address="unix:///x",
        session_dir="/x",
        agent_socket="/x/agent.sock",
        head_pid=pid,
        head_start_time=more.pop("head_start_time", process_start_time(pid)),
        **more,
    )


@pytest.fixture
def dead_pid():
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def test_written_privately_and_read_back(directory):
    descriptor = make(created=5.0, extra={"node_pid": 7})
    descriptor.write()
    assert os.stat(descriptor.path).st_mode & 0o777 == 0o600
    assert os.stat(directory).st_mode & 0o777 == 0o700
    assert descriptors.read(descriptor.path) == descriptor
    assert os.listdir(directory) == ["rj-1.json"], "no temporary file stays"


def test_listed_oldest_first_and_found_by_id_and_name():
    make("rj-b", "same", created=2).write()
    make("rj-a", "same", created=1).write()
    make("rj-c", "other", created=3).write()
    assert [d.cluster_id for d in descriptors.list_clusters()] == ["rj-a", "rj-b", "rj-c"]
    assert descriptors.find("rj-a").cluster_id == "rj-a"
    assert descriptors.find("same").cluster_id == "rj-b", "the newest of that name"
    assert descriptors.find("nothing") is None


def test_the_file_of_a_dead_head_is_removed(dead_pid):
    stale = make("rj-dead", pid=dead_pid, head_start_time=123.0)
    stale.write()
    make("rj-live").write()
    assert not stale.is_alive()
    assert [d.cluster_id for d in descriptors.list_clusters(prune=False)] == ["rj-live"]
    assert stale.path.exists()
    assert [d.cluster_id for d in descriptors.list_clusters()] == ["rj-live"]
    assert not stale.path.exists()


def test_a_recycled_pid_is_not_the_head():
    other = make("rj-1", head_start_time=process_start_time(os.getpid()) + 1)
    other.write()
    assert not other.is_alive() and descriptors.list_clusters() == []


def test_a_head_that_never_lived_is_not_alive(dead_pid):
    assert not make(pid=dead_pid, head_start_time=0.0).is_alive()


def test_a_zombie_is_dead():
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    started = process_start_time(process.pid)
    descriptor = make(pid=process.pid, head_start_time=started)
    assert descriptor.is_alive()
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and not collected
    assert not descriptor.is_alive()
    process.wait()


def test_files_that_are_not_ours_are_passed_over_and_kept(directory):
    make().write()
    for number, text in enumerate(("{", "[]", json.dumps({"version": 99}), "")):
        (directory / f"{number}.json").write_text(text)
    assert len(descriptors.list_clusters()) == 1
    assert len(list(directory.glob("*.json"))) == 5


def test_a_file_of_another_version_of_rayjup_with_more_fields(directory):
    descriptor = make()
    descriptor.write()
    raw = json.loads(descriptor.path.read_text())
    raw["something_new"] = 1
    descriptor.path.write_text(json.dumps(raw))
    assert descriptors.list_clusters() == [descriptor]


def test_a_file_that_lacks_fields_is_not_a_cluster(directory):
    directory.mkdir()
    raw = {"version": descriptors.DESCRIPTOR_VERSION, "cluster_id": "x"}
    (directory / "x.json").write_text(json.dumps(raw))
    assert descriptors.list_clusters() == []


def test_a_file_that_is_not_text_is_not_a_cluster(directory):
    directory.mkdir()
    (directory / "x.json").write_bytes(b"\xff\xfe\x00")
    assert descriptors.list_clusters() == []


def test_remove_is_done_once_and_again():
    descriptor = make()
    descriptor.write()
    descriptor.remove()
    descriptor.remove()
    assert descriptors.list_clusters() == []


def test_no_directory_is_no_clusters():
    assert descriptors.list_clusters() == [] and descriptors.find("x") is None


def test_start_time_of_no_process(dead_pid):
    assert process_start_time(dead_pid) == 0.0 and process_start_time(os.getpid()) > 0


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"JUPYTER_RUNTIME_DIR": "/r"}, "/r/rayjup"),
        ({"JUPYTER_DATA_DIR": "/d"}, "/d/runtime/rayjup"),
        ({"XDG_DATA_HOME": "/x"}, "/x/jupyter/runtime/rayjup"),
    ],
)
def test_where_files_lie(monkeypatch, variables, expected):
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if sys.platform == "linux":
        assert str(descriptors.runtime_dir()) == expected
