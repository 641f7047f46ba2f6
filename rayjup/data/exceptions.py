"""Errors of datasets."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from typing import Any, TypeVar

from rayjup.exceptions import RayError, RayTaskError

F = TypeVar("F", bound=Callable[..., Any])


class RayDataUserCodeException(RayError):
    """A function that was given to a dataset raised; ``__cause__`` is what it raised."""

    def to_bytes(self) -> bytes:
        """For another process."""
        return pickle.dumps(self)

    @staticmethod
    def from_bytes(b: bytes) -> Any:
        """What :meth:`to_bytes` made."""
        return pickle.loads(b)

    @staticmethod
    def from_ray_exception(ray_exception: Any) -> Any:
        """The exception that a serialized one stands for."""
        if isinstance(ray_exception, RayTaskError):
            error = RayDataUserCodeException(str(ray_exception))
            error.__cause__ = ray_exception.cause
            return error
        return ray_exception


class SystemException(RayError):
    """Something went wrong in rayjup's own code."""


class ExecutionTimeoutError(RayError):
    """Nothing was finished for ``execution_no_progress_timeout_s``."""


def omit_traceback_stdout(fn: F) -> F:
    """Decorator of methods that execute: errors of user code are raised without rayjup's own frames."""

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except RayTaskError as error:
            raise error.with_traceback(None) from error.__cause__

    return wrapped  # type: ignore[return-value]


def user_error(error: BaseException, function: str) -> BaseException:
    """What to raise when user code run in this process raised: the same that a task would have raised."""
    if isinstance(error, RayTaskError):
        return error
    return RayTaskError.from_exception(error, function).as_instanceof_cause()
