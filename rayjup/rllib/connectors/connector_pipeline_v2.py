"""Connectors one behind the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from rayjup.rllib.connectors.connector_v2 import ConnectorV2
from rayjup.rllib.utils.checkpoints import Checkpointable


class ConnectorPipelineV2(ConnectorV2):
    """A list of connectors that is a connector.

    Examples
    --------
    >>> from rayjup.rllib.connectors.connector_pipeline_v2 import ConnectorPipelineV2
    >>> from rayjup.rllib.connectors.env_to_module import BatchIndividualItems, NumpyToTensor
    >>> pipeline = ConnectorPipelineV2(connectors=[BatchIndividualItems()])
    >>> pipeline.append(NumpyToTensor())
    >>> pipeline
    ConnectorPipelineV2(BatchIndividualItems, NumpyToTensor)
    """

    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        connectors: list[ConnectorV2] | None = None,
        **kwargs: Any,
    ) -> None:
        self.connectors: list[ConnectorV2] = []
        for connector in connectors or []:
            made: Any = connector
            self.connectors.append(made() if isinstance(made, type) else made)
        super().__init__(input_observation_space, input_action_space, **kwargs)

    def __call__(
        self,
        *,
        rl_module: Any,
        batch: dict[str, Any],
        episodes: list[Any],
        explore: bool | None = None,
        shared_data: dict | None = None,
        metrics: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Run all of them, in order."""
        shared = {} if shared_data is None else shared_data
        for connector in self.connectors:
            batch = connector(
                rl_module=rl_module,
                batch=batch,
                episodes=episodes,
                explore=explore,
                shared_data=shared,
                metrics=metrics,
                **kwargs,
            )
            if batch is None:
                raise TypeError(f"{connector!r} returned None: a connector must return the batch.")
        return batch

    def _update_spaces(self) -> None:
        observation, action = self._input_observation_space, self._input_action_space
        for connector in self.connectors:
            connector._input_action_space = action
            connector.input_observation_space = observation
            observation, action = connector.observation_space, connector.action_space
        self._observation_space, self._action_space = observation, action

    # ------------------------------------------------------------ the list

    def append(self, connector: ConnectorV2) -> None:
        """Add at the end."""
        self.connectors.append(connector)
        self._update_spaces()

    def prepend(self, connector: ConnectorV2) -> None:
        """Add at the beginning."""
        self.connectors.insert(0, connector)
        self._update_spaces()

    def insert_before(self, name_or_class: str | type, connector: ConnectorV2) -> ConnectorV2:
        """Add before the first connector of a class."""
        self.connectors.insert(self._place(name_or_class), connector)
        self._update_spaces()
        return connector

    def insert_after(self, name_or_class: str | type, connector: ConnectorV2) -> ConnectorV2:
        """Add behind the first connector of a class."""
        self.connectors.insert(self._place(name_or_class) + 1, connector)
        self._update_spaces()
        return connector

    def remove(self, name_or_class: str | type) -> None:
        """Take out the first connector of a class, if there is one."""
        found = [c for c in self.connectors if _is(c, name_or_class)]
        if found:
            self.connectors.remove(found[0])
            self._update_spaces()

    def _place(self, name_or_class: str | type) -> int:
        for place, connector in enumerate(self.connectors):
            if _is(connector, name_or_class):
                return place
        raise ValueError(f"no {name_or_class} in the pipeline: it has {self.connectors}.")

    def __getitem__(self, key: str | int | type) -> Any:
        """Connectors by place, or all of a class."""
        if isinstance(key, int):
            return self.connectors[key]
        return [c for c in self.connectors if _is(c, key)]

    def __len__(self) -> int:
        return len(self.connectors)

    def __iter__(self) -> Iterator[ConnectorV2]:
        return iter(self.connectors)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.connectors))})"

    # ------------------------------------------------------------ state

    def _named(self) -> list[tuple[str, ConnectorV2]]:
        return [(f"{place:03d}_{type(c).__name__}", c) for place, c in enumerate(self.connectors)]

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """States of the connectors that have one, by place and class."""
        found = {name: connector.get_state() for name, connector in self._named()}
        return {name: state for name, state in found.items() if state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take states."""
        for name, connector in self._named():
            if name in state:
                connector.set_state(state[name])

    def reset_state(self) -> None:
        """Let all forget."""
        for connector in self.connectors:
            connector.reset_state()

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """One state out of those of several runners."""
        merged = {}
        for name, connector in self._named():
            own = [state[name] for state in states if name in state]
            if own:
                merged[name] = connector.merge_states(own)
        return merged

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """The connectors."""
        return list(self._named())

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments of the constructor."""
        args, kwargs = super().get_ctor_args_and_kwargs()
        return args, {**kwargs, "connectors": self.connectors}


def _is(connector: ConnectorV2, name_or_class: Any) -> bool:
    if isinstance(name_or_class, str):
        return name_or_class in (type(connector).__name__, str(type(connector)))
    return isinstance(connector, name_or_class)
