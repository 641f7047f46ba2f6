"""Turning values into bytes and back, with object references and large buffers kept apart.

A value becomes a :class:`Packed`: pickled bytes, the large buffers inside it (numpy, arrow,
torch: protocol 5, not copied) and the object references found on the way. Functions and
classes of ``__main__`` are pickled by value (cloudpickle).
"""

from __future__ import annotations

import io
import pickle
import sys
import threading
from collections import ChainMap
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle

from rayjup.base import tensors

PLAIN_TYPES = frozenset({int, float, str, bytes, bool, type(None)})
"""Immutable scalars that travel inside a message as they are."""

_PLAIN_MAX = 16 * 1024
_BUFFER_MIN = 1  # empty buffers stay inside the pickle; all others are read-only views


class _Local(threading.local):
    found: list[Any] | None = None  # refs found while pickling
    inner: Sequence[Any] | None = None  # refs of the value being unpickled
    kept: Sequence[Any] | None = None  # what of it stayed in the process that packed it


local = _Local()
"""Per-thread context through which references inside a value are found and restored."""

learns = False
"""Whether this process takes over the serializers of those who send it values: executors do."""

_custom: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {}


class Packed:
    """A serialized value: ``data`` (pickle), ``buffers`` (out of band), ``refs`` (inside it).

    ``writable``: its readers may write to the buffers, each to a copy of its own. ``kept``: what of the
    value stays in this process, see :func:`pack`.
    """

    __slots__ = ("buffers", "data", "kept", "refs", "writable")

    def __init__(self, data: bytes, buffers: list[memoryview], refs: list[Any]) -> None:
        self.data = data
        self.buffers = buffers
        self.refs = refs
        self.writable = False
        self.kept: list[Any] = []

    @property
    def size(self) -> int:
        """Bytes in all, without alignment."""
        return len(self.data) + sum(b.nbytes for b in self.buffers)


class _Values(cloudpickle.Pickler):
    dispatch_table: ChainMap[type, Any] = ChainMap({}, *cloudpickle.Pickler.dispatch_table.maps)
    knows_torch = False


class _Pickler(_Values):
    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind in _custom:
            serializer, deserializer = _custom[kind]
            return _restored, (kind, serializer, deserializer, serializer(obj))
        return super().reducer_override(obj)


def _restored(
    kind: type, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any], state: Any
) -> Any:
    _learn([(kind, serializer, deserializer)])
    return deserializer(state)


class _Code:
    """Pickles to a function or class, after which its reader knows the registered serializers."""

    def __init__(self, code: Any) -> None:
        self.code = code

    def __reduce__(self) -> Any:
        return _code, ([(kind, *pair) for kind, pair in _custom.items()], self.code)


def _code(entries: list[tuple[Any, Any, Any]], code: Any) -> Any:
    _learn(entries)
    return code


def _learn(entries: list[tuple[Any, Any, Any]]) -> None:
    if learns:
        for kind, serializer, deserializer in entries:
            _custom[kind] = (serializer, deserializer)


def is_plain(value: Any) -> bool:
    """Whether ``value`` may travel as it is: an immutable scalar of moderate size."""
    kind = type(value)
    return kind in PLAIN_TYPES and ((kind is not str and kind is not bytes) or len(value) <= _PLAIN_MAX)


def pack_tensors_apart(value: Any, transport: str) -> Packed:
    """As :func:`pack`; the memory of tensors stays where it is (``kept``).

    Who unpacks the value is to give :func:`unpack` one more ref than there are in it, at the end: the one
    from which :data:`kept_by` gets that memory.
    """
    outer = tensors.local.transport
    tensors.local.transport = transport
    tensors.local.kept = []
    try:
        packed = pack(value)
        packed.kept = tensors.local.kept
        return packed
    finally:
        tensors.local.transport = outer
        tensors.local.kept = []


def pack(value: Any) -> Packed:
    """Serialize ``value``. Raises whatever pickling raises (``TypeError``, ``PicklingError``)."""
    if "torch" in sys.modules:
        if not _Values.knows_torch:
            _Values.knows_torch = tensors.register(_Values.dispatch_table, kept_at)
        tensors.local.found = False
    outer = local.found
    refs: list[Any] = []
    local.found = refs
    buffers: list[memoryview] = []

    def keep_apart(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _BUFFER_MIN:
            return True
        buffers.append(raw)
        return False

    try:
        file = io.BytesIO()
        if not _custom:
            _Values(file, protocol=5, buffer_callback=keep_apart).dump(value)
        else:
            sent = _Code(value) if callable(value) else value
            _Pickler(file, protocol=5, buffer_callback=keep_apart).dump(sent)
        packed = Packed(file.getvalue(), buffers, refs)
        packed.writable = _Values.knows_torch and tensors.local.found
        return packed
    finally:
        local.found = outer


def unpack(data: Any, buffers: Sequence[Any] = (), refs: Sequence[Any] = ()) -> Any:
    """The value again; buffers are used in place, ``refs`` take the places they were found in."""
    if not refs:
        return pickle.loads(data, buffers=buffers)
    outer = local.inner
    local.inner = refs
    kept, local.kept = local.kept, None
    try:
        return pickle.loads(data, buffers=buffers)
    finally:
        local.inner = outer
        local.kept = kept


kept_by: Callable[[Any], Sequence[Any]] | None = None
"""What of a value stayed in the process that packed it, given the last of its refs."""


def kept_at(index: int) -> Any:
    """Unpickling hook: the ``index``-th part that stayed in the process which packed the value."""
    kept = local.kept
    if kept is None:
        if kept_by is None or not local.inner:
            raise pickle.UnpicklingError(
                "tensors that stay with their process can only be restored by rayjup"
            )
        kept = local.kept = kept_by(local.inner[-1])
    return kept[index]


def ref_at(index: int) -> Any:
    """Unpickling hook: the ``index``-th reference of the value being unpickled."""
    inner = local.inner
    if inner is None:
        raise pickle.UnpicklingError(
            "an ObjectRef pickled as part of a rayjup value can only be restored by rayjup; "
            "pickle the ref itself, or pass it to a task or actor"
        )
    return inner[index]


def register_serializer(
    kind: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    """Pickle instances of exactly ``kind`` through ``serializer`` and ``deserializer``.

    Executors learn of it with the functions, classes and values that are sent to them.
    """
    _custom[kind] = (serializer, deserializer)


def deregister_serializer(kind: type) -> None:
    """Undo :func:`register_serializer`; nothing happens when there was none."""
    _custom.pop(kind, None)
