"""What a failed training function tells: the user's traceback, and whether another rank began it."""

from __future__ import annotations

import os
import pickle
import traceback

_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# What communication libraries say when a peer has gone away.
_SIGNS = (
    "connection closed by peer",
    "connection reset by peer",
    "broken pipe",
    "socket closed",
    "connection was likely closed",
    "remote process exited",
    "ncclremoteerror",
    "heartbeat monitor",
    "timed out waiting",
    "rank 0's store",
    "failed to recv",
    "failed to send",
    "connection refused",
    "allreduce failed",
)


def describe(error: BaseException) -> str:
    """The error with the user's frames alone; frames of this package before them say nothing about the
    fault."""
    _without_ours(error)
    return "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()


def _without_ours(error: BaseException) -> None:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        trace = trace.tb_next
    if trace is not None:  # an error of our own, such as a wrong signature, keeps its frames
        error.__traceback__ = trace


def sendable(error: BaseException, text: str) -> Exception:
    """The error itself if it can travel, else one with its text."""
    import cloudpickle

    instead = RuntimeError(text.rsplit("\n", 1)[-1])
    if not isinstance(error, Exception):
        return instead
    try:
        pickle.loads(cloudpickle.dumps(error))
    except Exception:  # noqa: BLE001 - an error class of the user's may fail in any way here
        return instead
    return error


def follows_another(error: BaseException) -> bool:
    """Whether an error looks like the consequence of another rank's end."""
    text = f"{type(error).__name__}: {error}".lower()
    return any(sign in text for sign in _SIGNS)
