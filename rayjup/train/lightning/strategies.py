"""Lightning's strategies on workers that are members of a process group already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayjup.train.context import get_context
from rayjup.train.lightning.package import lightning_class

if TYPE_CHECKING:
    import torch

_environment: Any = lightning_class("plugins.environments", "LightningEnvironment")
_ddp: Any = lightning_class("strategies", "DDPStrategy")
_fsdp: Any = lightning_class("strategies", "FSDPStrategy")
_deepspeed: Any = lightning_class("strategies", "DeepSpeedStrategy")


class RayLightningEnvironment(_environment):  # type: ignore[misc]
    """Tells Lightning that processes exist already, and which of them this is."""

    @property
    def creates_processes_externally(self) -> bool:
        """The workers are there."""
        return True

    def world_size(self) -> int:
        """Number of workers."""
        return get_context().get_world_size()

    def global_rank(self) -> int:
        """This worker's number among all."""
        return get_context().get_world_rank()

    def local_rank(self) -> int:
        """This worker's number on its node."""
        return get_context().get_local_rank()

    def node_rank(self) -> int:
        """This node's number."""
        return get_context().get_node_rank()

    def set_world_size(self, size: int) -> None:
        """Nothing: the run says it."""

    def set_global_rank(self, rank: int) -> None:
        """Nothing: the run says it."""

    def teardown(self) -> None:
        """Nothing: the process group is the run's."""


class _OnWorkers:
    """What all strategies here share."""

    @property
    def root_device(self) -> torch.device:
        """This worker's device."""
        from rayjup.train.torch.train_loop_utils import get_device

        return get_device()

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """How samplers divide the data."""
        context = get_context()
        return {"num_replicas": context.get_world_size(), "rank": context.get_world_rank()}


class RayDDPStrategy(_OnWorkers, _ddp):  # type: ignore[misc]
    """Lightning's ``DDPStrategy`` on the run's workers."""


class RayFSDPStrategy(_OnWorkers, _fsdp):  # type: ignore[misc]
    """Lightning's ``FSDPStrategy`` on the run's workers."""

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """All parameters, on the CPU of rank 0."""
        from torch.distributed.fsdp import FullStateDictConfig, FullyShardedDataParallel, StateDictType

        strategy: Any = self
        model = strategy.model
        whole = FullStateDictConfig(offload_to_cpu=True, rank0_only=True)
        with FullyShardedDataParallel.state_dict_type(model, StateDictType.FULL_STATE_DICT, whole):
            found = model.state_dict()
        prefix = "_forward_module."
        return {key.removeprefix(prefix): value for key, value in found.items()}


class RayDeepSpeedStrategy(_OnWorkers, _deepspeed):  # type: ignore[misc]
    """Lightning's ``DeepSpeedStrategy`` on the run's workers."""


def prepare_trainer(trainer: Any) -> Any:
    """Check that a Lightning trainer uses one of these strategies and environments; it comes back as it is.

    Parameters
    ----------
    trainer
        The trainer.
    """
    if get_context().get_world_size() == 1 and not isinstance(trainer.strategy, _OnWorkers):
        return trainer
    if not isinstance(trainer.strategy, _OnWorkers):
        raise RuntimeError(
            f"the trainer's strategy is {type(trainer.strategy).__name__}; on Ray's workers it must "
            f"be RayDDPStrategy, "
            "RayFSDPStrategy or RayDeepSpeedStrategy: Trainer(strategy=RayDDPStrategy())"
        )
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if environment is not None and not isinstance(environment, RayLightningEnvironment):
        raise RuntimeError(
            f"the trainer's environment is {type(environment).__name__}: pass "
            f"Trainer(plugins=[RayLightningEnvironment()])"
        )
    return trainer
