"""Where a runner is in its episodes, as part of checkpoints: a restored run goes on as if it had never
stopped.

Environments go into the checkpoint as they are, when they can be pickled with their state. Others (those of
other processes, emulators and simulators that gymnasium makes anew from their arguments) begin new episodes;
so do runners that were given another environment, or another number of them, since.
"""

from __future__ import annotations

import logging
import pickle
from typing import Any

import cloudpickle
from gymnasium.utils import EzPickle

PLACE = "place"

_log = logging.getLogger(__name__)


def sampling_state(runner: Any) -> dict[str, Any] | None:
    """Random generators, environments and open episodes of an env runner; None of other kinds of runners."""
    if not hasattr(runner, "PLACE"):
        return None
    rollout = getattr(runner, "_rollout", None)
    if rollout is not None:
        rollout.begin(None)  # the last sample's steps have been handed on
    state = {"generator": runner.generator.get_state().numpy(), "metrics": runner.metrics.get_state()}
    names = [n for n in runner.PLACE if n in vars(runner)]
    place = {name: getattr(runner, name) for name in names}
    mapping = [(e, e.agent_to_module_mapping_fn) for e in place["_episodes"] if hasattr(e, "agent_episodes")]
    try:
        if _pickles_with_state(runner):
            for episode, _ in mapping:
                episode.agent_to_module_mapping_fn = None
            state[PLACE] = cloudpickle.dumps(place)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, RuntimeError, OSError) as error:
        # Sockets, windows, emulators: new episodes then.
        _log.info("environments of %r are not in the checkpoint: %r", runner.config.env, error)
    finally:
        for episode, function in mapping:
            episode.agent_to_module_mapping_fn = function
    return {"worker_index": runner.worker_index, "kind": _kind(runner), **state}


def resume(runner: Any, state: dict[str, Any]) -> None:
    """Go on where `sampling_state` was called."""
    import torch

    runner.generator.set_state(torch.as_tensor(state["generator"].copy()))
    runner.metrics.set_state(state["metrics"])
    place: dict[str, Any] = {}
    if PLACE in state and state["kind"] == _kind(runner):
        try:
            place = pickle.loads(state[PLACE])
        except (ImportError, AttributeError, TypeError, pickle.UnpicklingError) as error:
            _log.warning("environments of the checkpoint cannot be made here (%r): new episodes.", error)
    if not place:
        runner._needs_reset = True
        if runner._seed is not None:  # not the episodes of the beginning once more
            runner._first_seed = runner._seed + int(runner.global_steps)
        return
    runner.close_envs()
    for name, value in place.items():
        setattr(runner, name, value)
    for episode in runner._episodes:
        if hasattr(episode, "agent_episodes"):
            episode.agent_to_module_mapping_fn = runner._mapping


def _kind(runner: Any) -> tuple[str, ...]:
    """What must be the same for going on: which environments, how many, on which way."""
    config = runner.config
    env = getattr(config.env, "__qualname__", config.env)
    return (
        str(env), repr(config.env_config), str(runner.num_envs), str(getattr(runner, "_plain", None)),
        str(config.gym_env_vectorize_mode),
    )  # fmt: skip


def _pickles_with_state(runner: Any) -> bool:
    envs = getattr(runner, "envs", None) or getattr(runner.env.unwrapped, "envs", None) or [runner.env]
    return not any(isinstance(layer, EzPickle) for env in envs for layer in _layers(env))


def _layers(env: Any) -> list[Any]:
    found = [env]
    while hasattr(found[-1], "env") and found[-1].env is not None:
        found.append(found[-1].env)
    return found
