"""``%ray_logs``: what is in the log files of the cluster."""

from __future__ import annotations

import re
import time
from typing import Any

import rayjup

_LISTED = 30
_ACTOR_ID, _TASK_ID = 32, 48  # digits


def ray_logs(
    whose: str | int | None = None, *, tail: int = 100, follow_s: float | None = None, err: bool = False
) -> None:
    """Print the log of a process of the cluster; without ``whose``, what logs there are.

    Parameters
    ----------
    whose : str or int, optional
        Name, class or id of an actor; id of a task (what it has printed); process id; name of a log
        file; id or name of a node, whose logs are listed.
    tail : int
        Only the last so many lines; -1 for all.
    follow_s : float, optional
        Go on for so many seconds with what is written meanwhile. An interrupt ends it.
    err : bool
        Standard error instead of standard output.

    Raises
    ------
    ConnectionError
        This notebook is connected to no cluster.
    ValueError
        Nothing is known by that name.

    Examples
    --------
    >>> import rayjup as ray
    >>> _ = ray.init(num_cpus=1, ignore_reinit_error=True)
    >>> ray_logs("cluster.log", tail=0)
    """
    if not rayjup.is_initialized():
        raise ConnectionError("this notebook is connected to no cluster: run %ray_init first")
    if tail < -1:
        raise ValueError(f"tail={tail}: give a number of lines, or -1 for all")
    if whose is None:
        _list(None)
        return
    text = str(whose)
    node = _node(text)
    if node is not None:
        _list(node)
    else:
        _show(_meant(text), tail, follow_s, "err" if err else "out")


def names() -> list[str]:
    """What `ray_logs` may be asked for, for completion: names and classes of actors, log files."""
    if not rayjup.is_initialized():
        return []
    from rayjup.util import state
    from rayjup.util.state.exception import RayStateApiException

    try:
        actors = state.list_actors(limit=1000, raise_on_missing_output=False)
        files = state.list_logs()
    except RayStateApiException:
        return []
    called = {actor[key] for actor in actors for key in ("name", "class_name") if actor[key]}
    return sorted({*called, *(name for kind in files.values() for name in kind)})


def _show(whose: dict[str, Any], tail: int, follow_s: float | None, suffix: str) -> None:
    from rayjup.util.state._logs import read_log
    from rayjup.util.state._options import DEFAULT_RPC_TIMEOUT, GetLogOptions

    options = GetLogOptions(
        timeout=DEFAULT_RPC_TIMEOUT,
        **whose,
        lines=tail,
        media_type="file" if follow_s is None else "stream",
        suffix=suffix,
        interval=0.1,
    )
    until = None if follow_s is None else time.monotonic() + follow_s
    last = "\n"
    for piece in read_log(options, errors="replace", filter_ansi_code=False, until=until):
        if piece:
            print(piece, end="", flush=True)  # noqa: T201 - what a cell says is its output
            last = piece
    if not last.endswith("\n"):
        print()  # noqa: T201


def _meant(text: str) -> dict[str, Any]:
    """The log that is meant, as options of ``get_log``."""
    from rayjup.util import state

    if text.isdigit() and len(text) < 12:
        for worker in state.list_workers(limit=10_000, raise_on_missing_output=False):
            if worker["pid"] == int(text):
                return {"pid": int(text), "node_id": worker["node_id"]}
        return {"pid": int(text)}
    if re.fullmatch("[0-9a-f]+", text):
        if len(text) == _ACTOR_ID:
            return {"actor_id": text}
        if len(text) == _TASK_ID:
            return {"task_id": text}
    rows = state.list_actors(limit=10_000, raise_on_missing_output=False)
    for column in ("name", "class_name"):
        found = [row for row in rows if row[column] == text]
        found = [row for row in found if row["state"] != "DEAD"] or found
        if len(found) == 1:
            return {"actor_id": found[0]["actor_id"]}
        if found:
            ids = ", ".join(row["actor_id"] for row in found[:5])
            raise ValueError(
                f"{len(found)} actors are called {text!r}: give the id of one of them ({ids}"
                f"{', …' if len(found) > 5 else ''})"
            )
    for node in state.list_nodes(limit=1000):
        if any(text in kind for kind in state.list_logs(node_id=node["node_id"]).values()):
            return {"filename": text, "node_id": node["node_id"]}
    raise ValueError(
        f"no actor, task, node, process or log file of the cluster is called {text!r}: %ray_logs alone lists "
        "the files, %ray_top the processes"
    )


def _node(text: str) -> dict[str, Any] | None:
    from rayjup.util import state

    for node in state.list_nodes(limit=1000):
        if text in (node["node_id"], node["node_name"]):
            return node  # type: ignore[no-any-return]
    return None


def _list(node: dict[str, Any] | None) -> None:
    from rayjup.core import session as sessions
    from rayjup.util import state

    files = state.list_logs(node_id=node["node_id"] if node is not None else None)
    for kind, found in sorted(files.items()):
        print(f"{kind}: {len(found):,} file{'' if len(found) == 1 else 's'}")  # noqa: T201
        for name in sorted(found)[:_LISTED]:
            print(f"  {name}")  # noqa: T201
        if len(found) > _LISTED:
            print(f"  … and {len(found) - _LISTED:,} more")  # noqa: T201
    session = sessions.connected()
    print(f"In {session.runtime.session_dir}/logs")  # noqa: T201
