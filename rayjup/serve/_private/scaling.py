"""How many replicas are wanted: a pure policy with a memory, no clock and no I/O.

A sample is what one deployment had to do at one moment: requests that ran in its replicas and
requests that waited for one. A decision looks at the samples of the last ``look_back_period_s``,
asks the policy, and takes effect only once the policy has wanted the same direction for the
configured delay.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

KEPT = 10  # decisions that are remembered to explain the number of replicas


class AutoscalingContext:
    """What a policy may look at; numbers may be given as functions, which are called when read."""

    def __init__(
        self,
        deployment_id: Any,
        deployment_name: str,
        app_name: str | None,
        current_num_replicas: int,
        target_num_replicas: int,
        running_replicas: list[Any],
        total_num_requests: float | Callable[[], float],
        total_queued_requests: float | Callable[[], float] | None = None,
        aggregated_metrics: Any = None,
        raw_metrics: Any = None,
        capacity_adjusted_min_replicas: int = 0,
        capacity_adjusted_max_replicas: int = 1,
        policy_state: dict[str, Any] | None = None,
        last_scale_up_time: float | None = None,
        last_scale_down_time: float | None = None,
        current_time: float | None = None,
        config: Any = None,
        total_pending_async_requests: int = 0,
        **more: Any,
    ) -> None:
        self.deployment_id = deployment_id
        self.deployment_name = deployment_name
        self.app_name = app_name
        self.current_num_replicas = current_num_replicas
        self.target_num_replicas = target_num_replicas
        self.running_replicas = running_replicas
        self._total_num_requests = total_num_requests
        self._total_queued_requests = total_queued_requests
        self._aggregated_metrics = aggregated_metrics
        self._raw_metrics = raw_metrics
        self.capacity_adjusted_min_replicas = capacity_adjusted_min_replicas
        self.capacity_adjusted_max_replicas = capacity_adjusted_max_replicas
        self.policy_state = policy_state or {}
        self.last_scale_up_time = last_scale_up_time
        self.last_scale_down_time = last_scale_down_time
        self.current_time = current_time
        self.config = config
        self.total_pending_async_requests = total_pending_async_requests
        self.__dict__.update(more)

    @property
    def total_num_requests(self) -> float:
        """Requests that run or wait."""
        return _read(self._total_num_requests) or 0.0

    @property
    def total_queued_requests(self) -> float:
        """Requests that wait for a replica."""
        return _read(self._total_queued_requests) or 0.0

    @property
    def total_running_requests(self) -> float:
        """Requests that run in replicas."""
        return self.total_num_requests - self.total_queued_requests

    @property
    def aggregated_metrics(self) -> dict[str, Any]:
        """Numbers that replicas report (``record_autoscaling_stats``), one per replica."""
        return _read(self._aggregated_metrics) or {}

    @property
    def raw_metrics(self) -> dict[str, Any]:
        """The same with all their samples."""
        return _read(self._raw_metrics) or {}


def _read(value: Any) -> Any:
    return value() if callable(value) else value


def wanted_by_load(ctx: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """The usual policy: as many replicas as bring each to ``target_ongoing_requests``.

    Source: replicas wanted = replicas * (requests per replica / target), with the difference from
    now damped by the up- or downscaling factor.
    """
    config = ctx.config
    target = (
        config["target_ongoing_requests"]
        if isinstance(config, dict)
        else config.get_target_ongoing_requests()
    )
    running = len(ctx.running_replicas) or ctx.current_num_replicas
    load = ctx.total_num_requests
    if not running:
        return (max(1, math.ceil(load / target)) if load > 0 else 0), ctx.policy_state
    ratio = load / running / target
    factor = _factor(config, ratio >= 1)
    smoothed = 1 + (ratio - 1) * factor
    wanted = math.ceil(round(running * smoothed, 9))
    # Rounding up would keep one replica too many for ever when shrinking goes in small steps.
    if ratio < 1 and wanted == ctx.target_num_replicas:
        wanted = max(math.ceil(round(load / target, 9)), wanted - 1)
    if load > 0:
        wanted = max(1, wanted)
    return wanted, ctx.policy_state


def _factor(config: Any, up: bool) -> float:
    if isinstance(config, dict):
        return float(config["upscaling_factor" if up else "downscaling_factor"])
    return float(config.get_upscaling_factor() if up else config.get_downscaling_factor())


@dataclass
class Decision:
    """A change of the number of replicas, and why."""

    time: float
    before: int
    after: int
    reason: str
    policy: str = "load"


@dataclass
class Scaler:
    """The autoscaling of one deployment.

    Parameters
    ----------
    config
        ``min_replicas``, ``max_replicas``, ``initial_replicas``, ``target_ongoing_requests``,
        ``look_back_period_s``, ``upscale_delay_s``, ``downscale_delay_s``,
        ``downscale_to_zero_delay_s``, ``upscaling_factor``, ``downscaling_factor``,
        ``aggregation_function``.
    policy
        See :class:`rayjup.serve.config.AutoscalingPolicy`; None is the usual one.
    """

    config: dict[str, Any]
    policy: Callable[[AutoscalingContext], Any] | None = None
    ids: tuple[Any, str, str] = (None, "", "")  # deployment, its name, its application's name
    samples: deque[tuple[float, float, float]] = field(default_factory=deque)  # time, running, queued
    decisions: deque[Decision] = field(default_factory=lambda: deque(maxlen=KEPT))
    memory: dict[str, Any] = field(default_factory=dict)
    since: float | None = None  # when the policy began to want another number
    direction: int = 0
    last_up: float | None = None
    last_down: float | None = None
    wanted: float = 0
    error: str = ""

    def first_target(self, current: int | None) -> int:
        """With how many replicas to begin (``current``: those that an earlier version had)."""
        low, high = self.bounds()
        first = current if current is not None else self.config.get("initial_replicas")
        return min(max(low if first is None else first, low), high)

    def bounds(self) -> tuple[int, int]:
        """The least and the most replicas."""
        return self.config["min_replicas"], self.config["max_replicas"]

    def record(self, now: float, running: float, queued: float) -> None:
        """Note what the deployment had to do."""
        self.samples.append((now, running, queued))
        oldest = now - self.config["look_back_period_s"]
        while self.samples and self.samples[0][0] < oldest:
            self.samples.popleft()

    def load(self) -> tuple[float, float]:
        """Requests that ran and that waited, over the window."""
        if not self.samples:
            return 0.0, 0.0
        how = self.config.get("aggregation_function", "mean")
        columns = [s[1] for s in self.samples], [s[2] for s in self.samples]
        if how == "max":
            return max(columns[0]), max(columns[1])
        if how == "min":
            return min(columns[0]), min(columns[1])
        count = len(self.samples)
        return sum(columns[0]) / count, sum(columns[1]) / count

    def decide(
        self, now: float, target: int, running: list[Any], metrics: dict[str, Any] | None = None
    ) -> int:
        """The number of replicas to have from now on; ``target`` where nothing changes."""
        low, high = self.bounds()
        ran, queued = self.load()
        ctx = AutoscalingContext(
            deployment_id=self.ids[0],
            deployment_name=self.ids[1],
            app_name=self.ids[2],
            current_num_replicas=len(running),
            target_num_replicas=target,
            running_replicas=running,
            total_num_requests=ran + queued,
            total_queued_requests=queued,
            aggregated_metrics=metrics,
            raw_metrics=metrics,
            capacity_adjusted_min_replicas=low,
            capacity_adjusted_max_replicas=high,
            policy_state=self.memory,
            last_scale_up_time=self.last_up,
            last_scale_down_time=self.last_down,
            current_time=now,
            config=self.config,
        )
        try:
            answer = (self.policy or wanted_by_load)(ctx)
        except Exception as problem:  # noqa: BLE001 - the user's policy; shown in the status
            self.error = f"{type(problem).__name__}: {problem}"
            return target
        self.error = ""
        if isinstance(answer, tuple):
            self.wanted, self.memory = answer[0], dict(answer[1] or {})
        else:
            self.wanted = answer
        wanted = min(max(math.ceil(self.wanted), low), high)
        if target == 0 and queued > 0 and wanted > 0:
            return self._change(now, target, wanted, ran, queued)  # somebody waits and nobody is there
        direction = (wanted > target) - (wanted < target)
        if direction != self.direction or direction == 0:
            self.direction = direction
            self.since = now
        if direction == 0:
            return target
        if direction < 0 and wanted == 0 and target > 1:
            wanted = 1  # the last one goes by its own delay
        if now - (self.since if self.since is not None else now) < self._delay(direction, wanted):
            return target
        return self._change(now, target, wanted, ran, queued)

    def _delay(self, direction: int, wanted: int) -> float:
        if direction > 0:
            return float(self.config["upscale_delay_s"])
        to_zero = self.config.get("downscale_to_zero_delay_s")
        return float(self.config["downscale_delay_s"] if wanted or to_zero is None else to_zero)

    def _change(self, now: float, before: int, after: int, ran: float, queued: float) -> int:
        if after > before:
            self.last_up = now
        else:
            self.last_down = now
        reason = (
            f"{ran:.4g} requests running and {queued:.4g} waiting over "
            f"{self.config['look_back_period_s']:g} s; {self.config['target_ongoing_requests']:g} per "
            "replica "
            f"wanted; between {self.config['min_replicas']} and {self.config['max_replicas']} replicas"
        )
        name = getattr(self.policy, "__name__", "load") if self.policy else "load"
        self.decisions.append(Decision(now, before, after, reason, name))
        self.since = now
        self.direction = 0
        return after
