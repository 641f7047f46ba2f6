"""Actors (mirrors ``ray.actor``)."""

from rayjup.core.actor import ActorClass, ActorHandle, ActorMethod, exit_actor, method
from rayjup.core.errors import ActorClassInheritanceException

__all__ = [
    "ActorClass",
    "ActorClassInheritanceException",
    "ActorHandle",
    "ActorMethod",
    "exit_actor",
    "method",
]
