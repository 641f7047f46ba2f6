"""Remote functions (mirrors ``ray.remote_function``)."""

from rayjup.core.remote_function import RemoteFunction

__all__ = ["RemoteFunction"]
