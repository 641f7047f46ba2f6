"""Frames of failed calls, kept for a debugger that comes later.

Off by default, because a frame holds on to its arguments. A driver switches it on by a file in the
session's directory (or the variable ``RAY_DEBUG_POST_MORTEM``). From then on an executor keeps the frames of
its last failure, and waits for debuggers on a unix socket beside that file, which only the user can open.
"""

from __future__ import annotations

import importlib
import os
import threading
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime

_traceback: TracebackType | None = None
_server: threading.Thread | None = None


def switch_path(session_dir: str, job_id: str) -> str:
    """The file whose existence switches it on for a job."""
    return os.path.join(session_dir, f"post-mortem-{job_id}")


def socket_path(session_dir: str, pid: int) -> str:
    """Where the executor with this pid waits for debuggers."""
    return os.path.join(session_dir, f"pm-{pid}.sock")


def note(runtime: Runtime, error: BaseException) -> None:
    """A call has raised ``error``: keep its frames if somebody wants to look at them."""
    global _traceback, _server
    switch = switch_path(runtime.session_dir, runtime.job_id.hex())
    if not _on(switch):
        return
    _traceback = error.__traceback__
    if _server is None or not _server.is_alive():
        # Named, not imported: the debugger is in a layer above, and loaded only when it is needed.
        serve = importlib.import_module("rayjup.util.rpdb").serve_post_mortem
        path = socket_path(runtime.session_dir, os.getpid())
        listener = importlib.import_module("rayjup.util.rpdb").listen(path)
        _server = threading.Thread(
            target=serve,
            args=(listener, path, kept, lambda: _wanted(switch)),
            name="rayjup-post-mortem",
            daemon=True,
        )
        _server.start()


def kept() -> TracebackType | None:
    """The frames of the last failure."""
    return _traceback


def _on(switch: str) -> bool:
    return os.path.exists(switch) or os.environ.get("RAY_DEBUG_POST_MORTEM") == "1"


def _wanted(switch: str) -> bool:
    """Whether to go on waiting; lets the frames go when not."""
    global _traceback
    if _on(switch):
        return True
    _traceback = None
    return False
