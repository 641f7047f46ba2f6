"""The references to objects in this process, as rows; looked for when asked, not kept account of."""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from rayjup.engine.lane import messages as m
from rayjup.engine.objects.store import Segment
from rayjup.engine.ownership.exports import Borrow
from rayjup.engine.ownership.object_ref import PENDING, ObjectRef
from rayjup.engine.runtime.actor_calls import ActorScope
from rayjup.engine.runtime.submitted import used_by

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime

_OWN = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
# Who refers to a ref while rows are made: the list of all refs, the loop, and getrefcount itself.
_HERE = 3


class Sites:
    """Where refs were made, by object id; only there where RAY_record_ref_creation_sites=1."""

    def __init__(self) -> None:
        self.by_id: dict[bytes, str] = {}

    def note(self, refs: list[ObjectRef], what: str) -> None:
        """Remember the line of the program that is making ``refs``."""
        frame: Any = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename.startswith(_OWN):
            frame = frame.f_back
        if frame is not None:
            code = frame.f_code
            where = f"({what}) {code.co_filename}:{code.co_name}:{frame.f_lineno}"
            for ref in refs:
                self.by_id[ref._id] = where

    def keep(self, ids: set[bytes]) -> None:
        """Forget those of refs that are gone."""
        if len(self.by_id) > 2 * len(ids) + 1000:
            self.by_id = {id: site for id, site in self.by_id.items() if id in ids}


def record_sites(runtime: Runtime) -> Sites:
    """Have the runtime note where refs are made (costs nothing where this is not called)."""
    sites = Sites()
    tasks = runtime.tasks
    of_task, of_put = tasks.new_refs, runtime.new_ref

    def new_refs(task: Any, count: int) -> list[ObjectRef]:
        refs = of_task(task, count)
        sites.note(refs, "actor call" if task.pool is None else "task call")
        return refs

    def new_ref() -> ObjectRef:
        ref = of_put()
        sites.note([ref], "put object")
        return ref

    tasks.new_refs = new_refs  # type: ignore[method-assign]
    runtime.new_ref = new_ref  # type: ignore[method-assign]
    return sites


def report(runtime: Runtime, limit: int) -> dict[str, Any]:
    """Rows of at most ``limit`` references of this process."""
    refs = [item for item in gc.get_objects() if type(item) is ObjectRef and _is_of(runtime, item)]
    needed, held = _holders(runtime, refs)
    sites: Sites | None = runtime.reports.sites
    rows: list[dict[str, Any]] = []
    left_out = 0
    for ref in refs:
        count = sys.getrefcount(ref)  # apart from the next line, which refers to it as well
        kind = _reference_type(ref, needed, held, count)
        if kind is None:
            continue
        if len(rows) == limit:
            left_out += 1
            continue
        rows.append(
            {
                "object_id": ref._id.hex(),
                "object_size": _size(ref),
                "task_status": _status(runtime, ref),
                "reference_type": kind,
                "call_site": sites.by_id.get(ref._id, "") if sites is not None else None,
                "owner": ref._owner or runtime.address,
            }
        )
    if sites is not None:
        sites.keep({ref._id for ref in refs})
    kind_of_process = "WORKER" if runtime.reports.events is not None else "DRIVER"
    return {"rows": rows, "left_out": left_out, "kind": kind_of_process}


def _is_of(runtime: Runtime, ref: ObjectRef) -> bool:
    """Whether a ref belongs to this connection, not to one that has ended before it."""
    if isinstance(ref._scope, ActorScope):
        return ref._scope.calls.runtime is runtime
    if isinstance(ref._scope, Borrow):
        return ref._scope.exports.runtime is runtime
    return ref._owner is not None or ref._id.startswith(runtime.worker_id[:12])


def _holders(runtime: Runtime, refs: list[ObjectRef]) -> tuple[Counter[int], Counter[int]]:
    """By identity: how often calls under way need a ref, and how often others of ours hold it."""
    tasks = runtime.tasks
    calls = [*tasks.inflight.values(), *tasks.waiting.values()]
    for pool in list(tasks.pools.values()):
        calls += list(pool.backlog)
    for client in list(runtime.actors.clients.values()):
        calls += list(client.queue)
    needed: Counter[int] = Counter()
    held: Counter[int] = Counter()
    for task in {id(task): task for task in calls}.values():
        needed.update(id(ref) for ref in used_by(task))
        held.update(id(ref) for ref in task.refs or ())
    for ref in refs:
        if ref._inner:
            held.update(id(inner) for inner in ref._inner)
    held.update(id(ref) for ref in runtime.exports.pinned.values())
    held.update(id(ref) for ref in runtime.exports.for_ever)
    return needed, held


def _reference_type(ref: ObjectRef, needed: Counter[int], held: Counter[int], count: int) -> str | None:
    if isinstance(ref._scope, ActorScope):
        return "ACTOR_HANDLE"
    if needed[id(ref)]:
        return "USED_BY_PENDING_TASK"
    if ref._kind == m.SHM and isinstance(ref._data, Segment) and _is_mapped(ref._data):
        return "PINNED_IN_MEMORY"
    if held[id(ref)] and count - held[id(ref)] <= _HERE:
        return "CAPTURED_IN_OBJECT" if ref._kind != PENDING else "LOCAL_REFERENCE"
    return "LOCAL_REFERENCE"


def _is_mapped(segment: Segment) -> bool:
    """Whether values of this process lie in the segment, such as arrays."""
    return segment.map is not None and sys.getrefcount(segment.map) > 2


def _size(ref: ObjectRef) -> int:
    """Bytes of the value as it is kept; -1 while there is none."""
    kind, data = ref._kind, ref._data
    if kind == m.PLAIN:
        return sys.getsizeof(data)
    if kind == m.BLOB:
        if type(data) is bytes:
            return len(data)
        return len(data[0]) + sum(len(buffer) for buffer in data[1])
    if kind == m.SHM:
        descriptor: Any = data.descriptor if isinstance(data, Segment) else data
        return int(descriptor[1])
    return -1


def _status(runtime: Runtime, ref: ObjectRef) -> str:
    task = ref._task
    if ref._kind != PENDING:
        return "FAILED" if ref._kind == m.ERROR else "FINISHED"
    if task is None:
        return "NIL"
    tasks = runtime.tasks
    if task.seq in tasks.waiting:
        return "PENDING_ARGS_AVAIL"
    return "SUBMITTED_TO_WORKER" if task.seq in tasks.inflight else "PENDING_NODE_ASSIGNMENT"
