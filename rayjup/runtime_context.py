"""Runtime contexts (mirrors ``ray.runtime_context``)."""

from rayjup.core.runtime_context import RuntimeContext, get_runtime_context

__all__ = ["RuntimeContext", "get_runtime_context"]
