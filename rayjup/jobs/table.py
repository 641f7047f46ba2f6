"""The jobs that were submitted to a cluster, kept by its head and in its journal."""

from __future__ import annotations

import json

from rayjup.base import keys
from rayjup.experimental import internal_kv
from rayjup.jobs.models import JobInfo

_SPACE = keys.JOBS


def enter(submission_id: str, info: JobInfo) -> bool:
    """Enter a new job; False when the id is taken."""
    data = json.dumps(info.to_json()).encode()
    return not internal_kv._internal_kv_put(submission_id, data, overwrite=False, namespace=_SPACE)


def get(submission_id: str) -> JobInfo | None:
    """One job; None when there is none."""
    data = internal_kv._internal_kv_get(submission_id, namespace=_SPACE)
    return None if data is None else JobInfo.from_json(json.loads(data))


def put(submission_id: str, info: JobInfo) -> None:
    """Write down what a job is at now."""
    internal_kv._internal_kv_put(submission_id, json.dumps(info.to_json()).encode(), namespace=_SPACE)


def delete(submission_id: str) -> bool:
    """Forget a job."""
    return internal_kv._internal_kv_del(submission_id, namespace=_SPACE) > 0


def ids() -> list[str]:
    """All of them."""
    return [key.decode() for key in internal_kv._internal_kv_list("", namespace=_SPACE)]
