"""Ray's name for breakpoints in tasks (mirrors ``ray.util.debugpy``).

No port is opened for an editor to attach to: such a port runs code for whoever reaches it.
``set_trace`` is that of :mod:`rayjup.util.rpdb`.
"""

from rayjup.util.rpdb import set_trace

__all__ = ["set_trace"]
