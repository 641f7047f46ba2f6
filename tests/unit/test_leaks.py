"""The leak check of the suite must see what it is there to see."""

import os
import shutil
import socket
import subprocess
import sys

import pytest
from support import leaks

SLEEPER = "import sys; print('up', flush=True); sys.stdin.read()"


@pytest.fixture
def before(run_dir):
    return leaks.take(run_dir)


def left(before, run_dir):
    return leaks.take(run_dir).left_since(before)


def test_nothing_left_is_reported_as_nothing(before, run_dir):
    assert leaks.wait_clean(before, run_dir, timeout_s=0) == []


def test_a_child_process_is_seen_until_it_ends(before, run_dir):
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        assert [line for line in left(before, run_dir) if line.startswith(f"process {child.pid}:")]
    assert left(before, run_dir) == []


def test_an_orphan_in_a_session_of_its_own_is_seen(before, run_dir, tmp_path):
    pid_file = tmp_path / "pid"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # The middle process ends at once: the orphan is nobody's child, held only by the fifo.
    orphan = f"open({str(fifo)!r}).read()"
    middle = (
        "import subprocess, sys\n"
        f"p = subprocess.Popen([sys.executable, '-c', {orphan!r}], start_new_session=True)\n"
        f"open({str(pid_file)!r}, 'w').write(str(p.pid))\n"
    )
    subprocess.run([sys.executable, "-c", middle], check=True)
    pid = int(pid_file.read_text())
    assert [line for line in left(before, run_dir) if line.startswith(f"process {pid}:")]
    with open(fifo, "w"):
        pass
    assert leaks.wait_clean(before, run_dir, timeout_s=10) == []


def test_listening_sockets_are_seen(before, run_dir):
    path = str(run_dir / "tmp" / "listens")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen(1)
        port = tcp.getsockname()[1]
        lines = left(before, run_dir)
        assert any(f"127.0.0.1:{port}" in line for line in lines)
        assert any(path in line for line in lines)
    os.unlink(path)
    assert left(before, run_dir) == []


@pytest.mark.skipif(not leaks.SHM.is_dir(), reason="this system has no /dev/shm")
def test_shared_memory_is_seen_unless_another_run_owns_it(before, run_dir):
    unique = f"rayjup-leak-test-{os.getpid()}"
    owners = {"mine": os.getpid(), "dead": dead_pid(), "nobody": None, "another": 1}
    paths = {name: leaks.SHM / f"{unique}-{name}" for name in owners}
    try:
        for name, owner in owners.items():
            paths[name].mkdir()
            if owner is not None:
                (paths[name] / "owner").write_text(str(owner))
        found = left(before, run_dir)
        assert [name for name, path in paths.items() if f"file {path}" in found] == ["mine", "dead", "nobody"]
    finally:
        for path in paths.values():
            shutil.rmtree(path, ignore_errors=True)


def dead_pid():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_session_directories_and_descriptors_are_seen(before, run_dir):
    descriptor = run_dir / "run" / "rayjup" / "c-1.json"
    session = run_dir / "tmp" / "rayjup-0" / "a-session"
    descriptor.parent.mkdir(exist_ok=True)
    descriptor.touch()
    session.mkdir(parents=True)
    try:
        assert {f"file {descriptor}", f"file {session}"} <= set(left(before, run_dir))
    finally:
        descriptor.unlink()
        session.rmdir()
        session.parent.rmdir()
