"""The usual request router under the name that configurations use for it."""

from rayjup.serve.request_router import PowerOfTwoChoicesRequestRouter

__all__ = ["PowerOfTwoChoicesRequestRouter"]
