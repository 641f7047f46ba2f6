"""Odds and ends under Ray's names (mirrors ``ray.serve.utils``)."""

from rayjup.serve.context import get_trace_context

__all__ = ["get_trace_context"]
