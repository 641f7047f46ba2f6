"""EnvRunnerGroup: the env runners of an algorithm: one in its process, and actors.

Actors that die or do not answer in time are made anew; the others go on. Their `sample()` requests are
spread by the group; what comes back are episodes whose arrays lie in shared memory.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from rayjup.rllib.core import (
    COMPONENT_ENV_TO_MODULE_CONNECTOR,
    COMPONENT_MODULE_TO_ENV_CONNECTOR,
    COMPONENT_RL_MODULE,
)
from rayjup.rllib.env.resuming import resume, sampling_state

_log = logging.getLogger(__name__)


class _RunnerActor:
    """An env runner in a process of its own."""

    def __init__(self, runner_class: type, kwargs: dict[str, Any], names: bytes) -> None:
        import torch

        from rayjup.runs import registry

        torch.set_num_threads(1)
        registry.adopt(names)
        self.runner = runner_class(**kwargs)

    def ping(self) -> bool:
        """Answer."""
        self.runner.assert_healthy()
        return True

    def call(self, method: str, **kwargs: Any) -> Any:
        """A method of the runner."""
        return getattr(self.runner, method)(**kwargs)

    def apply(self, function: Callable[..., Any], **kwargs: Any) -> Any:
        """A function of the runner."""
        return function(self.runner, **kwargs)

    def set_state(self, state: dict[str, Any]) -> None:
        """Take a state (an argument of its own, so that a reference to it is resolved)."""
        self.runner.set_state(state)

    def sample(self, **kwargs: Any) -> tuple[Any, Any]:
        """Episodes and new metrics."""
        return self.runner.sample(**kwargs), self.runner.get_metrics()


class EnvRunnerGroup:
    """Env runners.

    Parameters
    ----------
    config
        The `AlgorithmConfig`.
    local_env_runner
        Whether there is one in this process.
    """

    def __init__(
        self,
        *,
        env_creator: Any = None,
        validate_env: Any = None,
        default_policy_class: Any = None,
        config: Any = None,
        local_env_runner: bool = True,
        logdir: str | None = None,
        tune_trial_id: str | None = None,
        pg_offset: int = 0,
        _setup: bool = True,
        **kwargs: Any,
    ) -> None:
        self.config = config
        self._class = config.env_runner_cls or default_runner_class(config)
        self.num_restarts = self.num_dropped = 0
        self._ids: list[int] = []
        self._actors: dict[int, Any] = {}
        self._next = 1
        self._share = 1.0
        self._failed_since: dict[int, float] = {}
        self._consecutive = 0
        self._requests: list[tuple[Any, int, str | None]] = []  # asynchronous ones: (ref, runner, tag)
        self._seq_no = 0
        self._local: Any = None
        if config.num_env_runners:
            self.add_workers(config.num_env_runners, validate=config.validate_env_runners_after_construction)
        if local_env_runner:
            self._local = self._class(config=config, worker_index=0, num_workers=config.num_env_runners)

    # ------------------------------------------------------------ who there is

    @property
    def local_env_runner(self) -> Any:
        """The one in this process, or None."""
        return self._local

    def healthy_env_runner_ids(self) -> list[int]:
        """Numbers of the actors that answer."""
        return [i for i in self._ids if i not in self._failed_since]

    healthy_worker_ids = healthy_env_runner_ids

    def num_remote_env_runners(self) -> int:
        """Actors."""
        return len(self._ids)

    num_remote_workers = num_remote_env_runners

    def num_healthy_remote_env_runners(self) -> int:
        """Actors that answer."""
        return len(self.healthy_env_runner_ids())

    num_healthy_remote_workers = num_healthy_remote_env_runners

    def num_healthy_env_runners(self) -> int:
        """All that answer, with the one in this process."""
        return self.num_healthy_remote_env_runners() + (self._local is not None)

    num_healthy_workers = num_healthy_env_runners

    def num_remote_worker_restarts(self) -> int:
        """How many actors were made anew."""
        return self.num_restarts

    def num_env_runners_dropped_lifetime(self) -> int:
        """How many were given up."""
        return self.num_dropped

    def num_in_flight_async_reqs(self, tag: str | None = None) -> int:
        """Asynchronous requests without an answer so far."""
        return sum(tag is None or t == tag for _, _, t in self._requests)

    def add_workers(self, num_workers: int, validate: bool = False) -> None:
        """More actors; where the cluster has fewer CPUs than they ask for, they share what there is."""
        import rayjup

        if not rayjup.is_initialized():
            rayjup.init()
        wanted = (len(self._ids) + num_workers) * self.config.num_cpus_per_env_runner
        there = rayjup.cluster_resources().get("CPU", 0.0)
        if wanted > there and self._share == 1.0:
            self._share = 0.0
            _log.warning("%g CPUs for env runners, but the cluster has %g: they share them.", wanted, there)
        new = []
        for _ in range(num_workers):
            self._ids.append(self._next)
            self._actors[self._next] = self._make(self._next, recreated=False)
            new.append(self._next)
            self._next += 1
        if validate:
            import rayjup

            rayjup.get(
                [self._actors[i].ping.remote() for i in new], timeout=self.config.env_runner_restore_timeout_s
            )

    def _make(self, index: int, recreated: bool) -> Any:
        import rayjup
        from rayjup.runs import registry

        config = self.config
        environ = config.extra_python_environs_for_worker
        options: dict[str, Any] = {
            "num_cpus": config.num_cpus_per_env_runner * self._share,
            "num_gpus": config.num_gpus_per_env_runner or None,
            "resources": config.custom_resources_per_env_runner or None,
            "runtime_env": {"env_vars": {k: str(v) for k, v in environ.items()}} if environ else None,
        }
        actor = rayjup.remote(**{k: v for k, v in options.items() if v is not None})(_RunnerActor)
        kwargs = {
            "config": config,
            "worker_index": index,
            "num_workers": config.num_env_runners,
            "recreated_worker": recreated,
        }
        return actor.remote(self._class, kwargs, registry.export(registry.ENVIRONMENT))

    def get_spaces(self) -> dict[str, Any]:
        """Spaces of environments and modules."""
        if self._local is not None:
            return self._local.get_spaces()
        import rayjup

        return rayjup.get(self._actors[self._ids[0]].call.remote("get_spaces"))

    # ------------------------------------------------------------ sampling

    def sample(
        self, per_runner: list[dict[str, Any]] | dict[str, Any] | None = None, timeout_s: float | None = None
    ) -> tuple[list[Any], list[Any]]:
        """Episodes and metrics of all actors that answer in time, or of the local runner if there is no
        actor.

        Parameters
        ----------
        per_runner
            Arguments of `sample()`: for all, or one dict per healthy actor.
        timeout_s
            Who takes longer is counted as failed.
        """
        arguments = {} if per_runner is None else per_runner
        if not self._ids:
            episodes = self._local.sample(**(arguments if isinstance(arguments, dict) else arguments[0]))
            return episodes, [self._local.get_metrics()]
        chosen = self.healthy_env_runner_ids()
        each = [arguments] * len(chosen) if isinstance(arguments, dict) else arguments
        refs = {i: self._actors[i].sample.remote(**kwargs) for i, kwargs in zip(chosen, each, strict=False)}
        found = self._collect(refs, self.config.sample_timeout_s if timeout_s is None else timeout_s)
        episodes = [e for _, (part, _) in found for e in part]
        return episodes, [metrics for _, (_, metrics) in found]

    def _collect(self, refs: dict[int, Any], timeout_s: float | None) -> list[tuple[int, Any]]:
        """Answers in the order of the runners; failures are noted."""
        import rayjup

        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        found = []
        for index, ref in refs.items():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                found.append((index, rayjup.get(ref, timeout=left)))
                self._consecutive = 0
            except (rayjup.exceptions.RayError, TimeoutError) as error:
                self._failed(index, error)
        return found

    def _failed(self, index: int, error: Exception) -> None:
        import rayjup

        self._consecutive += 1
        config = self.config
        own = isinstance(error, rayjup.exceptions.RayTaskError)
        too_often = self._consecutive > config.num_consecutive_env_runner_failures_tolerance
        if too_often or not (config.restart_failed_env_runners or config.ignore_env_runner_failures):
            raise error
        if own and self._consecutive > 3 * max(1, len(self._ids)):
            raise error  # the program's own fault: restarting does not help
        _log.warning("env runner %d failed: %r", index, error)
        self._failed_since.setdefault(index, time.monotonic())
        self._requests = [r for r in self._requests if r[1] != index]
        if not config.restart_failed_env_runners:
            self._ids.remove(index)
            self._actors.pop(index, None)
            self._failed_since.pop(index, None)
            self.num_dropped += 1

    def probe_unhealthy_env_runners(self, timeout_seconds: float | None = None) -> list[int]:
        """Make failed actors anew; returns their numbers."""
        import rayjup

        restored = []
        for index in list(self._failed_since):
            if self.num_restarts >= self.config.max_num_env_runner_restarts:
                break
            actor = self._actors[index]
            try:
                rayjup.get(actor.ping.remote(), timeout=0.2)
            except (rayjup.exceptions.RayError, TimeoutError):
                rayjup.kill(actor)
                self._actors[index] = self._make(index, recreated=True)
                self.num_restarts += 1
            try:
                wait = (
                    self.config.env_runner_restore_timeout_s if timeout_seconds is None else timeout_seconds
                )
                rayjup.get(self._actors[index].ping.remote(), timeout=wait)
            except (rayjup.exceptions.RayError, TimeoutError) as error:
                _log.warning("env runner %d does not come back: %r", index, error)
                continue
            del self._failed_since[index]
            restored.append(index)
        return restored

    def foreach_env_runner(
        self,
        func: Any,
        *,
        kwargs: Any = None,
        local_env_runner: bool = True,
        healthy_only: bool = True,
        remote_worker_ids: list[int] | None = None,
        timeout_seconds: float | None = None,
        return_obj_refs: bool = False,
        mark_healthy: bool = False,
    ) -> list[Any]:
        """``func(runner)`` (or the method of that name) of all; the local one first."""
        results = []
        if local_env_runner and self._local is not None:
            own = kwargs[0] if isinstance(kwargs, list) else kwargs or {}
            results.append(
                getattr(self._local, func)(**own) if isinstance(func, str) else func(self._local, **own)
            )
        chosen = self.healthy_env_runner_ids() if healthy_only else list(self._ids)
        if remote_worker_ids is not None:
            chosen = [i for i in chosen if i in remote_worker_ids]
        refs = {i: self._request(i, func, kwargs, place) for place, i in enumerate(chosen)}
        if return_obj_refs:
            return results + list(refs.values())
        return results + [value for _, value in self._collect(refs, timeout_seconds)]

    foreach_worker = foreach_env_runner

    def _request(self, index: int, func: Any, kwargs: Any, place: int = 0) -> Any:
        own = (kwargs[place] if isinstance(kwargs, list) else kwargs) or {}
        actor = self._actors[index]
        return actor.call.remote(func, **own) if isinstance(func, str) else actor.apply.remote(func, **own)

    def foreach_env_runner_async(
        self,
        func: Any,
        tag: str | None = None,
        *,
        kwargs: Any = None,
        healthy_only: bool = True,
        remote_worker_ids: list[int] | None = None,
    ) -> int:
        """Ask without waiting, where a runner has fewer than the most requests; returns how many were
        asked.
        """
        asked = 0
        for place, index in enumerate(self.healthy_env_runner_ids() if healthy_only else list(self._ids)):
            if remote_worker_ids is not None and index not in remote_worker_ids:
                continue
            busy = sum(i == index for _, i, _ in self._requests)
            if busy < self.config.max_requests_in_flight_per_env_runner:
                if func == "sample":
                    own = (kwargs[place] if isinstance(kwargs, list) else kwargs) or {}
                    ref = self._actors[index].sample.remote(**own)
                else:
                    ref = self._request(index, func, kwargs, place)
                self._requests.append((ref, index, tag))
                asked += 1
        return asked

    def fetch_ready_async_reqs(
        self,
        *,
        tags: Any = None,
        timeout_seconds: float | None = 0.0,
        return_obj_refs: bool = False,
        mark_healthy: bool = False,
    ) -> list[tuple[int, Any]]:
        """(runner, answer) of asynchronous requests that have one."""
        import rayjup

        wanted = [tags] if isinstance(tags, str) else tags
        mine = [r for r in self._requests if wanted is None or r[2] in wanted]
        if not mine:
            return []
        refs = [ref for ref, _, _ in mine]
        ready, _ = rayjup.wait(refs, num_returns=1 if timeout_seconds else len(refs), timeout=timeout_seconds)
        if timeout_seconds and ready:  # whatever else is ready by now
            ready, _ = rayjup.wait(refs, num_returns=len(refs), timeout=0)
        ready_set = set(ready)
        self._requests = [r for r in self._requests if r[0] not in ready_set]
        found = []
        for ref, index, _ in mine:
            if ref in ready_set:
                if return_obj_refs:
                    found.append((index, ref))
                else:
                    found.extend(self._collect({index: ref}, None))
        return found

    def foreach_env_runner_async_fetch_ready(
        self,
        func: Any,
        kwargs: Any = None,
        tag: str | None = None,
        timeout_seconds: float | None = 0.0,
        return_obj_refs: bool = False,
        mark_healthy: bool = False,
        healthy_only: bool = True,
        remote_worker_ids: list[int] | None = None,
        return_actor_ids: bool = False,
    ) -> list[Any]:
        """Fetch what is ready under the tag, and ask again."""
        found = self.fetch_ready_async_reqs(
            tags=tag, timeout_seconds=timeout_seconds, return_obj_refs=return_obj_refs
        )
        self.foreach_env_runner_async(
            func, tag, kwargs=kwargs, healthy_only=healthy_only, remote_worker_ids=remote_worker_ids
        )
        return found if return_actor_ids else [value for _, value in found]

    # ------------------------------------------------------------ weights and states

    def sync_weights(
        self,
        policies: Any = None,
        from_worker_or_learner_group: Any = None,
        to_worker_indices: list[int] | None = None,
        global_vars: Any = None,
        timeout_seconds: float | None = None,
        inference_only: bool = True,
        weights: dict[str, Any] | None = None,
        global_steps: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Give the learners' parameters to all runners."""
        source = from_worker_or_learner_group
        if weights is None:
            if source is None:
                source = self._local
            if hasattr(source, "get_weights"):
                weights = source.get_weights(policies, inference_only=inference_only)
            else:
                weights = source.get_state(COMPONENT_RL_MODULE)[COMPONENT_RL_MODULE]
        self._seq_no += 1
        state: dict[str, Any] = {COMPONENT_RL_MODULE: weights, "weights_seq_no": self._seq_no}
        if global_steps is not None:
            state["num_env_steps_sampled_lifetime"] = global_steps
        self._spread(state, local=source is not self._local, to=to_worker_indices, timeout=timeout_seconds)

    def _spread(
        self, state: dict[str, Any], *, local: bool, to: Any = None, timeout: float | None = None
    ) -> None:
        if local and self._local is not None and to is None:
            self._local.set_state(state)
        chosen = [i for i in self.healthy_env_runner_ids() if to is None or i in to]
        if chosen:
            import rayjup

            shared = rayjup.put(state)
            # Not waited for: calls of an actor run in order, so the next `sample()` comes behind it.
            for index in chosen:
                self._actors[index].set_state.remote(shared)

    def sync_env_runner_states(
        self,
        *,
        config: Any = None,
        from_worker: Any = None,
        env_steps_sampled: int | None = None,
        connector_states: list[dict[str, Any]] | None = None,
        rl_module_state: dict[str, Any] | None = None,
        runner_indices_to_update: list[int] | None = None,
        env_to_module: Any = None,
        module_to_env: Any = None,
        **kwargs: Any,
    ) -> None:
        """Join what the runners' connectors have learnt (running means, say), and give it to all, with the
        parameters.
        """
        config = config or self.config
        state = self.get_merged_env_runner_state(
            config=config,
            rl_module_state=rl_module_state or {},
            connector_states=connector_states,
            env_steps_sampled=env_steps_sampled,
        )
        if state:
            self._spread(state, local=True, to=runner_indices_to_update)

    def get_merged_env_runner_state(
        self,
        *,
        config: Any,
        rl_module_state: dict[str, Any],
        connector_states: list[dict[str, Any]] | None = None,
        env_steps_sampled: int | None = None,
        env_to_module: Any = None,
        module_to_env: Any = None,
    ) -> dict[str, Any]:
        """Parameters, joined states of connectors, the count of steps."""
        merged: dict[str, Any] = {}
        local = self._local
        names = (COMPONENT_ENV_TO_MODULE_CONNECTOR, COMPONENT_MODULE_TO_ENV_CONNECTOR)
        pipelines = (
            dict(zip(names, (local._env_to_module, local._module_to_env), strict=True)) if local else {}
        )
        pipelines = {n: p for n, p in pipelines.items() if p.get_state()}
        if pipelines and config.merge_env_runner_states and not config.in_evaluation_:
            if connector_states is None:
                connector_states = self.foreach_env_runner(
                    _connector_states, local_env_runner=not self._ids, kwargs={"names": list(pipelines)}
                )
            for name, pipeline in pipelines.items():
                states = [s[name] for s in connector_states if name in s]
                if states:
                    merged[name] = pipeline.merge_states(states)
        if not config.broadcast_env_runner_states:
            merged = {}
        if rl_module_state:
            merged.update(rl_module_state)
        if env_steps_sampled is not None:
            merged["num_env_steps_sampled_lifetime"] = env_steps_sampled
        return merged

    def sampling_states(self) -> list[dict[str, Any]]:
        """Where the runners are in their episodes; see `resuming`."""
        return [s for s in self.foreach_env_runner(sampling_state) if s is not None]

    def resume(self, states: list[dict[str, Any]]) -> None:
        """Go on where `sampling_states` was called, with the runners that were there then."""
        by_index = {state["worker_index"]: state for state in states}
        for index in self.healthy_env_runner_ids():
            if index in by_index:
                self.foreach_env_runner(
                    _resume,
                    remote_worker_ids=[index],
                    local_env_runner=False,
                    kwargs={"state": by_index[index]},
                )
        if self._local is not None and 0 in by_index:
            resume(self._local, by_index[0])

    def reset(self, new_remote_workers: list[Any]) -> None:
        """Use other actors."""
        self._ids = list(range(1, len(new_remote_workers) + 1))
        self._actors = dict(zip(self._ids, new_remote_workers, strict=True))
        self._next = len(self._ids) + 1

    def stop(self) -> None:
        """Close environments, end actors."""
        if self._local is not None:
            self._local.stop()
        if self._actors:
            import rayjup

            if rayjup.is_initialized():
                for actor in self._actors.values():
                    rayjup.kill(actor)
        self._actors, self._ids = {}, []


def _resume(runner: Any, *, state: dict[str, Any]) -> None:
    resume(runner, state)


def _connector_states(runner: Any, *, names: list[str]) -> dict[str, Any]:
    return runner.get_state(names)


def default_runner_class(config: Any) -> type:
    """The runner for single agents, or for several."""
    if config.is_multi_agent:
        from rayjup.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner

        return MultiAgentEnvRunner
    from rayjup.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

    return SingleAgentEnvRunner
