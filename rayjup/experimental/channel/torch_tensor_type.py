"""How tensors travel through a channel."""

from __future__ import annotations

import sys
from typing import Any

from rayjup.experimental.channel.common import ChannelOutputType

_DEVICES = ("default", "cpu", "gpu", "cuda")


class TorchTensorType(ChannelOutputType):
    """Tensors in a value travel by ``transport`` and arrive on ``device``.

    Parameters
    ----------
    transport
        ``"shm"`` or ``"auto"``: through shared memory; ``"accelerator"``: between GPUs, which rayjup
        refuses when a graph is compiled.
    device
        ``"default"``: where the tensor was; ``"cpu"``; ``"gpu"`` or ``"cuda"``.
    """

    AUTO = "auto"
    SHM = "shm"
    ACCELERATOR = "accelerator"

    def __init__(
        self,
        transport: Any = "auto",
        device: str = "default",
        _static_shape: bool = False,
        _direct_return: bool = False,
    ) -> None:
        if device not in _DEVICES:
            valid = ", ".join(f"'{name}'" for name in _DEVICES)
            raise ValueError(f"Invalid device '{device}'. Valid options are: {valid}.")
        if transport not in (self.AUTO, self.SHM, self.ACCELERATOR, "nccl"):
            raise ValueError(
                f"Invalid transport type: {transport}. Transport must be one of 'auto', 'nccl', 'shm', "
                "'accelerator'; communicators of one's own need a transport between GPUs, which "
                "rayjup has not got."
            )
        self.transport = self.ACCELERATOR if transport == "nccl" else transport
        self.device = device
        self.static_shape = _static_shape
        self.direct_return = _direct_return

    def requires_accelerator(self) -> bool:
        """Whether tensors shall go from GPU to GPU."""
        return bool(self.transport == self.ACCELERATOR)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(transport={self.transport!r}, device={self.device!r})"


class AutoTransportType(TorchTensorType):
    """Leaves the transport to the graph: shared memory."""

    def __init__(
        self, device: str = "default", _static_shape: bool = False, _direct_return: bool = False
    ) -> None:
        super().__init__("auto", device, _static_shape, _direct_return)


def place(value: Any, device: str) -> Any:
    """``value`` with the tensors in it (also in lists, tuples and dicts) on ``device``."""
    torch = sys.modules.get("torch")
    if torch is None or device == "default":
        return value
    if isinstance(value, torch.Tensor):
        return value.to("cuda" if device == "gpu" else device)
    if type(value) in (list, tuple):
        return type(value)(place(item, device) for item in value)
    if type(value) is dict:
        return {key: place(item, device) for key, item in value.items()}
    return value
