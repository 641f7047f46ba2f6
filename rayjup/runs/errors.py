"""Errors of runs that users catch."""

from __future__ import annotations


class TuneError(Exception):
    """Something about an experiment is wrong, or trials failed."""


class TrialStopped(BaseException):
    """Raised inside a user's function at ``report`` when its trial is to end; not an error.

    Derived from BaseException, so that an ``except Exception`` of the user's does not swallow it.
    """
