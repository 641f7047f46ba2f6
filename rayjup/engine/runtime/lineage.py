"""Making lost objects again, by running the call once more that made them.

Only a value in shared memory can be lost while its owner lives, because its node can die. So only
calls with such results are remembered (:mod:`.recipes`): a call that returns a number costs
nothing here. Whoever finds a value lost tells its owner: readers by fetching it once more, executors by
answering a call that its argument is lost. The owner runs the call again, lost arguments first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.base import exceptions
from rayjup.engine.lane import messages as m
from rayjup.engine.objects.copies import turn_to_copy
from rayjup.engine.objects.store import Segment
from rayjup.engine.ownership.object_ref import PENDING, ObjectRef, Recovering
from rayjup.engine.runtime.arguments import Arguments
from rayjup.engine.runtime.recipes import PUT, SPENT, Origin, Recipe, RecipeBook
from rayjup.engine.runtime.streams import Replay, Stream

if TYPE_CHECKING:
    from rayjup.engine.objects.store import Descriptor
    from rayjup.engine.runtime.pools import Task
    from rayjup.engine.runtime.runtime import Runtime

_MOST_BYTES = 256 << 20
_MOST_BYTES_VARIABLE = "RAY_max_lineage_bytes"
_TRIES = 5  # at reading what is there according to its owner, and is not
_UNREACHABLE_S = 5.0  # an object on a host that does not answer is asked for once more within this time
_FIRST_PUT = 0x80000000  # from this index on objects were made by put
_NO_RETRIES = "OBJECT_UNRECONSTRUCTABLE_RETRIES_DISABLED"

Work = list[tuple["Task", Recipe]]


class Lineage:
    """Makes lost objects of one process again, and has their owners do so with others."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.book = RecipeBook(int(os.environ.get(_MOST_BYTES_VARIABLE, _MOST_BYTES)))
        self.made_again = 0  # calls
        self._misses: dict[int, int] = {}  # calls that did not find arguments which are there

    def keep(self, task: Task, refs: list[ObjectRef], parts: list[tuple[int, Any]]) -> None:
        """Remember how the results of an answered call were made, as far as they can be lost."""
        can_be_lost = [ref for ref, part in zip(refs, parts, strict=True) if _can_be_lost(*part)]
        if can_be_lost:
            self._enter(task, refs)
            for ref in can_be_lost:
                ref._task = task

    def keep_items(self, task: Task, stream: Stream) -> None:
        """As :meth:`keep`, for a generator that has ended."""
        items = [ref for ref in (weak() for weak in stream.made) if ref is not None]
        if items:
            self._enter(task, items)

    def _enter(self, task: Task, refs: list[ObjectRef]) -> None:
        task.recipe = self.book.enter(task, refs)
        task.arguments = None
        if task.pool is not None:
            task.lease = None

    def is_lost(self, ref: ObjectRef) -> bool:
        """Whether the value of ``ref`` lay in a segment that is gone."""
        descriptor = descriptor_of(ref)
        return descriptor is not None and not self.runtime.store.has(descriptor)

    def check(self, ref: ObjectRef) -> None:
        """See to it that a lost value is made again, by us or by its owner."""
        descriptor = descriptor_of(ref)
        if descriptor is None or self.runtime.store.has(descriptor):
            return
        if ref._owner is None:
            if not self._has_copy(ref):
                self.recover(ref)
        else:
            self.runtime.exports.fetch_again(ref, descriptor[0])

    def _has_copy(self, ref: ObjectRef) -> bool:
        """Whether a lost value of ours is to be had on another host; it is that copy from now on."""
        with self.runtime.lock:
            data = ref._data
            return isinstance(data, Segment) and turn_to_copy(self.runtime.store, data)

    # -- found lost

    def read_again(
        self,
        ref: ObjectRef,
        error: exceptions.ObjectLostError,
        deadline: float | None,
        then: Callable[[ObjectRef], object] | None,
    ) -> Any:
        """The value of ``ref``, whose segment could not be read, once it was made again.

        With ``then`` this does not wait: it raises Recovering, and ``then(ref)`` is called later.
        """
        runtime = self.runtime
        patience = time.monotonic() + _UNREACHABLE_S
        for _ in range(_TRIES):
            descriptor = descriptor_of(ref)
            if descriptor is not None and descriptor[4] != runtime.store.host and not runtime.pulls.possible:
                break  # it is not lost, but cannot be read here
            if isinstance(error, exceptions.ObjectFetchTimedOutError) and time.monotonic() > patience:
                break
            self.check(ref)
            if then is not None and runtime.add_waiter(ref, then):
                raise Recovering
            if not runtime.wait_until(lambda: ref._kind != PENDING, deadline):
                raise exceptions.GetTimeoutError(
                    f"get timed out: the value of {ref} was lost and is still being made again."
                )
            if ref._kind != m.SHM:
                return runtime.value_of(ref)
            try:
                if runtime.pulls.possible:
                    runtime.pulls.ensure(ref, deadline, then)
                return runtime.read_segment(ref)
            except exceptions.ObjectLostError as again:
                error = again
        raise error

    def on_reported(self, ref: ObjectRef, path: str) -> None:
        """Another process could not find the segment ``path`` of one of our objects."""
        descriptor = descriptor_of(ref)
        if descriptor is None or descriptor[0] != path:
            return
        if descriptor[4] != self.runtime.store.host:  # only those who ask for it learn that it is gone
            self.runtime.store.gone.add(path)
        if self.is_lost(ref) and not self._has_copy(ref):
            self.recover(ref)

    def on_arguments_lost(self, task: Task, path: str = "") -> None:
        """An executor did not find an argument (in the segment ``path``): the call is made again when it is
        there again.
        """
        arguments: Arguments = task.arguments
        missed = self._misses.pop(task.seq, 0) + 1
        for _, ref in arguments.dependencies:
            descriptor = descriptor_of(ref)
            if descriptor is not None and descriptor[0] == path and descriptor[4] != self.runtime.store.host:
                self.runtime.store.gone.add(path)
            self.check(ref)
            if ref._kind in (PENDING, m.ERROR):
                missed = 0
        if missed > _TRIES:
            text = f"An argument of {task.name}() cannot be read by its executor, although its owner has it."
            self.runtime.tasks.fail(task, exceptions.ObjectLostError.from_text(text))
            return
        if missed:
            self._misses[task.seq] = missed
        self._submit(task)

    # -- running calls again

    def recover(self, ref: ObjectRef, new: bool = False) -> None:
        """Have the lost value of one of our refs made again: it is waited for as at first.

        ``new``: the ref has no value yet.
        """
        work: Work = []
        self._begin(ref, work, new)
        while work:  # no recursion: a chain of lost values may be longer than the stack is deep
            task, recipe = work.pop()
            dependencies = [(key, self._revive(origin, work, True)) for key, origin in recipe.dependencies]
            nested = [self._revive(origin, work, False) for origin in recipe.refs]
            task.arguments = recipe.arguments(dependencies, nested)
            self._submit(task)

    def _begin(self, ref: ObjectRef, work: Work, new: bool = False) -> None:
        """Take up the call that makes ``ref`` (``new``: a ref that never had its value)."""
        task: Task | None = ref._task
        error = None
        gone: list[Any] = []
        with self.runtime.lock:
            if not new and not self.is_lost(ref):
                return  # another thread was faster
            recipe = getattr(task, "recipe", None)
            if recipe is None and task is not None and task.refs is not None:
                lost = [ref]  # it is under way: this result is wanted, too
                if task.stream is not None:
                    task.stream.lost.append(ref)
                else:
                    task.refs = [ref if other._id == ref._id else other for other in task.refs]
            else:
                error = self._hindrance(ref, task, recipe)
                lost = [ref]
                if error is None:
                    assert task is not None and recipe is not None
                    lost += [o for o in (weak() for weak in recipe.outputs) if o is not None and o is not ref]
                    lost = [o for o in lost if o is ref or self.is_lost(o)]
                    task.recipe = None
                    if task.stream is None:
                        task.refs = _results(ref, lost, task.n_returns)
                    else:
                        task.stream = Replay(task.stream, lost)
                        task.refs = [ObjectRef(ref._id[:24] + b"\1\0\0\0")]
                    task.retries -= task.retries > 0
                    task.cancelled = False
                    task.function.submitted += 1
                    self.made_again += 1
                    work.append((task, recipe))
            for output in lost:
                gone += (output._data, output._inner)
                output._kind, output._data, output._inner = PENDING, None, None
        del gone  # freed outside of the lock
        if error is not None:
            self.runtime.complete(ref, m.ERROR, error, None)

    def _hindrance(
        self, ref: ObjectRef, task: Task | None, recipe: Recipe | None
    ) -> exceptions.ObjectLostError | None:
        """Why the value of ``ref`` cannot be made again; None: it can."""
        message = None
        if int.from_bytes(ref._id[24:], "little") >= _FIRST_PUT:
            reason = PUT
        elif task is None or recipe is None:
            reason = _NO_RETRIES
            if ref._kind == PENDING:
                message = (
                    "It was an argument of a call that has to run again. No ref to it is left, and how it "
                    "was made is not known any more: keep refs to what lost values are made from."
                )
        elif recipe.problem or not task.retries:
            reason = recipe.problem or SPENT
            if reason == PUT:
                message = (
                    f"{task.name}(), which made it, was given arguments above 100 KiB by value, and these "
                    "are not kept: put() them, and keep the refs."
                )
        else:
            return None
        return exceptions.ObjectReconstructionFailedError(
            ref.hex(), reason, message, self.runtime.address, task.name if task is not None else ""
        )

    def _revive(self, origin: Origin, work: Work, is_value: bool) -> ObjectRef:
        """A ref for an argument of a call that is run again; values that are lost are made again, too."""
        exports = self.runtime.exports
        ref = origin.find()
        if ref is not None:
            if is_value:
                if ref._owner is not None:
                    self.check(ref)
                elif self.is_lost(ref):
                    self._begin(ref, work)
            return ref
        if origin.owner is not None:
            return exports.adopt(origin.id, origin.owner)
        with self.runtime.lock:
            ref = origin.find()  # of another thread that revives it
            if ref is None:
                ref = ObjectRef(origin.id)
                ref._task = origin.task
                self._begin(ref, work, new=True)
        return ref

    def _submit(self, task: Task) -> None:
        runtime = self.runtime
        arguments = task.arguments
        unresolved = arguments.unresolved() if type(arguments) is Arguments else []
        if task.pool is None:
            runtime.actors.submit_again(task, unresolved)
        elif unresolved:
            runtime.tasks.wait_for(task, unresolved, runtime.tasks.dispatch)
        else:
            runtime.tasks.dispatch(task)


def _can_be_lost(status: int, value: Any) -> bool:
    # A value that holds refs is small, and stays with its owner; but it goes before them, and they need it.
    return status == m.SHM or (status == m.BLOB and type(value) is not bytes and bool(value[1]))


def descriptor_of(ref: ObjectRef) -> Descriptor | None:
    """Where the value of ``ref`` lies in shared memory, if it does."""
    data = ref._data
    if ref._kind != m.SHM or data is None:
        return None
    return data.descriptor if isinstance(data, Segment) else data


def _results(ref: ObjectRef, wanted: list[ObjectRef], count: int) -> list[ObjectRef]:
    """Refs for all results of a call: those that are wanted, and others that take what is not."""
    known = {output._id: output for output in wanted}
    ids = [ref._id[:24] + index.to_bytes(4, "little") for index in range(1, count + 1)]
    return [known.get(id) or ObjectRef(id) for id in ids]
