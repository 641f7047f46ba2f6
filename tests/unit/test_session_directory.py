"""Who uses the directory of a session: nodes that run or are starting, not those that have ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rayjup.engine.node.agent import has_nodes


def test_a_node_that_is_just_starting_keeps_the_directory(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "head").write_text("1 2.0")
    assert not has_nodes(str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    node = tmp_path / "abc"
    node.mkdir()
    (node / "owner").write_text(str(ended.pid))
    assert not has_nodes(str(tmp_path))
    (node / "owner").write_text(str(os.getpid()))  # it has no socket yet
    assert has_nodes(str(tmp_path))
