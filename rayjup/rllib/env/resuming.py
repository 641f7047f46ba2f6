"""Where a runner is in its episodes, as part of checkpoints: a restored run goes on as if it had never
stopped.

Environments go into the checkpoint as they are, when they can be pickled with their state. Others (those of
other processes, emulators and simulators that gymnasium makes anew from their arguments) begin new episodes.
"""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
from gymnasium.utils import EzPickle

PLACE = "place"


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
    except (pickle.PicklingError, TypeError, AttributeError, ValueError):
        pass  # sockets, windows, emulators: new episodes then
    finally:
        for episode, function in mapping:
            episode.agent_to_module_mapping_fn = function
    return {"worker_index": runner.worker_index, **state}


def resume(runner: Any, state: dict[str, Any]) -> None:
    """Go on where `sampling_state` was called."""
    import torch

    runner.generator.set_state(torch.as_tensor(state["generator"].copy()))
    runner.metrics.set_state(state["metrics"])
    if PLACE not in state:
        runner._needs_reset = True
        if runner._seed is not None:  # not the episodes of the beginning once more
            runner._first_seed = runner._seed + int(runner.global_steps)
        return
    runner.close_envs()
    for name, value in pickle.loads(state[PLACE]).items():
        setattr(runner, name, value)
    for episode in runner._episodes:
        if hasattr(episode, "agent_episodes"):
            episode.agent_to_module_mapping_fn = runner._mapping


def _pickles_with_state(runner: Any) -> bool:
    envs = getattr(runner, "envs", None) or getattr(runner.env.unwrapped, "envs", None) or [runner.env]
    return not any(isinstance(layer, EzPickle) for env in envs for layer in _layers(env))


def _layers(env: Any) -> list[Any]:
    found = [env]
    while hasattr(found[-1], "env") and found[-1].env is not None:
        found.append(found[-1].env)
    return found
