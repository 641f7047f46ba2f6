"""Where replicas are: what a process knows of it, and how it comes to know.

The controller sends every change to those that serve (replicas, proxies). Other processes ask: when
they first need it, and then about twice a second while they make calls. If the controller does not
answer, what was known before stays good enough; the replicas go on without it.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any

import rayjup
from rayjup.exceptions import RayError
from rayjup.serve._private.common import CONTROLLER, NAMESPACE, DeploymentID

FRESH_S = 0.5  # no question within this time
STALE_S = 2.0  # after that long a call waits for the answer
_ANSWER_S = 5.0


class Table:
    """Replicas of all deployments, and routes of all applications.

    ``deployments`` maps ``(app, name)`` to ``{"replicas": [{"id", "actor", "node", "max", …}],
    "max_queued", "back", "failed", …}``; ``apps`` maps names to ``{"prefix", "ingress", …}``.
    """

    def __init__(self) -> None:
        self.version = -1
        self.deployments: dict[tuple[str, str], dict[str, Any]] = {}
        self.apps: dict[str, dict[str, Any]] = {}
        self.http: dict[str, Any] = {}
        self.pushed = False  # the controller tells us
        self.asked = 0.0
        self._asking: Any = None
        self._lock = threading.Lock()
        self._listeners: weakref.WeakSet[Any] = weakref.WeakSet()

    def listen(self, router: Any) -> None:
        """Have ``router.on_table()`` called after every change."""
        self._listeners.add(router)

    def take(self, data: dict[str, Any] | None) -> None:
        """What the controller says; None: nothing has changed."""
        with self._lock:
            if data is None or (data["version"] <= self.version and data["epoch"] == self.deployments_epoch):
                return
            self.version = data["version"]
            self._epoch = data["epoch"]
            self.deployments = data["deployments"]
            self.apps = data["apps"]
            self.http = data["http"]
        for router in list(self._listeners):
            router.on_table()

    _epoch = ""

    @property
    def deployments_epoch(self) -> str:
        """Which life of the controller it is from: versions count anew in each."""
        return self._epoch

    def refresh(self, wait: bool = False) -> None:
        """See to it that what is known is not old; ``wait`` for the answer in any case."""
        if self.pushed and not wait:
            return
        now = time.monotonic()
        age = now - self.asked
        if age < FRESH_S and not wait:
            return
        ref = self._ask(now)
        if ref is None or not (wait or age > STALE_S):
            return
        try:
            self.take(rayjup.get(ref, timeout=_ANSWER_S))
        except RayError:
            return  # the controller is being restarted

    def _ask(self, now: float) -> Any:
        with self._lock:
            if self._asking is not None and now - self.asked < _ANSWER_S:
                return self._asking
            self.asked = now
        try:
            controller = rayjup.get_actor(CONTROLLER, namespace=NAMESPACE)
        except ValueError:
            return None  # nothing is served here
        ref = controller.table.remote(self.version, self._epoch)
        self._asking = ref

        def answered(ref: Any) -> None:
            self._asking = None
            if not ref.failed():
                self.take(rayjup.get(ref))

        if not ref.add_waiter(answered):
            answered(ref)
        return ref

    def entry(self, id: DeploymentID) -> dict[str, Any] | None:
        """What is known of a deployment."""
        return self.deployments.get((id.app_name, id.name))


_table: Table | None = None
_session: Any = None


def table() -> Table:
    """The table of this process, for the cluster that it is connected to now."""
    global _table, _session
    job = rayjup.get_runtime_context().get_job_id() if rayjup.is_initialized() else None
    if _table is None or job != _session:
        _table, _session = Table(), job
    return _table
