"""From lists of items to arrays, from agents to modules, from arrays to tensors and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from rayjup.rllib.connectors.connector_v2 import BatchedNdArray, ConnectorV2
from rayjup.rllib.core import DEFAULT_MODULE_ID
from rayjup.rllib.utils import nested

MAP_OF_ROWS = "memorized_map_structure"  # in `shared_data`: whose rows of the batch are whose


class BatchIndividualItems(ConnectorV2):
    """Every column's items as one array, in the order in which episodes came."""

    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        multi_agent: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(input_observation_space, input_action_space, multi_agent=multi_agent, **kwargs)
        self._multi_agent = multi_agent

    def __call__(
        self, *, rl_module: Any, batch: dict, episodes: list, shared_data: Any = None, **kwargs: Any
    ) -> Any:
        """Batch; single-agent columns go under the module's id where the module is a multi-module."""
        if self._multi_agent:
            for columns in batch.values():
                for column, items in columns.items():
                    if isinstance(items, list):
                        columns[column] = batched(items)
            return batch
        done = {}
        for column, by_episode in batch.items():
            if isinstance(by_episode, dict) and by_episode and isinstance(next(iter(by_episode)), tuple):
                if shared_data is not None and MAP_OF_ROWS not in shared_data:
                    shared_data[MAP_OF_ROWS] = {
                        DEFAULT_MODULE_ID: [k for k, v in by_episode.items() for _ in v]
                    }
                done[column] = batched([item for items in by_episode.values() for item in items])
            elif isinstance(by_episode, list):
                done[column] = batched(by_episode)
            else:
                done[column] = by_episode
        if hasattr(rl_module, "foreach_module"):
            return {next(iter(rl_module.keys())): done}
        return done


def batched(items: list[Any]) -> Any:
    """Items, single ones or several at once, as one structure of arrays."""
    if not items:
        return np.empty(0)
    if not isinstance(nested.first_leaf(items[0]), BatchedNdArray):
        return nested.stack(items)
    whole = nested.concatenate(items)
    return nested.map_leaves(lambda leaf: np.asarray(leaf), whole)


class AgentToModuleMapping(ConnectorV2):
    """Items of agents, sorted by the modules that play them."""

    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        rl_module_specs: dict[str, Any] | None = None,
        agent_to_module_mapping_fn: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            input_observation_space,
            input_action_space,
            rl_module_specs=rl_module_specs,
            agent_to_module_mapping_fn=agent_to_module_mapping_fn,
            **kwargs,
        )

    def recompute_output_observation_space(
        self, input_observation_space: Any, input_action_space: Any
    ) -> Any:
        """By module, where it is by agent."""
        return input_observation_space

    def __call__(
        self, *, rl_module: Any, batch: dict, episodes: list, shared_data: Any = None, **kwargs: Any
    ) -> Any:
        """``{column: {(episode, agent, module): items}}`` becomes ``{module: {column: items}}``."""
        sorted_: dict[str, dict[str, list]] = {}
        rows: dict[str, list] = {}
        for column, by_agent in batch.items():
            if not isinstance(by_agent, dict):
                continue
            for key, items in by_agent.items():
                module_id = key[2] if len(key) > 2 else DEFAULT_MODULE_ID
                sorted_.setdefault(module_id, {}).setdefault(column, []).extend(items)
                if column == "obs":
                    rows.setdefault(module_id, []).extend([key] * len(items))
        if shared_data is not None:
            shared_data[MAP_OF_ROWS] = rows
        return sorted_


class NumpyToTensor(ConnectorV2):
    """Arrays as tensors on the module's device."""

    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        pin_memory: bool = False,
        device: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            input_observation_space, input_action_space, pin_memory=pin_memory, device=device, **kwargs
        )
        self._device, self._pin = device, pin_memory

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Convert all columns but infos and ids."""
        from rayjup.rllib.utils.torch_utils import convert_to_torch_tensor

        if (
            batch
            and all(isinstance(v, dict) for v in batch.values())
            and hasattr(rl_module, "foreach_module")
        ):
            return {
                m: convert_to_torch_tensor(_tensors(b), self._device, self._pin) for m, b in batch.items()
            }
        return convert_to_torch_tensor(_tensors(batch), self._device, self._pin)


def _tensors(columns: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in columns.items() if k not in ("infos", "eps_id", "agent_id", "module_id")}


class TensorToNumpy(ConnectorV2):
    """Tensors as arrays."""

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Convert everything."""
        from rayjup.rllib.utils.numpy import convert_to_numpy

        return convert_to_numpy(batch)
