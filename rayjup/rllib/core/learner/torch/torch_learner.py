"""TorchLearner: learning with PyTorch, on one process or several.

With several learners each has its own part of the data; gradients are averaged in one all-reduce over one
flat buffer per step, as DDP does it in buckets; the modules begin alike and stay alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch

from rayjup.rllib.core import ALL_MODULES, DEFAULT_MODULE_ID
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.core.learner.learner import DEFAULT_OPTIMIZER, Learner
from rayjup.rllib.core.learner.training_data import TrainingData
from rayjup.rllib.core.rl_module.rl_module import RLModule
from rayjup.rllib.utils import nested
from rayjup.rllib.utils.metrics import (
    NUM_ENV_STEPS_TRAINED,
    NUM_ENV_STEPS_TRAINED_LIFETIME,
    NUM_MODULE_STEPS_TRAINED,
    NUM_MODULE_STEPS_TRAINED_LIFETIME,
    NUM_TRAINABLE_PARAMETERS,
)
from rayjup.rllib.utils.schedules.scheduler import Scheduler
from rayjup.rllib.utils.torch_utils import clip_gradients, convert_to_torch_tensor


class TorchLearner(Learner):
    """Base of learners in PyTorch: override `compute_loss_for_module`.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.bc import BCConfig
    >>> import gymnasium as gym
    >>> config = BCConfig().environment(
    ...     observation_space=gym.spaces.Box(-1, 1, (3,)), action_space=gym.spaces.Discrete(2)
    ... )
    >>> learner = config.build_learner()
    >>> sorted(learner.module.keys())
    ['default_policy']
    """

    framework = "torch"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._device = torch.device("cpu")
        self._generator = np.random.default_rng(
            None if self.config.seed is None else self.config.seed + self.rank
        )
        self.torch_generator = torch.Generator()
        self.torch_generator.manual_seed(int(self._generator.integers(2**31)))
        self._scaler: Any = None
        if self.config._torch_grad_scaler_class is not None:
            self._scaler = self.config._torch_grad_scaler_class()
        self._lr_schedulers: list[Any] = []
        self._logged: dict[tuple[str, str], Any] = {}

    # ------------------------------------------------------------ building

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return self._device

    def build(self) -> None:
        """Make module, pipeline and optimizers."""
        if not self._is_built and self.config.num_gpus_per_learner > 0:
            self._device = gpu_or_cpu(self.config, self.rank)
            if self._device.type == "cuda":
                self.torch_generator = torch.Generator(self._device)
                self.torch_generator.manual_seed(int(self._generator.integers(2**31)))
        super().build()

    def _make_module(self) -> Any:
        # All learners begin with equal parameters: from the seed, or from those of the first one.
        with torch.random.fork_rng(devices=[]):
            if self.config.seed is not None:
                torch.manual_seed(self.config.seed)
            module = self._module_obj or self._module_spec.build()
        module = module.as_multi_rl_module()
        for own in module.values():
            self._on_device(own)
        if self.distributed:
            for own in module.values():
                for tensor in own.state_dict().values():
                    torch.distributed.broadcast(tensor, 0)
        if self.config.torch_compile_learner:
            for own in module.values():
                own.forward_train = torch.compile(
                    own.forward_train,
                    backend=self.config.torch_compile_learner_dynamo_backend,
                    mode=self.config.torch_compile_learner_dynamo_mode,
                )
        return module

    def _on_device(self, module: Any) -> Any:
        if isinstance(module, torch.nn.Module):
            module.to(self._device)
            module.train()
        return module

    def get_parameters(self, module: RLModule) -> Sequence[Any]:
        """A module's parameters."""
        return list(module.parameters())  # type: ignore[attr-defined]

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One Adam for everything (another one: override this)."""
        config = config or self.config.get_config_for_module(module_id)
        params = [p for p in self.get_parameters(self._module[module_id]) if p.requires_grad]
        if params:
            self.register_optimizer(
                module_id=module_id, optimizer=adam(params), params=params, lr_or_lr_schedule=config.lr
            )

    def register_optimizer(
        self,
        *,
        module_id: str = ALL_MODULES,
        optimizer_name: str = DEFAULT_OPTIMIZER,
        optimizer: Any,
        params: Sequence[Any],
        lr_or_lr_schedule: Any = None,
    ) -> None:
        """Have an optimizer work on parameters, with a learning rate or a schedule of it."""
        name = f"{module_id}/{optimizer_name}"
        self._optimizers[name] = optimizer
        self._of_optimizer[name] = [self.get_param_ref(p) for p in params]
        self._params.update({self.get_param_ref(p): p for p in params})
        if lr_or_lr_schedule is not None:
            schedule = Scheduler(lr_or_lr_schedule)
            self._set_learning_rate(optimizer, schedule.value)
            if schedule.points is not None:
                self._schedules[name] = schedule
        classes = self.config._torch_lr_scheduler_classes
        if classes:
            if isinstance(classes, dict):
                classes = classes.get(module_id, [])
            self._lr_schedulers += [kind(optimizer) for kind in classes]

    def _set_learning_rate(self, optimizer: Any, value: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = value

    # ------------------------------------------------------------ gradients

    def compute_gradients(self, loss_per_module: dict[str, Any], **kwargs: Any) -> dict[Hashable, Any]:
        """Back-propagate the sum of the losses."""
        for optimizer in self._optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        total = sum(loss_per_module.values())
        if self._scaler is not None:
            total = self._scaler.scale(total)
        total.backward()  # type: ignore[union-attr]
        gradients = {ref: p.grad for ref, p in self._params.items() if p.grad is not None}
        if self._scaler is not None:
            for optimizer in self._optimizers.values():
                self._scaler.unscale_(optimizer)
        self.all_reduce(gradients)
        return gradients

    def all_reduce(self, gradients: dict[Hashable, Any]) -> None:
        """Average gradients over all learners, in place."""
        if not self.distributed or not gradients:
            return
        tensors = list(gradients.values())
        flat = torch._utils._flatten_dense_tensors(tensors)
        torch.distributed.all_reduce(flat)
        flat.div_(self.world)
        for tensor, part in zip(tensors, torch._utils._unflatten_dense_tensors(flat, tensors), strict=True):
            tensor.copy_(part)

    def postprocess_gradients_for_module(
        self, *, module_id: str, config: Any = None, module_gradients_dict: dict[Hashable, Any]
    ) -> dict[Hashable, Any]:
        """Clip one module's gradients."""
        config = config or self.config.get_config_for_module(module_id)
        if config.grad_clip is not None:
            norm = clip_gradients(
                module_gradients_dict, grad_clip=config.grad_clip, grad_clip_by=config.grad_clip_by
            )
            if config.log_gradients and norm is not None:
                self.log(module_id, "gradients_default_optimizer_global_norm", norm)
        return module_gradients_dict

    def apply_gradients(self, gradients_dict: dict[Hashable, Any]) -> None:
        """Step the optimizers whose parameters have gradients."""
        if self.config.torch_skip_nan_gradients and not all(
            bool(torch.isfinite(g).all()) for g in gradients_dict.values()
        ):
            return
        for ref, gradient in gradients_dict.items():
            if self._params[ref].grad is not gradient:
                self._params[ref].grad = gradient
        for name, optimizer in self._optimizers.items():
            if any(ref in gradients_dict for ref in self._of_optimizer[name]):
                if self._scaler is not None:
                    self._scaler.step(optimizer)
                else:
                    optimizer.step()
        if self._scaler is not None:
            self._scaler.update()

    # ------------------------------------------------------------ learning

    def update(  # type: ignore[override]
        self,
        batch: Any = None,
        batches: Any = None,
        batch_refs: Any = None,
        episodes: Any = None,
        episodes_refs: Any = None,
        data_iterators: Any = None,
        training_data: TrainingData | None = None,
        *,
        timesteps: dict[str, Any] | None = None,
        num_total_minibatches: int = 0,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = False,
        _no_metrics_reduce: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Learn from training data.

        Parameters
        ----------
        batch, batches, batch_refs, episodes, episodes_refs, data_iterators, training_data
            What to learn from; one of them. A batch is ``{module id: {column: values}}``.
        timesteps
            Lifetime counts of steps, for schedules.
        num_total_minibatches
            So many steps of gradient descent, however much data there is (learners that must keep step).
        num_epochs, minibatch_size, shuffle_batch_per_epoch
            How often to go through the data, in pieces of which size, in which order.
        """
        data = training_data or TrainingData(
            batch, batches, batch_refs, episodes, episodes_refs, data_iterators
        )
        data.validate()
        data.solve_refs()
        steps_sampled = timesteps or {}
        self.before_gradient_based_update(timesteps=steps_sampled)
        self._weights_seq_no += 1
        whole = self.train_batch(data)
        whole = {
            m: columns
            for m, columns in whole.items()
            if m in self._module and self.should_module_be_updated(m)
        }
        trained = 0
        for minibatch in self._minibatches(
            whole, num_total_minibatches, num_epochs, minibatch_size, shuffle_batch_per_epoch
        ):
            trained += self._learn_from(minibatch)
        self._log_counts(whole, trained)
        self.after_gradient_based_update(timesteps=steps_sampled)
        for scheduler in self._lr_schedulers:
            scheduler.step()
        self._flush_log()
        return {} if _no_metrics_reduce else self.metrics.reduce()

    def train_batch(self, data: TrainingData) -> dict[str, dict[str, Any]]:
        """Training data as columns of tensors by module."""
        if data.episodes is not None:
            return self._learner_connector(
                rl_module=self._module,
                batch={},
                episodes=list(data.episodes),
                shared_data={},
                metrics=self.metrics,
            )
        if data.data_iterators is not None:
            whole = next(
                iter(data.data_iterators[0] if isinstance(data.data_iterators, list) else data.data_iterators)
            )
        elif data.batches is not None:
            parts = [_by_module(part) for part in data.batches]
            whole = {
                key: nested.map_leaves(lambda *leaves: _cat(leaves), *[p[key] for p in parts])
                for key in parts[0]
            }
        else:
            whole = data.batch
        return {
            key: convert_to_torch_tensor(
                {c: v for c, v in columns.items() if c not in (Columns.INFOS, Columns.EPS_ID)}, self._device
            )
            for key, columns in _by_module(whole).items()
        }

    def _minibatches(
        self, whole: dict[str, Any], total: int, epochs: int, size: int | None, shuffle: bool
    ) -> Any:
        """All minibatches of all epochs. Modules with fewer rows than others begin anew where they end."""
        lengths = {m: nested.length(columns[_main(columns)]) for m, columns in whole.items()}
        if not lengths:
            return
        sizes = {m: self._rows(whole[m], size) or n for m, n in lengths.items()}
        if size is None and not total:
            for _ in range(epochs):
                yield whole
            return
        rounds = max(max(1, n // sizes[m]) for m, n in lengths.items())
        count = total or rounds * epochs
        orders: dict[str, Any] = {}
        for place in range(count):
            part = {}
            for m, columns in whole.items():
                n, rows = lengths[m], min(sizes[m], lengths[m])
                per_epoch = max(1, n // rows)
                if place % per_epoch == 0:
                    orders[m] = (
                        torch.from_numpy(self._generator.permutation(n)) if shuffle else torch.arange(n)
                    )
                    orders[m] = orders[m].to(self._device)
                begin = (place % per_epoch) * rows
                index = orders[m][begin : begin + rows]
                if shuffle:
                    part[m] = nested.map_leaves(lambda leaf, i=index: leaf[i], columns)
                else:
                    part[m] = nested.map_leaves(lambda leaf, b=begin, r=rows: leaf[b : b + r], columns)
            yield part

    def _rows(self, columns: dict[str, Any], size: int | None) -> int | None:
        """Rows of a minibatch of ``size`` time steps: sequences hold several."""
        if size is None or Columns.LOSS_MASK not in columns or columns[Columns.LOSS_MASK].dim() < 2:
            return size
        return max(1, size // columns[Columns.LOSS_MASK].shape[1])

    def _learn_from(self, minibatch: dict[str, Any]) -> int:
        fwd_out = {m: self._module[m].forward_train(columns) for m, columns in minibatch.items()}
        losses = self.compute_losses(fwd_out=fwd_out, batch=minibatch)
        gradients = self.compute_gradients(losses)
        gradients = self.postprocess_gradients(gradients)
        self.apply_gradients(gradients)
        for module_id, loss in losses.items():
            self.log(module_id, self.TOTAL_LOSS_KEY, loss)
        return max(nested.length(c[_main(c)]) for c in minibatch.values())

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """The loss; every algorithm has its own."""
        raise TypeError(f"{type(self).__name__} must define compute_loss_for_module().")

    # ------------------------------------------------------------ metrics

    def log(self, module_id: str, name: str, value: Any) -> None:
        """Remember a value for the result of this `update` (the newest one counts). No waiting for a GPU."""
        self._logged[module_id, name] = value.detach() if torch.is_tensor(value) else value

    def _flush_log(self) -> None:
        for (module_id, name), value in self._logged.items():
            self.metrics.log_value((module_id, name), float(value), window=1)
        self._logged.clear()

    def _log_counts(self, whole: dict[str, Any], trained: int) -> None:
        rows = 0
        for module_id, columns in whole.items():
            mask = columns.get(Columns.LOSS_MASK)
            own = int(mask.sum()) if mask is not None else nested.length(columns[_main(columns)])
            rows = max(rows, own)
            self.metrics.log_value((module_id, NUM_MODULE_STEPS_TRAINED), own, reduce="sum")
            self.metrics.log_value((module_id, NUM_MODULE_STEPS_TRAINED_LIFETIME), own, reduce="lifetime_sum")
            if self._weights_seq_no == 1:
                count = sum(
                    p.numel() for p in self.get_parameters(self._module[module_id]) if p.requires_grad
                )
                self.metrics.log_value((module_id, NUM_TRAINABLE_PARAMETERS), count, reduce="item")
            for name, optimizer in self.get_optimizers_for_module(module_id):
                rate = optimizer.param_groups[0]["lr"]
                self.log(module_id, f"{name}_learning_rate", rate)
        self.metrics.log_value((ALL_MODULES, NUM_ENV_STEPS_TRAINED), rows, reduce="sum")
        self.metrics.log_value((ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME), rows, reduce="lifetime_sum")
        self._steps_trained += rows

    # ------------------------------------------------------------ state

    def _optimizer_state(self) -> dict[str, Any]:
        state = {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()}
        return _detached(state)

    def _set_optimizer_state(self, state: dict[str, Any]) -> None:
        for name, own in state.items():
            if name in self._optimizers:
                self._optimizers[name].load_state_dict(_detached(own))

    def _more_state(self) -> dict[str, Any]:
        return {
            "rng": self._generator.bit_generator.state,
            "torch_rng": self.torch_generator.get_state().numpy(),
        }

    def _set_more_state(self, state: dict[str, Any]) -> None:
        if "rng" in state:
            self._generator.bit_generator.state = state["rng"]
            self.torch_generator.set_state(torch.as_tensor(state["torch_rng"]))

    @property
    def node(self) -> str:
        """The machine this runs on."""
        import platform

        return platform.node()

    def shutdown(self) -> None:
        """Leave the group of learners."""
        if self.distributed and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def adam(params: Sequence[Any], **settings: Any) -> Any:
    """Adam; in one fused kernel."""
    with contextlib.suppress(RuntimeError, TypeError):
        return torch.optim.Adam(params, **{"fused": True, **settings})
    return torch.optim.Adam(params, **settings)


def gpu_or_cpu(config: Any, rank: int) -> torch.device:
    """The GPU of a learner, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    index = config.local_gpu_idx if config.num_learners == 0 else rank % torch.cuda.device_count()
    return torch.device(f"cuda:{index}")


def _main(columns: dict[str, Any]) -> str:
    return Columns.OBS if Columns.OBS in columns else next(iter(columns))


def _by_module(batch: Any) -> dict[str, Any]:
    if hasattr(batch, "policy_batches"):
        return {key: dict(part) for key, part in batch.policy_batches.items()}
    first = next(iter(batch.values()))
    return batch if isinstance(first, dict) else {DEFAULT_MODULE_ID: dict(batch)}


def _cat(leaves: Any) -> Any:
    return torch.cat(list(leaves)) if torch.is_tensor(leaves[0]) else np.concatenate(leaves)


def _detached(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _detached(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_detached(value) for value in tree]
    return tree.detach().cpu().clone() if torch.is_tensor(tree) else tree
