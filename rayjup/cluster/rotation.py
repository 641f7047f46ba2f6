"""Exchanging what lets people and machines into a running cluster: tokens and certificates."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster import credentials, dashboards
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.observer import Observer

_ANSWER_S = 30.0
_END_S = 40.0  # after the old credentials have ended
_POLL_S = 0.05


@dataclass(frozen=True)
class Rotated:
    """An exchange that has begun.

    Attributes
    ----------
    file
        The file to copy to other machines; None where there are no others.
    until
        When the old credentials end (of ``time.time()``).
    """

    file: str | None
    until: float


def rotate(cluster: Descriptor, grace_s: float = 300.0, *, wait: bool = False) -> Rotated:
    """Exchange the token of the REST server, the secret of the nodes and the certificates.

    What is connected stays connected. For ``grace_s`` seconds old and new credentials count, then the new
    ones alone. All nodes write the new ones themselves, also into the file with which they were started.

    Parameters
    ----------
    wait
        Return when the old credentials are refused, instead of when the new ones are taken.

    Raises
    ------
    RaySystemError
        A node does not take them, and everything stays as it was; or an exchange is under way.
    """
    _check(cluster)
    text = None
    if cluster.network is not None:
        with tempfile.TemporaryDirectory() as work:
            text = credentials.fresh(work)
    observer = Observer(cluster, _ANSWER_S)
    try:
        try:
            observer.request("credentials_rotate", text, float(grace_s))
        except RuntimeError as error:
            raise RaySystemError(str(error)) from error
        state = _state(observer)
        while not state["known"]:
            time.sleep(_POLL_S)
            state = _state(observer)
        server = dashboards.read(cluster.session_dir)
        if server is not None:
            dashboards.renew_token(server, grace_s)
        until = state["until"] or time.time()
        if wait:
            _wait_end(cluster, observer, until)
    finally:
        observer.close()
    return Rotated(state["published"], until)


def end(cluster: Descriptor) -> None:
    """Refuse old credentials now, and return when that is so.

    Raises
    ------
    RaySystemError
        No exchange of credentials waits for that.
    """
    _check(cluster)
    observer = Observer(cluster, _ANSWER_S)
    try:
        try:
            observer.request("credentials_end")
        except RuntimeError as error:
            raise RaySystemError(str(error)) from error
        server = dashboards.read(cluster.session_dir)
        if server is not None:
            dashboards.renew_token(server, None)
        _wait_end(cluster, observer, time.time())
    finally:
        observer.close()


def _check(cluster: Descriptor) -> None:
    if cluster.started_by == "node":
        raise RaySystemError(
            f"the cluster {cluster.name} was started on another machine: exchange its credentials there."
        )


def _wait_end(cluster: Descriptor, observer: Observer, until: float) -> None:
    while _state(observer)["step"] != "none":
        if time.time() > until + _END_S:
            raise RaySystemError(f"the old credentials of {cluster.name} have not ended in time.")
        time.sleep(_POLL_S)


def _state(observer: Observer) -> dict[str, Any]:
    state: dict[str, Any] = observer.request("credentials_state")
    if state["problem"]:
        raise RaySystemError(f"the credentials cannot be exchanged: {state['problem']}")
    return state
