"""What is remembered of a call whose result can be lost, so that it can be run again.

A recipe keeps no large value alive: each argument is found through a weak reference, or is made
again by its own recipe.
"""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from rayjup.engine.lane import messages as m
from rayjup.engine.ownership.object_ref import PENDING, ObjectRef
from rayjup.engine.runtime.arguments import Arguments

if TYPE_CHECKING:
    from rayjup.engine.runtime.pools import Task

EVICTED = "OBJECT_UNRECONSTRUCTABLE_LINEAGE_EVICTED"
SPENT = "OBJECT_UNRECONSTRUCTABLE_MAX_ATTEMPTS_EXCEEDED"
PUT = "OBJECT_UNRECONSTRUCTABLE_PUT"

_CALL_BYTES = 1000  # about what a remembered call takes besides its arguments
_ORIGIN_BYTES = 200


class Origin:
    """Where an argument came from."""

    __slots__ = ("id", "kept", "owner", "ref", "task")

    def __init__(self, ref: ObjectRef, is_value: bool) -> None:
        self.id = ref._id
        self.owner = ref._owner
        self.ref = weakref.ref(ref)
        self.task: Task | None = ref._task if ref._kind != PENDING else None
        # A small value stays. Not a ref that is only handed on: it may be what keeps an actor alive.
        small = ref._owner is None and ref._kind in (m.PLAIN, m.BLOB) and not ref._inner
        self.kept = ref if is_value and small else None

    def find(self) -> ObjectRef | None:
        """A ref to the same object that this process has, if there is one."""
        found = self.kept or self.ref()
        if found is None and self.task is not None:
            recipe = getattr(self.task, "recipe", None)
            others = self.task.refs or ([weak() for weak in recipe.outputs] if recipe is not None else [])
            found = next((ref for ref in others if ref is not None and ref._id == self.id), None)
        return found


class Recipe:
    """The arguments of an answered call and the refs of its results."""

    __slots__ = (
        "__weakref__",
        "book",
        "dependencies",
        "nbytes",
        "number",
        "outputs",
        "plain",
        "problem",
        "refs",
        "rest",
    )

    def __init__(self, book: RecipeBook, number: int, task: Task, refs: list[ObjectRef]) -> None:
        self.book = book
        self.number = number
        self.nbytes = _CALL_BYTES
        self.outputs = [weakref.ref(ref) for ref in refs]
        self.problem = "" if task.retries else SPENT  # why the call cannot be run again
        self.plain: tuple[Any, ...] | None = None  # the arguments, where none of them needs more
        self.rest: tuple[int, Any] = (m.PLAIN, None)  # status and data of other ones
        self.dependencies: list[tuple[int | str, Origin]] = []
        self.refs: list[Origin] = []
        arguments = task.arguments
        if self.problem:
            return
        if type(arguments) is tuple:
            self.plain = arguments
            self.nbytes += sum(len(a) for a in arguments if type(a) in (str, bytes))
        elif arguments.segment is not None:  # not kept for this: it may be as large as the result
            self.problem = PUT
        else:
            self.rest = (arguments.status, arguments.data)
            self.dependencies = [(key, Origin(ref, True)) for key, ref in arguments.dependencies]
            self.refs = [Origin(ref, False) for ref in arguments.refs]
            self.nbytes += _ORIGIN_BYTES * (len(self.refs) + len(self.dependencies))
            self.nbytes += _size(arguments.status, arguments.data)
            self.nbytes += sum(_size(o.kept._kind, o.kept._data) for _, o in self.dependencies if o.kept)

    def arguments(self, dependencies: list[tuple[int | str, ObjectRef]], refs: list[ObjectRef]) -> Any:
        """The arguments with which the call is made again."""
        return self.plain if self.plain is not None else Arguments(*self.rest, refs, dependencies, None)

    def forget(self, why: str) -> None:
        """Let go of the arguments: the call will not be run again."""
        self.problem = why
        self.plain = None
        self.rest = (m.PLAIN, None)
        self.dependencies, self.refs = [], []
        self.nbytes = 0

    def __del__(self) -> None:
        self.book.past.append((self.number, self.nbytes))


class RecipeBook:
    """All recipes of a process; the oldest are forgotten when they take more than ``most_bytes``."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.nbytes = 0
        self.past: deque[tuple[int, int]] = deque()  # those that nobody needs any more
        self._recipes: dict[int, weakref.ref[Recipe]] = {}  # oldest first
        self._numbers = itertools.count()

    def __len__(self) -> int:
        self._forget_past()
        return len(self._recipes)

    def enter(self, task: Task, refs: list[ObjectRef]) -> Recipe:
        """Note down an answered call."""
        recipe = Recipe(self, next(self._numbers), task, refs)
        self._recipes[recipe.number] = weakref.ref(recipe)
        self.nbytes += recipe.nbytes
        self._forget_past()
        if self.nbytes > self.most_bytes:
            self._evict(recipe.number)
        return recipe

    def _forget_past(self) -> None:
        while self.past:
            number, nbytes = self.past.popleft()
            self.nbytes -= nbytes
            self._recipes.pop(number, None)

    def _evict(self, newest: int) -> None:
        for number, weak in list(self._recipes.items()):
            if self.nbytes <= self.most_bytes or number == newest:
                return
            recipe = weak()
            if recipe is not None:
                self.nbytes -= recipe.nbytes
                del self._recipes[number]
                recipe.forget(EVICTED)
                del recipe
                self._forget_past()


def _size(status: int, data: Any) -> int:
    """About how many bytes a small value takes."""
    if status == m.BLOB:
        return len(data) if type(data) is bytes else len(data[0]) + sum(len(b) for b in data[1])
    values = (*data[0], *data[1].values()) if type(data) is tuple else (data,)
    return sum(len(v) for v in values if type(v) in (str, bytes))
