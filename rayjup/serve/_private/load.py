"""The controller's view of the load: who waits, what runs, and how many replicas that takes."""

from __future__ import annotations

from typing import Any

from rayjup.serve._private.common import DeploymentID
from rayjup.serve._private.packing import loads
from rayjup.serve._private.records import Deployment
from rayjup.serve._private.scaling import Scaler

_FORGOTTEN_S = 2.0  # a caller that has not said so for this long has nothing waiting any more


class Load:
    """Queues that callers report, and the autoscaling of all deployments."""

    def __init__(self) -> None:
        self.scalers: dict[DeploymentID, Scaler] = {}
        self.callers: dict[str, tuple[float, list[Any]]] = {}

    def configure(self, id: DeploymentID, config: dict[str, Any]) -> Scaler | None:
        """A deployment has these settings from now on; its scaler, if it is to scale."""
        settings = config.get("autoscaling_config")
        if not settings:
            self.scalers.pop(id, None)
            return None
        policy = loads(settings["policy"]) if settings.get("policy") else None
        old = self.scalers.get(id)
        made = Scaler(settings, policy, (id, id.name, id.app_name))
        if old is not None:
            made.samples, made.decisions, made.memory = old.samples, old.decisions, old.memory
        self.scalers[id] = made
        return made

    def queued(self, caller: str, now: float, queues: Any) -> None:
        """A caller says how many of its calls wait: ``[((app, deployment), count)]``."""
        self.callers[caller] = (now, list(queues))

    def queues(self, now: float, polls: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
        """All calls that wait, by deployment."""
        self.callers = {c: (t, q) for c, (t, q) in self.callers.items() if now - t < _FORGOTTEN_S}
        total: dict[tuple[str, str], int] = {}
        for queues in [*(q for _, q in self.callers.values()), *(poll.get("queued", ()) for poll in polls)]:
            for key, count in queues:
                total[tuple(key)] = total.get(tuple(key), 0) + count
        return total

    def wanted(
        self,
        now: float,
        deployment: Deployment,
        polls: dict[str, dict[str, Any]],
        queued: dict[tuple[str, str], int],
    ) -> int | None:
        """How many replicas a deployment is to have; None where that is fixed."""
        scaler = self.scalers.get(deployment.id)
        if scaler is None or deployment.deleting:
            return None
        running = deployment.running()
        mine = [polls[r.id] for r in running if r.id in polls]
        waits = sum(p["waiting"] for p in mine) + queued.get((deployment.id.app_name, deployment.id.name), 0)
        scaler.record(now, sum(p["ongoing"] for p in mine), waits)
        stats: dict[str, dict[str, float]] = {}
        for record in running:
            for name, value in ((polls.get(record.id) or {}).get("stats") or {}).items():
                stats.setdefault(name, {})[record.id] = value
        return scaler.decide(now, deployment.target, [r.id for r in running], stats)

    def forget(self, id: DeploymentID) -> None:
        """A deployment is gone."""
        self.scalers.pop(id, None)
