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
from rayjup.serve._private.common import CONTROLLER, NAMESPACE, DeploymentID, random_id

FRESH_S = 0.5  # no question within this time
STALE_S = 2.0  # after that long a call waits for the answer
_ANSWER_S = 5.0
_WATCH_S = 0.1


class Table:
    """Replicas of all deployments, and routes of all applications.

    ``deployments`` maps ``(app, name)`` to ``{"replicas": [{"id", "actor", "node", "max", …}],
    "max_queued", "back", "failed", …}``; ``apps`` maps names to ``{"prefix", "ingress", …}``.
    """

    def __init__(self) -> None:
        self.version = -1
        self.epoch = ""  # which life of the controller it is from: versions count anew in each
        self.caller = random_id(12)
        self._watching = False
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
            if data is None or (data["version"] <= self.version and data["epoch"] == self.epoch):
                return
            self.version = data["version"]
            self.epoch = data["epoch"]
            self.deployments = data["deployments"]
            self.apps = data["apps"]
            self.http = data["http"]
        for router in list(self._listeners):
            router.on_table()

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
        ref = controller.table.remote(self.version, self.epoch)
        self._asking = ref

        def answered(ref: Any) -> None:
            self._asking = None
            if not ref.failed():
                self.take(rayjup.get(ref))

        if not ref.add_waiter(answered):
            answered(ref)
        return ref

    def watch(self) -> None:
        """Calls wait here for a replica: tell the controller how many, and ask until they have one."""
        if self.pushed:
            return  # the controller asks us, and tells us
        with self._lock:
            if self._watching:
                return
            self._watching = True
        threading.Thread(target=self._watch, name="rayjup-serve-waiting", daemon=True).start()

    def _watch(self) -> None:
        while True:
            queued = [((r.id.app_name, r.id.name), r.waiting()) for r in list(self._listeners)]
            queued = [(key, count) for key, count in queued if count]
            with self._lock:
                if not queued or not rayjup.is_initialized():
                    self._watching = False
                    return
            try:
                controller = rayjup.get_actor(CONTROLLER, namespace=NAMESPACE)
                ref = controller.table.remote(self.version, self.epoch, self.caller, queued)
                self.take(rayjup.get(ref, timeout=_ANSWER_S))
            except (ValueError, RayError):
                pass  # it is being restarted
            time.sleep(_WATCH_S)

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
