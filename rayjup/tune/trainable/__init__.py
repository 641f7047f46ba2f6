"""Trainables: classes, functions, and what is given to them (mirrors ``ray.tune.trainable``)."""

from __future__ import annotations

from rayjup.runs.function_trainable import FunctionTrainable, wrap_function
from rayjup.runs.trainable import Trainable
from rayjup.tune.trainable.given import with_parameters, with_resources

__all__ = ["FunctionTrainable", "Trainable", "with_parameters", "with_resources", "wrap_function"]
