"""What the programs of jobs print: files on the nodes where they run, read through the agents of these."""

from __future__ import annotations

from pathlib import Path

from rayjup.jobs.supervisor import log_name
from rayjup.runtime_context import get_runtime_context
from rayjup.util.state import _logs
from rayjup.util.state.exception import RayStateApiException

_PIECE = 1 << 16
_TIMEOUT_S = 10.0


def read_on(session_dir: str, submission_id: str, node_id: str | None, offset: int) -> bytes:
    """What the program has printed behind ``offset``, or a part of it; empty where that is nothing.

    Parameters
    ----------
    session_dir
        Of the node of this process.
    node_id
        The node on which the program was started; None while it was not.

    Raises
    ------
    LookupError
        That node does not answer.
    """
    if node_id is None:
        return b""
    name = log_name(submission_id)
    if node_id == get_runtime_context().get_node_id():
        return _read(Path(session_dir, "logs", name), offset)
    try:
        return _logs.read_on(node_id, name, offset, _TIMEOUT_S)
    except RayStateApiException as error:
        raise LookupError(
            f"the log of the job {submission_id!r} lies on the node {node_id[:12]}, which does not answer: "
            "where the node has left the cluster, its logs are gone with it."
        ) from error


def remove(session_dir: str, submission_id: str, node_id: str | None) -> None:
    """Remove the log of a job, if its node is still there."""
    if node_id is None:
        return
    if node_id == get_runtime_context().get_node_id():
        Path(session_dir, "logs", log_name(submission_id)).unlink(missing_ok=True)
        return
    try:
        _logs.remove(node_id, log_name(submission_id), _TIMEOUT_S)
    except RayStateApiException:
        pass  # it has left, with its files


def _read(path: Path, offset: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(_PIECE)
    except FileNotFoundError:
        return b""  # nothing was printed yet
