"""How many replicas are wanted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayjup.serve._private.scaling import AutoscalingContext, Scaler, wanted_by_load


def scaler(**more: Any) -> Scaler:
    config = {
        "min_replicas": 1,
        "max_replicas": 10,
        "initial_replicas": None,
        "target_ongoing_requests": 2.0,
        "look_back_period_s": 10.0,
        "upscale_delay_s": 3.0,
        "downscale_delay_s": 5.0,
        "downscale_to_zero_delay_s": None,
        "upscaling_factor": 1.0,
        "downscaling_factor": 1.0,
        "aggregation_function": "mean",
        **more,
    }
    return Scaler(config)


def run(one: Scaler, start: float, seconds: int, target: int, running: float, queued: float = 0.0) -> int:
    for second in range(seconds):
        now = start + second
        one.record(now, running, queued)
        target = one.decide(now, target, [f"r{i}" for i in range(target)])
    return target


def test_growing_waits_for_the_delay() -> None:
    one = scaler()
    assert run(one, 0.0, 3, 1, 8.0) == 1
    assert run(one, 3.0, 2, 1, 8.0) == 4
    assert one.decisions[-1].before == 1
    assert "8 requests running" in one.decisions[-1].reason


def test_shrinking_waits_longer() -> None:
    one = scaler()
    assert run(one, 0.0, 5, 4, 2.0) == 4
    assert run(one, 5.0, 2, 4, 2.0) == 1


def test_to_zero_and_back() -> None:
    one = scaler(min_replicas=0, downscale_to_zero_delay_s=8.0)
    target = run(one, 0.0, 7, 3, 0.0)
    assert target == 1  # the last one has a delay of its own
    target = run(one, 7.0, 10, target, 0.0)
    assert target == 0
    one.samples.clear()
    one.record(100.0, 0.0, 3.0)
    assert one.decide(100.0, 0, []) == 2  # somebody waits: at once


def test_bounds_and_beginning() -> None:
    one = scaler(min_replicas=2, max_replicas=3)
    assert run(one, 0.0, 10, 2, 1000.0) == 3
    assert scaler(initial_replicas=4).first_target(None) == 4
    assert scaler().first_target(7) == 7
    assert scaler(max_replicas=5).first_target(7) == 5


def test_a_policy_that_raises_changes_nothing() -> None:
    def broken(ctx: AutoscalingContext) -> int:
        raise ValueError("no idea")

    one = scaler()
    one.policy = broken
    assert run(one, 0.0, 10, 2, 50.0) == 2
    assert one.error == "ValueError: no idea"


def test_policies_of_ones_own_remember() -> None:
    def counting(ctx: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        count = ctx.policy_state.get("count", 0) + 1
        return (3 if count > 5 else 1), {"count": count}

    one = scaler(upscale_delay_s=0.0)
    one.policy = counting
    assert run(one, 0.0, 5, 1, 0.0) == 1
    assert run(one, 5.0, 2, 1, 0.0) == 3


@given(st.integers(1, 50), st.floats(0, 1000), st.floats(0.5, 20), st.floats(0.1, 1), st.floats(0.1, 1))
def test_the_load_decides(replicas: int, load: float, target: float, up: float, down: float) -> None:
    config = {"target_ongoing_requests": target, "upscaling_factor": up, "downscaling_factor": down}
    running = list(range(replicas))
    ctx = AutoscalingContext(None, "d", "a", replicas, replicas, running, load, 0.0, config=config)
    wanted, _ = wanted_by_load(ctx)
    per_replica = load / replicas
    if per_replica > target * 1.001:
        assert wanted > replicas
    elif per_replica < target:
        assert wanted <= replicas
    assert wanted >= (1 if load > 0 else 0)


def test_numbers_may_be_functions() -> None:
    ctx = AutoscalingContext(None, "d", "a", 1, 1, [1], lambda: 5.0, lambda: 2.0)
    assert (ctx.total_num_requests, ctx.total_running_requests) == (5.0, 3.0)


def test_configurations_are_checked() -> None:
    from rayjup.serve.config import AutoscalingConfig

    with pytest.raises(ValueError, match="max_replicas"):
        AutoscalingConfig(min_replicas=3, max_replicas=2)
    with pytest.raises(ValueError, match="initial_replicas"):
        AutoscalingConfig(min_replicas=1, max_replicas=2, initial_replicas=5)
