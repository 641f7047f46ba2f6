"""Namespaces of the cluster's table of keys and values, for those who write them and those who only look."""

PREFIX = "kv:"
"""In front of all namespaces of users and libraries; the engine's own have none."""

BOARD = "board"
"""What runs say about themselves: ``kind/run_id``; what is asked of them: ``request/kind/run_id/number``."""

JOBS = "jobs"
"""Submitted jobs, by submission id."""


def of(namespace: str) -> str:
    """The name under which the head knows a namespace.

    Examples
    --------
    >>> of(BOARD)
    'kv:board'
    """
    return PREFIX + namespace
