"""Errors of the core API that are not part of ``exceptions``."""


class ActorClassInheritanceException(TypeError):
    """Somebody tried to derive from an actor class."""
