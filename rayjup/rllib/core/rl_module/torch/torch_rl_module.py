"""An RLModule that is an `nn.Module`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from rayjup.rllib.core.rl_module.apis import InferenceOnlyAPI
from rayjup.rllib.core.rl_module.rl_module import RLModule


class TorchRLModule(nn.Module, RLModule):
    """Base of modules in PyTorch.

    Examples
    --------
    >>> import gymnasium as gym, torch
    >>> from rayjup.rllib.core.rl_module.torch import TorchRLModule
    >>> class Linear(TorchRLModule):
    ...     def setup(self):
    ...         self.net = torch.nn.Linear(self.observation_space.shape[0], self.action_space.n)
    ...
    ...     def _forward(self, batch, **kwargs):
    ...         return {"action_dist_inputs": self.net(batch["obs"])}
    >>> module = Linear(observation_space=gym.spaces.Box(-1, 1, (4,)), action_space=gym.spaces.Discrete(3))
    >>> module.forward_inference({"obs": torch.zeros(2, 4)})["action_dist_inputs"].shape
    torch.Size([2, 3])
    """

    framework = "torch"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        nn.Module.__init__(self)
        RLModule.__init__(self, *args, **kwargs)
        if self.inference_only and isinstance(self, InferenceOnlyAPI):
            for name in self.get_non_inference_attributes():
                _drop(self, name)

    def forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """`forward_train`, so that wrappers of PyTorch (DDP, compile) work on modules."""
        return self.forward_train(batch, **kwargs)

    def get_state(
        self,
        components: Any = None,
        *,
        not_components: Any = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Parameters and buffers as NumPy arrays (copies)."""
        state = self.state_dict()
        if inference_only and not self.inference_only and isinstance(self, InferenceOnlyAPI):
            dropped = tuple(f"{name}." for name in self.get_non_inference_attributes())
            exact = set(self.get_non_inference_attributes())
            state = {k: v for k, v in state.items() if not k.startswith(dropped) and k not in exact}
        return {key: value.detach().cpu().numpy().copy() for key, value in state.items()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take parameters and buffers; what only training needs may be missing or too much."""
        own = self.state_dict()
        unknown = [k for k in state if k not in own]
        if unknown and not self.inference_only:
            raise ValueError(
                f"{type(self).__name__} has no parameters {unknown[:3]}: the state is that of another kind "
                "or of other settings."
            )
        with torch.no_grad():
            for key, value in state.items():
                if key in own:
                    source = torch.as_tensor(value if torch.is_tensor(value) else np.array(value))
                    if source.shape != own[key].shape:
                        raise ValueError(
                            f"{key} is {tuple(own[key].shape)} here and {tuple(source.shape)} in "
                            "the state: make the module with the settings it was saved with."
                        )
                    own[key].copy_(source)

    def unwrapped(self) -> Any:
        """The module inside DDP or compiled wrappers."""
        return self


def _drop(module: nn.Module, name: str) -> None:
    *path, last = name.split(".")
    owner: Any = module
    for part in path:
        owner = getattr(owner, part, None)
        if owner is None:
            return
    if hasattr(owner, last):
        delattr(owner, last)
