"""JAX: ``jax.distributed`` on Ray's workers."""

from __future__ import annotations

from rayjup.train.v2.jax.config import JaxConfig
from rayjup.train.v2.jax.jax_trainer import JaxTrainer

__all__ = ["JaxConfig", "JaxTrainer"]
