"""The options of ``@serve.deployment``: names, defaults, checks, and what the controller gets of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

from rayjup.serve._private.common import UNSET

DEFAULTS: dict[str, Any] = {
    "num_replicas": 1,
    "ray_actor_options": {},
    "placement_group_bundles": None,
    "placement_group_strategy": None,
    "placement_group_bundle_label_selector": None,
    "max_replicas_per_node": None,
    "user_config": None,
    "max_ongoing_requests": 5,
    "max_queued_requests": -1,
    "backpressure_config": None,
    "autoscaling_config": None,
    "graceful_shutdown_wait_loop_s": 2.0,
    "graceful_shutdown_timeout_s": 20.0,
    "health_check_period_s": 10.0,
    "health_check_timeout_s": 30.0,
    "logging_config": None,
    "request_router_config": None,
    "max_constructor_retry_count": 20,
    "gang_scheduling_config": None,
    "deployment_actors": None,
    "rolling_update_percentage": 0.2,
    "max_surge_percent": 0,
}
_AUTO_ONGOING = 5
_ACTOR_OPTIONS = {
    "accelerator_type",
    "fallback_strategy",
    "label_selector",
    "memory",
    "num_cpus",
    "num_gpus",
    "object_store_memory",
    "resources",
    "runtime_env",
}


def checked(given: dict[str, Any], what: str) -> dict[str, Any]:
    """Options as they were given, checked; values that were not given are left out.

    Raises
    ------
    ValueError, TypeError
        A value that is out of its range, or options that exclude each other. The text names the option.
    """
    found = {name: value for name, value in given.items() if value is not UNSET}
    if "max_concurrent_queries" in found:
        warnings.warn(
            "max_concurrent_queries is called max_ongoing_requests now.", DeprecationWarning, stacklevel=4
        )
        found.setdefault("max_ongoing_requests", found.pop("max_concurrent_queries"))
    for name, check in _CHECKS.items():
        if name in found:
            check(name, found[name])
    if found.get("num_replicas", 1) == 0:
        raise ValueError(
            "num_replicas is expected to larger than 0: to stop a deployment, use serve.delete()."
        )
    if found.get("autoscaling_config") is not None:
        count = found.get("num_replicas")
        if count is not None and count != "auto":
            raise ValueError(
                f"{what}: num_replicas={count!r} and autoscaling_config exclude each other: set "
                'num_replicas="auto", '
                "or leave one of them out."
            )
    if found.get("max_replicas_per_node") is not None and found.get("placement_group_bundles") is not None:
        raise ValueError(
            "Setting max_replicas_per_node is not allowed when placement_group_bundles is provided."
        )
    if found.get("placement_group_strategy") is not None and found.get("placement_group_bundles") is None:
        raise ValueError(
            "If placement_group_strategy is provided, placement_group_bundles must also be provided."
        )
    return found


def _positive(name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{name} must be a number greater than 0, got {value!r}.")


def _not_negative(name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} must be a number of at least 0, got {value!r}.")


def _replicas(name: str, value: Any) -> None:
    if value is None or value == "auto":
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f'{name} must be a whole number of at least 1, or "auto", got {value!r}.')


def _ongoing(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{name} must be a whole number greater than 0, got {value!r}.")


def _queued(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}.")
    if value < -1:
        raise ValueError(f"{name} must be -1 (no limit) or at least 0, got {value}.")


def _json(name: str, value: Any) -> None:
    try:
        json.dumps(value)
    except TypeError as error:
        raise ValueError(f"{name} must be JSON-serializable: {error}.") from error


def _per_node(name: str, value: Any) -> None:
    if value is not None and (not isinstance(value, int) or not 1 <= value <= 100):
        raise ValueError(f"{name} must be None or between 1 and 100, got {value!r}.")


def _actor_options(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"{name} must be a dictionary, got {type(value).__name__}.")
    unknown = set(value) - _ACTOR_OPTIONS
    if unknown:
        raise ValueError(
            f"Specifying {', '.join(sorted(unknown))} in ray_actor_options is not allowed: "
            f"it may have {', '.join(sorted(_ACTOR_OPTIONS))}."
        )


def _share(name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, got {value!r}.")


def _percent(name: str, value: Any) -> None:
    if not isinstance(value, int) or not 0 <= value <= 100:
        raise ValueError(f"{name} must be a whole number between 0 and 100, got {value!r}.")


def _version(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {type(value).__name__}.")


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "num_replicas": _replicas,
    "ray_actor_options": _actor_options,
    "max_replicas_per_node": _per_node,
    "user_config": _json,
    "max_ongoing_requests": _ongoing,
    "max_queued_requests": _queued,
    "graceful_shutdown_wait_loop_s": _not_negative,
    "graceful_shutdown_timeout_s": _not_negative,
    "health_check_period_s": _positive,
    "health_check_timeout_s": _positive,
    "max_constructor_retry_count": _ongoing,
    "rolling_update_percentage": _share,
    "max_surge_percent": _percent,
    "version": _version,
}


def for_controller(options: dict[str, Any], source: Any) -> dict[str, Any]:
    """What the controller and the replicas get: plain data, with code pickled."""
    config = {**DEFAULTS, **{k: v for k, v in options.items() if k in DEFAULTS}}
    auto = config.pop("autoscaling_config")
    if config["num_replicas"] == "auto" or auto is not None:
        given = auto
        config["autoscaling_config"] = _autoscaling(given, config["num_replicas"] == "auto")
        config["num_replicas"] = config["autoscaling_config"]["min_replicas"]
    elif config["num_replicas"] is None:
        config["num_replicas"] = 1
    from rayjup.serve import config as models  # pydantic is needed only where something is deployed

    if config["backpressure_config"] is not None:
        config["backpressure_config"] = _model(
            models.BackpressureConfig, config["backpressure_config"]
        ).model_dump()
    if config["gang_scheduling_config"] is not None:
        gang = _model(models.GangSchedulingConfig, config["gang_scheduling_config"])
        config["gang_scheduling_config"] = gang.model_dump(mode="json")
        if config["num_replicas"] % gang.gang_size:
            raise ValueError(
                f"num_replicas ({config['num_replicas']}) must be a multiple of gang_size ({gang.gang_size})."
            )
    if config["logging_config"] is not None:
        from rayjup.serve.schema import LoggingConfig

        config["logging_config"] = _model(LoggingConfig, config["logging_config"]).model_dump(mode="json")
    router = config.pop("request_router_config")
    if router is not None:
        router = _model(models.RequestRouterConfig, router)
        if not router.is_default_request_router():
            config["request_router"] = {
                "class": router.get_serialized_request_router_cls(),
                "kwargs": router.request_router_kwargs,
            }
    actors = config.pop("deployment_actors")
    if actors:
        config["deployment_actors"] = _actors([_model(models.DeploymentActorConfig, one) for one in actors])
    if _is_multiplexed(source):
        config["multiplexed"] = True
    return config


def _model(kind: Any, value: Any) -> Any:
    return value if isinstance(value, kind) else kind(**value)


def _actors(configs: list[Any]) -> bytes:
    from rayjup.serve._private.packing import dumps

    names = [one.name for one in configs]
    if len(set(names)) != len(names):
        raise ValueError(f"deployment_actors need different names, got {', '.join(names)}.")
    return dumps(
        [
            {
                "name": one.name,
                "class": one.get_actor_class(),
                "args": one.init_args,
                "kwargs": one.init_kwargs,
                "options": one.actor_options,
            }
            for one in configs
        ]
    )


def _autoscaling(given: Any, auto: bool) -> dict[str, Any]:
    from rayjup.serve._private.packing import dumps
    from rayjup.serve.config import AutoscalingConfig

    if auto:
        values = (
            given.model_dump(exclude_unset=True)
            if isinstance(given, AutoscalingConfig)
            else dict(given or {})
        )
        base = AutoscalingConfig.default().model_dump(exclude_unset=True)
        settings = AutoscalingConfig(**{**base, **values})
    else:
        settings = given if isinstance(given, AutoscalingConfig) else AutoscalingConfig(**given)
    policy = None if settings.policy.is_default_policy_function() else dumps(settings.policy.get_policy())
    return {
        "min_replicas": settings.min_replicas,
        "max_replicas": settings.max_replicas,
        "initial_replicas": settings.initial_replicas,
        "target_ongoing_requests": settings.get_target_ongoing_requests(),
        "look_back_period_s": settings.look_back_period_s,
        "upscale_delay_s": settings.upscale_delay_s,
        "downscale_delay_s": settings.downscale_delay_s,
        "downscale_to_zero_delay_s": settings.downscale_to_zero_delay_s,
        "upscaling_factor": settings.get_upscaling_factor(),
        "downscaling_factor": settings.get_downscaling_factor(),
        "aggregation_function": str(
            getattr(settings.aggregation_function, "value", settings.aggregation_function)
        ),
        "policy": policy,
        "shown": settings.model_dump(mode="json", exclude={"policy"}),
    }


def _is_multiplexed(source: Any) -> bool:
    if not isinstance(source, type):
        return False
    return any(
        hasattr(member, "__serve_multiplexed__") for c in source.__mro__ for member in vars(c).values()
    )
