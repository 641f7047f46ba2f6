"""Who uses the directory of a session: nodes that run or are starting, not those that have ended."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

from rayjup.engine.node.agent import remove_unless_used


def test_a_node_that_is_just_starting_keeps_the_directory(tmp_path: Path) -> None:
    session = tmp_path / "session"
    node = session / "abc"
    node.mkdir(parents=True)
    (session / "head").write_text("1 2.0")
    (node / "owner").write_text(str(os.getpid()))  # it has no socket yet
    assert not remove_unless_used(str(session)) and node.is_dir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (node / "owner").write_text(str(ended.pid))
    assert remove_unless_used(str(session)) and not session.exists()
    assert remove_unless_used(str(session))


def test_nobody_removes_what_somebody_is_making(tmp_path: Path) -> None:
    session = tmp_path / "session"
    session.mkdir()
    fd = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)  # as a node that prepares its directories
    remover = threading.Thread(target=remove_unless_used, args=(str(session),))
    remover.start()
    remover.join(0.2)
    assert remover.is_alive() and session.is_dir()
    (session / "abc").mkdir()
    (session / "abc" / "owner").write_text(str(os.getpid()))
    os.close(fd)
    remover.join(60)
    assert session.is_dir()
