"""What trials fail with, as it travels to the driver."""

from __future__ import annotations

from rayjup.exceptions import RayTaskError


def trial_error(error: BaseException, name: str = "trial") -> RayTaskError:
    """The user's exception as tasks' exceptions travel: with its traceback as text, the user's frames
    only."""
    return RayTaskError.from_exception(error, name)


def as_seen_by_users(error: Exception) -> Exception:
    """An exception that is an instance of the user's class as well."""
    return error.as_instanceof_cause() if isinstance(error, RayTaskError) else error
