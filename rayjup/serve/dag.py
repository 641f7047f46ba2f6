"""The input of a graph of calls (mirrors ``ray.serve.dag``)."""

from rayjup.dag import InputNode

__all__ = ["InputNode"]
