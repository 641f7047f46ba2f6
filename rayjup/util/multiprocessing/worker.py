"""What runs in the processes of a pool."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle


class RemoteTraceback(Exception):
    """The traceback of an error in another process, as the cause of the error raised here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class PoolTaskError(Exception):
    """Stands for the error of one item among the results of a batch.

    Parameters
    ----------
    underlying
        What the function raised.
    """

    def __init__(self, underlying: BaseException, text: str = "") -> None:
        super().__init__(underlying, text)
        self.underlying = underlying
        self.text = text

    def raised(self) -> BaseException:
        """What to raise for it."""
        if self.text:
            self.underlying.__cause__ = RemoteTraceback(self.text)
        return self.underlying


def _error(error: Exception) -> PoolTaskError:
    text = traceback.format_exc()
    try:
        cloudpickle.loads(cloudpickle.dumps(error))
    except Exception as reason:  # noqa: BLE001 - any error of any user's __reduce__
        error = RuntimeError(f"{type(error).__name__}: {error} (the error itself can't be pickled: {reason})")
    return PoolTaskError(error, text)


class PoolActor:
    """A process of a pool: runs batches of calls of one function."""

    def __init__(
        self, initializer: Callable[..., Any] | None = None, initargs: Sequence[Any] | None = None
    ) -> None:
        if initializer is not None:
            initializer(*(initargs or ()))

    def ping(self) -> None:
        """Answers once the initializer has run."""

    def run_batch(self, func: Callable[..., Any], batch: Sequence[tuple[Any, Any]]) -> list[Any]:
        """Results of ``func(*args, **kwargs)`` for each ``(args, kwargs)``; errors as PoolTaskError."""
        results = []
        for args, kwargs in batch:
            try:
                results.append(func(*args, **(kwargs or {})))
            except Exception as error:  # noqa: BLE001 - it is the result of this item, not the end of the process
                results.append(_error(error))
        return results
