"""The connection of this process to a cluster: there is one at a time."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field, replace
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.engine.executor import executor as executing
from rayjup.engine.runtime import forks
from rayjup.engine.runtime.runtime import Runtime


@dataclass
class Session:
    """What ``init`` set up."""

    runtime: Runtime
    namespace: str
    cluster: Any = None  # Descriptor
    owned: bool = False  # started by this init: ended by shutdown
    detached: bool = False  # actors that don't say otherwise outlive the driver
    extra: dict[str, Any] = field(default_factory=dict)


_session: Session | None = None
_lock = threading.RLock()


def current() -> Session | None:
    """The session, if there is one."""
    session = _session
    if session is not None and session.runtime.pid != os.getpid():
        raise forks.error()
    return session


def own() -> Session | None:
    """The session, if there is one and it is not that of a process that has forked this one."""
    session = _session
    return session if session is not None and session.runtime.pid == os.getpid() else None


def set_current(session: Session | None) -> None:
    """Install (or, with None, remove) the session."""
    global _session
    with _lock:
        _session = session


def renew() -> None:
    """Have functions and classes sent anew: they remember the session in which they were sent."""
    with _lock:
        if _session is not None:
            set_current(replace(_session))


def require() -> Session:
    """The session; made by ``init()`` on first use, as Ray does."""
    session = _session
    if session is not None and session.runtime.pid == os.getpid() and not session.runtime.closed:
        return session
    session = current()
    if session is not None and not session.runtime.closed:
        return session
    if executing.executor is not None:
        return attach_executor()
    if os.environ.get("RAY_ENABLE_AUTO_CONNECT", "1") == "0":
        raise RaySystemError("rayjup is not connected: call rayjup.init() first.")
    from rayjup.core import api  # it imports this module

    api.init()
    session = _session
    assert session is not None
    return session


def attach_executor() -> Session:
    """The session of an executor: made by the engine, used by tasks that call rayjup."""
    with _lock:
        session = _session
        if session is None:
            running = executing.executor
            assert running is not None
            if running.runtime.pid != os.getpid():
                raise forks.error()
            session = Session(
                running.runtime,
                running.job.get("namespace", ""),
                extra={"environment": running.environment},
            )
            session.detached = running.job.get("detached", False)
            set_current(session)
        return session


def connected() -> Session:
    """The session; an error when there is none (functions that never start a cluster)."""
    session = current()
    if session is None and executing.executor is not None:
        session = attach_executor()
    if session is None or session.runtime.closed:
        raise RaySystemError("rayjup is not connected to a cluster: call ray.init() first.")
    return session
