"""Errors of runs that users catch."""

from __future__ import annotations


class TuneError(Exception):
    """Something about an experiment is wrong, or trials failed."""


class TrialStopped(BaseException):
    """Raised inside a user's function at ``report`` when its trial is to end; not an error.

    Derived from BaseException, so that an ``except Exception`` of the user's does not swallow it.
    """


def must_define(owner: object, what: str) -> NotImplementedError:
    """The error of a method that subclasses have to define, to be raised by the base class."""
    return NotImplementedError(f"{type(owner).__name__} must define {what}")
