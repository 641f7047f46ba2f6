"""``%ray_debug``: look into the frames of a call that failed on the cluster."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rayjup
from rayjup.engine.executor.postmortem import socket_path, switch_path

_PROMPT = b"(Pdb) "


def switch(on: bool) -> str:
    """Have executors keep the frames of failed calls, or no longer; a sentence that says so."""
    context = _context()
    path = Path(switch_path(context.get_temp_dir(), context.get_job_id()))
    if on:
        path.touch(mode=0o600)
        return "Frames of failed calls are kept from now on: after a failure run %ray_debug."
    path.unlink(missing_ok=True)
    return "Frames of failed calls are not kept any more."


def ray_debug(
    error: BaseException | None = None,
    *,
    commands: Sequence[str] | None = None,
) -> None:
    """Debug the call that raised ``error``, in the process and the frames where it failed.

    Parameters
    ----------
    error : RayTaskError, optional
        Default: the last error this notebook showed.
    commands : sequence of str, optional
        Commands of ``pdb`` to run, instead of asking for them.

    Raises
    ------
    ValueError
        There is no error of a call on the cluster.
    LookupError
        The frames were not kept, or their process is gone.
    """
    context = _context()
    if error is None:
        error = getattr(sys, "last_value", None)
    pid = getattr(error, "pid", None)
    if pid is None or not hasattr(error, "traceback_str"):
        what = "there was no error yet" if error is None else f"{type(error).__name__} did not happen there"
        raise ValueError(f"%ray_debug looks at errors of calls on the cluster, and {what}")
    path = socket_path(context.get_temp_dir(), pid)
    try:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
    except OSError:
        connection.close()
        kept = Path(switch_path(context.get_temp_dir(), context.get_job_id())).exists()
        why = "its process has ended" if kept else "frames are kept only after %ray_debug on"
        raise LookupError(
            f"the frames of this failure (process {pid}) are gone: {why}. "
            f"{'Run' if kept else 'Run %ray_debug on, then'} the failing cell again"
        ) from None
    with connection:
        _talk(connection, list(commands) if commands is not None else None)


def _talk(connection: socket.socket, commands: list[str] | None) -> None:
    write = sys.stdout.write
    buffer = b""
    while data := connection.recv(65536):
        buffer += data
        if not buffer.endswith(_PROMPT):
            continue
        write(buffer[: -len(_PROMPT)].decode(errors="replace"))
        buffer = b""
        if commands is None:
            try:
                line = input(_PROMPT.decode())
            except NotImplementedError:  # a notebook that runs headless
                raise RuntimeError(
                    "nobody can be asked for commands here: give them, as in "
                    "%ray_debug --commands 'where; args'"
                ) from None
            except (EOFError, KeyboardInterrupt):
                line = "quit"
        else:
            line = commands.pop(0) if commands else "quit"
            if line != "quit":
                write(f"{_PROMPT.decode()}{line}\n")
        connection.sendall(f"{line}\n".encode())
    if buffer:
        write(buffer.decode(errors="replace"))


def _context() -> Any:
    if not rayjup.is_initialized():
        raise ConnectionError("this notebook is connected to no cluster: run %ray_init first")
    return rayjup.get_runtime_context()
