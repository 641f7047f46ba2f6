"""Mirrors ``ray.internal``, which is empty since Ray 2; ``free`` is where older programs look for it."""

from rayjup._private.internal_api import free

__all__ = ["free"]
