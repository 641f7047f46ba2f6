"""What lies on disk and in shared memory when processes of a local cluster were killed."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from rayjup.cluster.descriptors import process_start_time, read_head, runtime_dir

_OTHERS_S = 2.0  # longest wait for the ends of other processes


def remove_stores_of(pid: int) -> None:
    """Remove the shared memory of a node that was killed."""
    for owner in Path("/dev/shm").glob(f"rayjup-{os.getuid()}-*/owner"):
        try:
            found = int(owner.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            continue  # somebody else removes it
        if found == pid:
            shutil.rmtree(owner.parent, ignore_errors=True)


def remove_session_if_last(session: str, cluster_id: str) -> None:
    """Remove the session's directory and descriptor unless another node is still about to do so."""
    for owner in Path(session).glob("*/owner"):
        try:
            pid = int(owner.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            continue  # it is just being removed
        if pid != os.getpid() and process_start_time(pid) != 0.0:
            return
    shutil.rmtree(session, ignore_errors=True)
    # The head has removed it, unless it was killed.
    (runtime_dir() / f"{cluster_id}.json").unlink(missing_ok=True)


def note_up(session: str) -> None:
    """The cluster has started: from now on nobody waits for the log of a failure."""
    Path(session, "up").touch()


def tidy_after_node(session: str, cluster_id: str, pid: int) -> None:
    """The first node of a cluster is gone: if the head is, too, nobody else removes what they leave."""
    deadline = time.monotonic() + _OTHERS_S
    while os.path.exists(session) and time.monotonic() < deadline:
        head = read_head(session)
        if not Path(session, "up").exists():
            return  # whoever starts the cluster wants to see the log, and removes it
        if head is None or not process_start_time(head[0]) == head[1] != 0.0:
            remove_stores_of(pid)
            remove_session_if_last(session, cluster_id)
        time.sleep(0.02)
