"""What training functions call to make PyTorch objects fit for several workers."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sized
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, RandomSampler

from rayjup.runs import session
from rayjup.train.context import get_context

_scaler: dict[int, Any] = {}
_amp: dict[int, bool] = {}


def get_device() -> torch.device:
    """The device of this worker: its first GPU, or the CPU.

    Examples
    --------
    >>> from rayjup.train.torch import get_device
    >>> get_device().type in ("cpu", "cuda")
    True
    """
    return get_devices()[0]


def get_devices() -> list[torch.device]:
    """All devices of this worker."""
    if not torch.cuda.is_available():
        return [torch.device("cpu")]
    given = os.environ.get("RAYJUP_TRAIN_DEVICES")
    if given is not None:
        return [torch.device("cuda", int(index)) for index in given.split(",")]
    import rayjup

    inside = session.current()
    if inside is not None and inside.kind == "train" and rayjup.is_initialized() and not rayjup.get_gpu_ids():
        return [torch.device("cpu")]  # a worker without a GPU of its own leaves those of the machine alone
    return [torch.device("cuda", 0)]


def prepare_model(
    model: torch.nn.Module,
    move_to_device: bool | torch.device = True,
    parallel_strategy: str | None = "ddp",
    parallel_strategy_kwargs: dict[str, Any] | None = None,
) -> torch.nn.Module:
    """Move a model to this worker's device and have its gradients averaged over all workers.

    Parameters
    ----------
    move_to_device
        Whether, or whereto, it is moved.
    parallel_strategy
        ``"ddp"``; ``"fsdp"`` and ``"fsdp2"`` (parameters are divided among the workers); None for nothing.
    parallel_strategy_kwargs
        Further arguments of ``DistributedDataParallel``, ``FullyShardedDataParallel`` or ``fully_shard``.
    """
    if parallel_strategy not in ("ddp", "fsdp", "fsdp2", None):
        raise ValueError(
            f"prepare_model: parallel_strategy is {parallel_strategy!r}; it must be 'ddp', 'fsdp', "
            f"'fsdp2' or None"
        )
    kwargs = dict(parallel_strategy_kwargs or {})
    device = move_to_device if isinstance(move_to_device, torch.device) else get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if move_to_device:
        model = model.to(device)
    if _amp.get(os.getpid()):
        model = _Autocast(model, device.type)
    if parallel_strategy is None or get_context().get_world_size() == 1:
        return model
    if parallel_strategy == "ddp":
        if device.type == "cuda":
            kwargs.setdefault("device_ids", [device])
            kwargs.setdefault("output_device", device)
        return DistributedDataParallel(model, **kwargs)
    if parallel_strategy == "fsdp":
        from torch.distributed.fsdp import FullyShardedDataParallel

        if device.type != "cuda":
            kwargs.setdefault("device_id", device)
        return FullyShardedDataParallel(model, **kwargs)
    from torch.distributed.fsdp import fully_shard

    if device.type != "cuda" and "mesh" not in kwargs:
        from torch.distributed.device_mesh import init_device_mesh

        kwargs["mesh"] = init_device_mesh(device.type, (get_context().get_world_size(),))
    fully_shard(model, **kwargs)
    return model


def prepare_data_loader(
    data_loader: DataLoader[Any],
    add_dist_sampler: bool = True,
    move_to_device: bool = True,
    auto_transfer: bool = True,
) -> Any:
    """A data loader of which each worker gets its share, on its device.

    Parameters
    ----------
    add_dist_sampler
        Whether a `DistributedSampler` is added; it shuffles if the loader did. Call
        ``loader.sampler.set_epoch(epoch)`` for another order in each epoch.
    move_to_device
        Whether batches come on the worker's device.
    auto_transfer
        Whether the next batch is copied to the GPU while this one is used.
    """
    world_size, rank = get_context().get_world_size(), get_context().get_world_rank()
    dataset = data_loader.dataset
    divides = (
        world_size > 1
        and add_dist_sampler
        and not isinstance(data_loader.sampler, DistributedSampler)
        and not isinstance(dataset, IterableDataset)
        and isinstance(dataset, Sized)
    )
    if divides:
        data_loader = _divided(data_loader, world_size, rank)
    device = get_device()
    if move_to_device and device.type != "cpu":
        return _OnDevice(data_loader, device, auto_transfer)
    return data_loader


def _divided(loader: DataLoader[Any], world_size: int, rank: int) -> DataLoader[Any]:
    shuffle = isinstance(loader.sampler, RandomSampler)
    sampler: DistributedSampler[Any] = DistributedSampler(
        loader.dataset, num_replicas=world_size, rank=rank, shuffle=shuffle
    )
    if loader.batch_size is None and loader.batch_sampler is not None:
        raise ValueError(
            "prepare_data_loader: a loader with a batch_sampler of its own can't be divided; give that a "
            "DistributedSampler and pass add_dist_sampler=False"
        )
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        sampler=sampler,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
        pin_memory_device=loader.pin_memory_device,
    )


class _OnDevice:
    """A data loader whose batches come on a device; the next one is copied while this one is used."""

    def __init__(self, loader: DataLoader[Any], device: torch.device, ahead: bool) -> None:
        self._loader = loader
        self._device = device
        self._stream = torch.cuda.Stream(device) if ahead and device.type == "cuda" else None

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":
            raise AttributeError(name)
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._loader)
        following = self._copied(next(batches, None))
        while following is not None:
            batch = following
            if self._stream is not None:
                torch.cuda.current_stream(self._device).wait_stream(self._stream)
                _each_tensor(batch, lambda t: t.record_stream(torch.cuda.current_stream(self._device)))
            following = self._copied(next(batches, None))
            yield batch

    def _copied(self, batch: Any) -> Any:
        if batch is None:
            return None
        if self._stream is None:
            return _each_tensor(batch, lambda t: t.to(self._device))
        with torch.cuda.stream(self._stream):
            return _each_tensor(batch, lambda t: t.to(self._device, non_blocking=True))


def _each_tensor(value: Any, change: Any) -> Any:
    """A nest of tensors with a function applied to each."""
    if isinstance(value, torch.Tensor):
        changed = change(value)
        return value if changed is None else changed
    if isinstance(value, dict) or hasattr(value, "keys"):
        return {key: _each_tensor(inner, change) for key, inner in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_each_tensor(inner, change) for inner in value))
    if isinstance(value, (list, tuple)):
        return type(value)(_each_tensor(inner, change) for inner in value)
    return value


def enable_reproducibility(seed: int = 0) -> None:
    """Seed Python, NumPy and PyTorch, and have PyTorch use deterministic algorithms.

    Parameters
    ----------
    seed
        The seed; the same on all workers.
    """
    import numpy

    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"


# ---------------------------------------------------------------- mixed precision of the older API


class _Autocast(torch.nn.Module):
    """A model whose forward pass runs in lower precision."""

    def __init__(self, model: torch.nn.Module, device_type: str) -> None:
        super().__init__()
        self.module = model
        self._device_type = device_type

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output, in the precision of the parameters."""
        with torch.autocast(self._device_type):
            found = self.module(*args, **kwargs)
        return _each_tensor(found, lambda t: t.float() if t.is_floating_point() else t)


