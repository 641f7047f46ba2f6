"""``RayTaskError``: what a task or actor method raised, as the caller sees it.

The caller catches it under the user's own type: ``as_instanceof_cause`` gives an exception that
is an instance of both ``RayTaskError`` and the class of the cause.
"""

from __future__ import annotations

import functools
import logging
import os
import traceback
import types
from pathlib import Path
from typing import Any

from rayjup.base._error_root import (
    RayError,
    UnserializableException,
    bare_instance,
    fill,
    rebuild,
    state_of,
    typed_fields,
)

_PACKAGE = str(Path(__file__).parent.parent) + os.sep
_HEADER = "Traceback (most recent call last):"

logger = logging.getLogger(__name__)


class RayTaskError(RayError):
    """A task or an actor method raised an exception.

    Parameters
    ----------
    function_name : str
        The function or ``Class.method`` that failed.
    traceback_str : str
        The formatted traceback from the process where it happened.
    cause : BaseException
        The exception itself.
    proctitle, pid, ip
        The process where it happened; default to this one.
    actor_repr, actor_id
        For a method: the ``repr`` and hexadecimal id of the actor.
    """

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ) -> None:
        super().__init__(function_name, traceback_str, cause, proctitle, pid, ip)
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.proctitle = proctitle or f"ray::{function_name}"
        self.pid = pid or os.getpid()
        self.ip = ip or "127.0.0.1"
        self.actor_repr = actor_repr
        self._actor_id = actor_id

    @classmethod
    def from_exception(
        cls,
        exc: BaseException,
        function_name: str,
        *,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ) -> RayTaskError:
        """The error to send to the caller of ``function_name``, which raised ``exc``.

        Frames of rayjup itself are left out of the traceback. Where ``exc`` came from another
        task, its cause is passed on, so that the caller sees the original type however deep it
        happened. A cause that cannot be pickled is replaced by an ``UnserializableException``
        with its text.
        """
        text = format_traceback(exc)
        cause = exc
        while isinstance(cause, RayTaskError):
            cause = cause.cause
        return cls(
            function_name,
            text,
            picklable(cause, text),
            proctitle=proctitle,
            pid=pid,
            ip=ip,
            actor_repr=actor_repr,
            actor_id=actor_id,
        )

    def as_instanceof_cause(self) -> RayTaskError:
        """An exception that is this one and also an instance of the class of the cause.

        Where the class of the cause cannot be subclassed, or is no ``Exception`` (``SystemExit``
        of a task must not end the caller), this error itself.
        """
        cause_class = type(self.cause)
        if isinstance(self, cause_class) or not issubclass(cause_class, Exception):
            return self
        try:
            return self.make_dual_exception_instance()
        except Exception as error:  # noqa: BLE001 - the class and metaclass of the cause are user code
            logger.warning(
                "Exception class %s.%s cannot be subclassed (%s), so this failure of %s is raised as a plain "
                "RayTaskError: catch RayTaskError and look at its `.cause`.",
                cause_class.__module__,
                cause_class.__qualname__,
                error,
                self.function_name,
            )
            return self

    def make_dual_exception_instance(self) -> RayTaskError:
        """As ``as_instanceof_cause``, but raises ``TypeError`` where that is impossible."""
        cause_class: Any = type(self.cause)
        dual = bare_instance(_dual_class(cause_class), self.cause)
        plain = dict(self.__dict__)
        plain.update(self.cause.__dict__)  # the attributes of the user's class are what its catcher wants
        plain["cause"] = self.cause
        plain["_task_error"] = self
        fill(dual, (self.cause,), typed_fields(self.cause), plain)
        return dual

    def __reduce__(self) -> tuple[Any, ...]:
        _, args, typed, plain = state_of(self)
        packed = _pack(plain.pop("cause"))
        return _restore, (type(self), (*args[:2], None, *args[3:]), typed, plain, packed)

    def __str__(self) -> str:
        where = f"{self.proctitle}() (pid={self.pid}, ip={self.ip}"
        if self.actor_repr:
            where += f", actor_id={self._actor_id}, repr={self.actor_repr}"
        return self.traceback_str.strip().replace(_HEADER, where + ")")


class _DualError(RayTaskError):
    """Base of the classes that are a ``RayTaskError`` and a user's exception at once."""

    _task_error: RayTaskError

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Does not go on to the user's class: its hook is meant for subclasses people write (and
        # may forbid them).
        pass

    def as_instanceof_cause(self) -> RayTaskError:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return RayTaskError.as_instanceof_cause, (self._task_error,)

    def __str__(self) -> str:
        return str(self._task_error)


@functools.lru_cache(maxsize=256)
def _dual_class(cause_class: type[BaseException]) -> type[_DualError]:
    name = f"RayTaskError({cause_class.__name__})"
    namespace = {"__module__": "rayjup.exceptions", "__qualname__": name}
    return types.new_class(name, (_DualError, cause_class), exec_body=lambda body: body.update(namespace))


def format_traceback(exc: BaseException) -> str:
    """The traceback of ``exc`` and of those it was raised from, without rayjup's own frames.

    A traceback that has no other frames is left whole: the fault is ours, and has to be found.
    """
    formatted = traceback.TracebackException.from_exception(exc)
    waiting: list[Any] = [formatted]
    seen: set[int] = set()
    while waiting:
        part = waiting.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        users = [frame for frame in part.stack if not frame.filename.startswith(_PACKAGE)]
        if users:
            # In place, because ``format`` of later Pythons wants its own kind of summary.
            part.stack[:] = users
        waiting += [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]
    return "".join(formatted.format())


def picklable(cause: BaseException, text: str) -> BaseException:
    """``cause`` if it survives pickling and loading, else an explanation with its ``text``."""
    # Imported when needed: it would double the import time of this module.
    from rayjup.base.serialization import pack, unpack

    try:
        function, arguments = _pack(cause)
        packed = pack(arguments)  # ours, because it does not pin the refs it finds
        function(*unpack(packed.data, packed.buffers, packed.refs))
    except Exception as error:  # noqa: BLE001 - pickling runs other people's code: anything may come out
        name = f"{type(cause).__module__}.{type(cause).__qualname__}"
        return UnserializableException(f"{name} cannot be pickled ({type(error).__name__}: {error}).\n{text}")
    return cause


def _pack(cause: BaseException) -> tuple[Any, tuple[Any, ...]]:
    """A function and arguments that give ``cause`` again on the other side.

    Classes that say themselves how to be pickled are left to it. For all others Python would
    call the class with ``args``, which fails as soon as ``__init__`` wants anything else.
    """
    for cls in type(cause).__mro__:
        own = vars(cls)
        if any(isinstance(own.get(hook), types.FunctionType) for hook in _PICKLE_HOOKS):
            return _same, (cause,)
    return rebuild, state_of(cause)


_PICKLE_HOOKS = (
    "__reduce__",
    "__reduce_ex__",
    "__getstate__",
    "__setstate__",
    "__getnewargs__",
    "__getnewargs_ex__",
)


def _same(value: Any) -> Any:
    return value


def _restore(
    cls: type[RayTaskError],
    args: tuple[Any, ...],
    typed: dict[str, Any],
    plain: dict[str, Any],
    packed: tuple[Any, tuple[Any, ...]],
) -> RayTaskError:
    function, arguments = packed
    cause = function(*arguments)
    return rebuild(cls, (*args[:2], cause, *args[3:]), typed, {**plain, "cause": cause})
