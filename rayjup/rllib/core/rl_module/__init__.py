"""Modules, multi-modules, and what they are made from."""

from rayjup.rllib.core.rl_module.multi_rl_module import MultiRLModule, MultiRLModuleSpec
from rayjup.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec, validate_module_id

__all__ = ["MultiRLModule", "MultiRLModuleSpec", "RLModule", "RLModuleSpec", "validate_module_id"]