class _ScaledOptimizer(torch.optim.Optimizer):
    """An optimizer that steps through the gradient scaler."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def __getattr__(self, name: str) -> Any:
        if name == "optimizer":
            raise AttributeError(name)
        return getattr(self.optimizer, name)

    @property
    def param_groups(self) -> Any:
        """Those of the optimizer."""
        return self.optimizer.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """That of the optimizer."""
        found: dict[str, Any] = self.optimizer.state_dict()
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load that of the optimizer."""
        self.optimizer.load_state_dict(state_dict)

    def step(self, closure: Any = None) -> Any:
        """Step, unless gradients have overflowed."""
        scaler = _scaler[os.getpid()]
        done = scaler.step(self.optimizer) if closure is None else scaler.step(self.optimizer, closure)
        scaler.update()
        return done


def accelerate(amp: bool = False) -> None:
    """Switch on automatic mixed precision for models prepared from now on (older API).

    Parameters
    ----------
    amp
        Whether to use it.
    """
    _amp[os.getpid()] = amp
    if amp:
        _scaler[os.getpid()] = torch.amp.GradScaler(get_device().type, enabled=get_device().type == "cuda")


def prepare_optimizer(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """An optimizer that knows of mixed precision; call `accelerate` before (older API)."""
    return _ScaledOptimizer(optimizer) if os.getpid() in _scaler else optimizer


def backward(tensor: torch.Tensor) -> None:
    """``tensor.backward()``, with the gradients scaled where mixed precision is on (older API)."""
    scaler = _scaler.get(os.getpid())
    (scaler.scale(tensor) if scaler is not None else tensor).backward()
