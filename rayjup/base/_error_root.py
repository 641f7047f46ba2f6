"""The root of the error tree and what every error can do: survive a trip to another process.

Internal; the public names are in ``rayjup.exceptions``.
"""

from __future__ import annotations

import traceback
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, NamedTuple, TypeVar

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: set for classes written in Python
# ``AttributeError.obj`` is whatever the attribute was looked for in: of any size, often not picklable.
_NOT_CARRIED = ("__dict__", "__weakref__", "obj")
_Exc = TypeVar("_Exc", bound=BaseException)


def bare_instance(cls: type[_Exc], template: BaseException) -> _Exc:
    """An instance of ``cls`` made without running any Python-level ``__new__`` or ``__init__``.

    The constructor of somebody else's exception may need arguments nobody kept; only the one of
    the nearest built-in class has to run, because that one lays out the memory.
    """
    builtin: type = cls
    while builtin.__flags__ & _HEAP_TYPE:
        builtin = builtin.__base__  # type: ignore[assignment]  # the parent that lays out the memory
    group = getattr(template, "exceptions", None)
    if builtin.__name__ in ("BaseExceptionGroup", "ExceptionGroup") and group is not None:
        return builtin.__new__(cls, template.message, list(group))  # type: ignore
    return builtin.__new__(cls)  # type: ignore


def typed_fields(error: BaseException) -> dict[str, Any]:
    """What an exception keeps outside of ``args`` and ``__dict__``.

    That is fields of built-in classes (``OSError.errno``, ``SyntaxError.lineno``, ...) and ``__slots__``.
    """
    found: dict[str, Any] = {}
    for cls in reversed(type(error).__mro__):
        if cls in (object, BaseException):
            continue
        for name, descriptor in vars(cls).items():
            if name in _NOT_CARRIED:
                continue
            if isinstance(descriptor, (MemberDescriptorType, GetSetDescriptorType)):
                try:
                    value = descriptor.__get__(error, type(error))
                except AttributeError:  # a slot nobody has filled
                    continue
                if value is None and not cls.__flags__ & _HEAP_TYPE:
                    continue  # a built-in's way to say the same; stored, it would count as a value
                found[descriptor.__name__] = value
    return found


def fill(error: BaseException, args: tuple[Any, ...], typed: dict[str, Any], plain: dict[str, Any]) -> None:
    """Give ``error`` a state taken from another instance, past any ``__setattr__`` of its class."""
    BaseException.args.__set__(error, args)  # type: ignore[attr-defined]
    for cls in type(error).__mro__:
        for name, descriptor in vars(cls).items():
            key = getattr(descriptor, "__name__", name)
            if isinstance(descriptor, (MemberDescriptorType, GetSetDescriptorType)) and key in typed:
                try:
                    descriptor.__set__(error, typed[key])
                except (AttributeError, TypeError):  # read-only, or a None that only C may store
                    continue
    error.__dict__.update(plain)


def rebuild(cls: type[_Exc], args: tuple[Any, ...], typed: dict[str, Any], plain: dict[str, Any]) -> _Exc:
    """The exception that ``state_of`` took apart (the function an unpickler calls)."""
    template = BaseException()
    if "exceptions" in typed or "message" in typed:
        template.__dict__.update(typed)
    error = bare_instance(cls, template)
    fill(error, args, typed, plain)
    return error


def state_of(error: _Exc) -> tuple[type[_Exc], tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    """All of an exception but its traceback and its chain: the arguments of ``rebuild``."""
    args = BaseException.args.__get__(error)  # type: ignore[attr-defined]  # not a subclass's property
    return type(error), args, typed_fields(error), dict(error.__dict__)


class SerializedException(NamedTuple):
    """An exception as bytes, with its text for whoever cannot load the bytes."""

    serialized_exception: bytes
    formatted_exception_string: str
    language: str = "PYTHON"


class RayError(Exception):
    """Root of all errors that the system raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with ``args`` again, which loses what was set later and
        # fails for subclasses whose ``__init__`` takes something else.
        return rebuild, state_of(self)

    def to_bytes(self) -> bytes:
        """The error as bytes for ``from_bytes``."""
        # Imported when needed: it would double the import time of this module.
        import cloudpickle

        text = "".join(traceback.format_exception(type(self), self, self.__traceback__))
        return bytes(cloudpickle.dumps(tuple(SerializedException(cloudpickle.dumps(self), text))))

    @staticmethod
    def from_bytes(b: bytes) -> BaseException:
        """The error that ``to_bytes`` wrote."""
        import pickle

        return RayError.from_ray_exception(SerializedException(*pickle.loads(b)))

    @staticmethod
    def from_ray_exception(ray_exception: Any) -> BaseException:
        """The error in a ``SerializedException``, or one that shows its text if it cannot be loaded."""
        import pickle

        try:
            loaded = pickle.loads(ray_exception.serialized_exception)
        except Exception:  # noqa: BLE001 - loading runs other people's code: anything may come out
            return UnserializableException(ray_exception.formatted_exception_string)
        return loaded if isinstance(loaded, BaseException) else UnserializableException(repr(loaded))


class UserCodeException(RayError):
    """The user's own code failed, as opposed to the library that called it."""


class UnserializableException(RayError):
    """An exception that could not be moved between processes; its text could.

    Parameters
    ----------
    original_stack_trace : str
        Text and traceback of the exception as it was where it happened.
    """

    def __init__(self, original_stack_trace: str) -> None:
        super().__init__(original_stack_trace)
        self._original_stack_trace = original_stack_trace

    def __str__(self) -> str:
        return (
            "This exception could not be sent from one process to another: it, or something it holds, cannot "
            "be pickled. Keep only plain values in its arguments and attributes, or give its class a "
            f"__reduce__ method.\nOriginal exception:\n{self._original_stack_trace}"
        )
