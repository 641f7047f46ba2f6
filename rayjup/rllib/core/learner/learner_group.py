"""LearnerGroup: one learner in this process, or several as actors that average their gradients."""

from __future__ import annotations

import socket
from typing import Any

from rayjup.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from rayjup.rllib.core.learner.training_data import TrainingData
from rayjup.rllib.utils.checkpoints import Checkpointable


class _LearnerActor:
    """A learner in a process of its own."""

    def __init__(self, learner_class: type, kwargs: dict[str, Any], threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._class, self._kwargs = learner_class, kwargs
        self.learner: Any = None

    def address(self) -> str:
        """Where the first learner will wait for the others."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return f"tcp://127.0.0.1:{probe.getsockname()[1]}"

    def build(self, address: str) -> None:
        """Meet the other learners, and build."""
        import datetime

        import torch

        if self._kwargs["world"] > 1:
            gpu = self._kwargs["config"].num_gpus_per_learner > 0 and torch.cuda.is_available()
            torch.distributed.init_process_group(
                "nccl" if gpu else "gloo",
                init_method=address,
                rank=self._kwargs["rank"],
                world_size=self._kwargs["world"],
                timeout=datetime.timedelta(seconds=300),
            )
        self.learner = self._class(**self._kwargs)
        self.learner.build()

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """A method of the learner."""
        return getattr(self.learner, method)(*args, **kwargs)

    def apply(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """A function of the learner."""
        return function(self.learner, *args, **kwargs)


class LearnerGroup(Checkpointable):
    """The learners of an algorithm.

    Parameters
    ----------
    config
        The `AlgorithmConfig`: ``num_learners=0`` is one in this process.
    module_spec
        What their module is made from.
    """

    def __init__(self, *, config: Any, module_spec: Any = None, placement_group: Any = None) -> None:
        self.config = config.copy(copy_frozen=False)
        self._module_spec = module_spec
        self._learner: Any = None
        self._workers: list[Any] = []
        self._in_flight: list[list[Any]] = []
        if config.num_learners == 0:
            self._learner = config.learner_class(config=config, module_spec=module_spec)
            self._learner.build()
        else:
            self._start(placement_group)

    def _start(self, placement_group: Any) -> None:
        import rayjup

        config, world = self.config, self.config.num_learners
        cpus = config.num_cpus_per_learner
        cpus = (0 if config.num_gpus_per_learner else 1) if cpus == "auto" else cpus
        options: dict[str, Any] = {
            "num_cpus": cpus,
            "num_gpus": config.num_gpus_per_learner,
            "resources": config.custom_resources_per_learner or None,
        }
        if placement_group is not None:
            options["placement_group"] = placement_group
        actor = rayjup.remote(**{k: v for k, v in options.items() if v is not None})(_LearnerActor)
        for rank in range(world):
            kwargs = {"config": config, "module_spec": self._module_spec, "rank": rank, "world": world}
            self._workers.append(actor.remote(config.learner_class, kwargs, max(1, int(cpus))))
        address = rayjup.get(self._workers[0].address.remote())
        rayjup.get([w.build.remote(address) for w in self._workers], timeout=300)

    @property
    def is_local(self) -> bool:
        """One learner in this process."""
        return self._learner is not None

    @property
    def is_remote(self) -> bool:
        """Learners as actors."""
        return not self.is_local

    def __len__(self) -> int:
        return max(1, len(self._workers))

    # ------------------------------------------------------------ learning

    def update(
        self,
        *,
        batch: Any = None,
        batches: Any = None,
        batch_refs: Any = None,
        episodes: Any = None,
        episodes_refs: Any = None,
        data_iterators: Any = None,
        training_data: TrainingData | None = None,
        timesteps: dict[str, Any] | None = None,
        async_update: bool = False,
        return_state: bool = False,
        num_total_minibatches: int = 0,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = False,
        **kwargs: Any,
    ) -> list[dict[str, Any]]:
        """Learn from data, divided among the learners; returns new metrics of all.

        Parameters
        ----------
        batch, batches, batch_refs, episodes, episodes_refs, data_iterators, training_data
            What to learn from; one of them.
        async_update
            Do not wait: return what earlier updates have brought.
        return_state
            Put the first learner's module's state ("_rl_module_state_after_update") into the first result.
        timesteps, num_total_minibatches, num_epochs, minibatch_size, shuffle_batch_per_epoch
            See `TorchLearner.update`.
        """
        data = training_data or TrainingData(
            batch, batches, batch_refs, episodes, episodes_refs, data_iterators
        )
        data.validate()
        settings: dict[str, Any] = {
            "timesteps": timesteps,
            "num_total_minibatches": num_total_minibatches,
            "num_epochs": num_epochs,
            "minibatch_size": minibatch_size,
            "shuffle_batch_per_epoch": shuffle_batch_per_epoch,
            **kwargs,
        }
        if self._learner is not None:
            results = [self._learner.update(training_data=data, **settings)]
            if return_state:
                state = self._learner.get_state(COMPONENT_RL_MODULE, inference_only=True)
                results[0]["_rl_module_state_after_update"] = state[COMPONENT_RL_MODULE]
            return results
        return self._update_remotely(data, settings, async_update, return_state)

    def _update_remotely(
        self, data: TrainingData, settings: dict[str, Any], async_update: bool, return_state: bool
    ) -> list[dict[str, Any]]:
        import rayjup

        world = len(self._workers)
        parts = divided(data, world)
        if world > 1 and not settings["num_total_minibatches"]:
            # All learners must take equally many steps: they wait for each other in each.
            settings["num_total_minibatches"] = steps_for_all(parts, settings)
        refs = [
            worker.call.remote("update", training_data=part, **settings)
            for worker, part in zip(self._workers, parts, strict=True)
        ]
        if return_state:
            refs.append(self._workers[0].call.remote("get_state", COMPONENT_RL_MODULE, inference_only=True))
        self._in_flight.append(refs)
        results = []
        most = self.config.max_requests_in_flight_per_learner
        while self._in_flight:
            oldest = self._in_flight[0]
            if async_update and len(self._in_flight) <= most:
                ready, _ = rayjup.wait(oldest, num_returns=len(oldest), timeout=0)
                if len(ready) < len(oldest):
                    break
            values = rayjup.get(self._in_flight.pop(0))
            if len(values) > world:
                values[0]["_rl_module_state_after_update"] = values.pop()[COMPONENT_RL_MODULE]
            results.extend(values)
        return results

    # ------------------------------------------------------------ learners

    def foreach_learner(
        self,
        func: Any,
        *,
        healthy_only: bool = True,
        remote_actor_ids: list[int] | None = None,
        timeout_seconds: float | None = None,
        return_obj_refs: bool = False,
        mark_healthy: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """``func(learner)`` of all learners."""
        if self._learner is not None:
            return [func(self._learner, **kwargs)]
        import rayjup

        chosen = range(len(self._workers)) if remote_actor_ids is None else remote_actor_ids
        refs = [self._workers[i].apply.remote(func, **kwargs) for i in chosen]
        return refs if return_obj_refs else rayjup.get(refs, timeout=timeout_seconds)

    def add_module(
        self, *, module_id: str, module_spec: Any, config_overrides: dict | None = None,
        new_should_module_be_updated: Any = None,
    ) -> Any:  # fmt: skip
        """Add a module to all learners; returns the spec of all modules."""
        if self.is_remote and module_spec.load_state_path is None:
            # They must begin alike, whatever the random numbers in their processes.
            import cloudpickle

            state = module_spec.build().get_state()
            module_spec = cloudpickle.loads(cloudpickle.dumps(module_spec))
        specs = self.foreach_learner(
            lambda learner: learner.add_module(
                module_id=module_id,
                module_spec=module_spec,
                config_overrides=config_overrides,
                new_should_module_be_updated=new_should_module_be_updated,
            )
        )
        if self.is_remote and module_spec.load_state_path is None:
            self.set_state({COMPONENT_LEARNER: {COMPONENT_RL_MODULE: {module_id: state}}})
        self._module_spec = specs[0]
        return specs[0]

    def remove_module(self, module_id: str, *, new_should_module_be_updated: Any = None) -> Any:
        """Drop a module from all learners; returns the spec of what is left."""
        specs = self.foreach_learner(
            lambda learner: learner.remove_module(
                module_id, new_should_module_be_updated=new_should_module_be_updated
            )
        )
        self._module_spec = specs[0]
        return specs[0]

    def get_weights(self, module_ids: Any = None, inference_only: bool = False) -> dict[str, Any]:
        """Parameters by module."""
        wanted = None if module_ids is None else [f"{COMPONENT_RL_MODULE}/{m}" for m in module_ids]
        state = self._of_first("get_state", wanted or COMPONENT_RL_MODULE, inference_only=inference_only)
        return state[COMPONENT_RL_MODULE]

    def set_weights(self, weights: dict[str, Any]) -> None:
        """Take parameters by module."""
        self.set_state({COMPONENT_LEARNER: {COMPONENT_RL_MODULE: weights}})

    def get_stats(self) -> dict[str, Any]:
        """How many updates are under way."""
        return {
            "learner_group_ts_dropped": 0,
            "actor_manager_num_outstanding_async_reqs": len(self._in_flight),
        }

    def shutdown(self) -> None:
        """End the actors."""
        if self._learner is not None:
            self._learner.shutdown()
        import rayjup

        for worker in self._workers:
            rayjup.kill(worker)
        self._workers = []

    def _of_first(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if self._learner is not None:
            return getattr(self._learner, method)(*args, **kwargs)
        import rayjup

        return rayjup.get(self._workers[0].call.remote(method, *args, **kwargs))

    # ------------------------------------------------------------ state

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """The state of the first learner: all are alike."""
        wanted = [components] if isinstance(components, str) else components
        if wanted is not None:
            wanted = [w.split("/", 1)[1] for w in wanted if w.startswith(f"{COMPONENT_LEARNER}/")] or None
        return {
            COMPONENT_LEARNER: self._of_first("get_state", wanted, not_components=not_components, **kwargs)
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Give a state to all learners."""
        own = state.get(COMPONENT_LEARNER)
        if own is not None:
            self.foreach_learner(lambda learner: learner.set_state(own))

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """The learner, where it is in this process; one that stands for the remote ones otherwise."""
        if self._learner is not None:
            return [(COMPONENT_LEARNER, self._learner)]
        return [(COMPONENT_LEARNER, _First(self))]

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments of the constructor."""
        return (), {"config": self.config, "module_spec": self._module_spec}


class _First(Checkpointable):
    """The first of the remote learners, for checkpoints."""

    def __init__(self, group: LearnerGroup) -> None:
        self._group = group

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        return self._group._of_first("get_state", components, not_components=not_components, **kwargs)

    def set_state(self, state: dict[str, Any]) -> None:
        self._group.set_state({COMPONENT_LEARNER: state})

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        return (), {"group": None}

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        modules = self._group._module_spec.build()
        if self._group._workers:
            modules.set_state(self._group.get_weights())
        return [(COMPONENT_RL_MODULE, modules)]


def divided(data: TrainingData, count: int) -> list[TrainingData]:
    """Training data in as many equal parts as there are learners."""
    if count == 1:
        return [data]
    if data.episodes is not None:
        return [TrainingData(episodes=part) for part in divided_episodes(data.episodes, count)]
    if data.episodes_refs is not None:
        return [TrainingData(episodes_refs=list(data.episodes_refs[i::count])) for i in range(count)]
    if data.batch_refs is not None:
        return [TrainingData(batch_refs=list(data.batch_refs[i::count])) for i in range(count)]
    if data.batches is not None:
        return [TrainingData(batches=list(data.batches[i::count])) for i in range(count)]
    if data.data_iterators is not None:
        return [TrainingData(data_iterators=[data.data_iterators[i]]) for i in range(count)]
    from rayjup.rllib.core.learner.torch.torch_learner import _by_module
    from rayjup.rllib.utils import nested

    whole = _by_module(data.batch)
    parts = []
    for place in range(count):
        part = {}
        for module_id, columns in whole.items():
            rows = nested.length(next(iter(columns.values()))) // count
            cut = slice(place * rows, (place + 1) * rows)
            part[module_id] = {
                c: nested.take(v, cut) for c, v in columns.items() if c not in ("infos", "eps_id")
            }
        parts.append(TrainingData(batch=part))
    return parts


def divided_episodes(episodes: list[Any], count: int) -> list[list[Any]]:
    """Episodes in parts of equally many steps; long ones are cut."""
    total = sum(len(e) for e in episodes)
    share = -(-total // count)
    parts: list[list[Any]] = [[]]
    room = share
    for episode in episodes:
        begin = 0
        while begin < len(episode):
            take = min(room, len(episode) - begin)
            whole = begin == 0 and take == len(episode)
            if not whole and hasattr(episode, "agent_episodes"):
                take, whole = len(episode), True  # multi-agent episodes stay whole
            parts[-1].append(episode if whole else episode.slice(slice(begin, begin + take)))
            begin += take
            room -= take
            if room <= 0 and len(parts) < count:
                parts.append([])
                room = share
    while len(parts) < count:
        parts.append(list(parts[0]))
    return parts


def steps_for_all(parts: list[TrainingData], settings: dict[str, Any]) -> int:
    """How many minibatches every learner takes, so that nobody waits for ever."""
    size = settings["minibatch_size"]
    if size is None or any(part.episodes is None for part in parts):
        return 0 if size is None else settings["num_epochs"]
    fewest = min(sum(len(e) for e in part.episodes) for part in parts)
    return max(1, fewest // size) * settings["num_epochs"]
