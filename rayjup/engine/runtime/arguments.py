"""Call arguments on their way to an executor.

Wire form of a payload: a tuple of plain scalars (the common case), or a list ``[status, data,
refs, dependencies]``: ``data`` is ``(args, kwargs)`` plain, pickled, or a segment's descriptor;
``refs`` the wire forms of nested refs; ``dependencies`` the values of refs that were arguments
themselves, as ``(position or name, status, value)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayjup.base.exceptions import ObjectLostError
from rayjup.base.serialization import PLAIN_TYPES, is_plain, pack, unpack
from rayjup.engine.lane import messages as m
from rayjup.engine.ownership.object_ref import PENDING, ObjectRef

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime

_SHORT = PLAIN_TYPES - {str, bytes}


class Arguments:
    """Arguments that are not all plain: holds alive what the call needs until it is answered."""

    __slots__ = ("data", "dependencies", "refs", "segment", "sent", "status")

    def __init__(
        self,
        status: int,
        data: Any,
        refs: list[ObjectRef],
        dependencies: list[tuple[int | str, ObjectRef]],
        segment: Any,
    ) -> None:
        self.status = status
        self.data = data
        self.refs = refs
        self.dependencies = dependencies
        self.segment = segment
        self.sent = 0  # to how many executors that may still see the segment

    def unresolved(self) -> list[ObjectRef]:
        """The dependencies whose value is not known yet."""
        return [ref for _, ref in self.dependencies if ref._kind == PENDING]

    def failed(self) -> Any:
        """The error of the first dependency that has one, else None."""
        for _, ref in self.dependencies:
            if ref._kind == m.ERROR:
                return ref._data
        return None

    def wire(self, runtime: Runtime) -> list[Any]:
        """The payload as it is sent; all dependencies are resolved."""
        wire = runtime.exports.wire
        if self.segment is not None:
            self.sent += 1
            self.segment.shared = True
        return [
            self.status,
            self.data,
            [wire(ref) for ref in self.refs],
            [(key, *runtime.encode_value(ref)) for key, ref in self.dependencies],
        ]

    def unseen(self) -> None:
        """An executor has answered, and sees the segment no more: its pages can be used again."""
        self.sent -= 1
        if self.segment is not None:
            self.segment.shared = self.sent != 0


def encode(
    runtime: Runtime, args: tuple[Any, ...], kwargs: dict[str, Any], what: str
) -> tuple[Any, ...] | Arguments:
    """Arguments of a call to ``what``, in the form in which a submitter keeps them."""
    if not kwargs:
        for arg in args:
            if type(arg) not in _SHORT and not is_plain(arg):
                break
        else:
            return args
    dependencies: list[tuple[int | str, ObjectRef]] = []
    plain = True
    for index, arg in enumerate(args):
        if type(arg) is ObjectRef:
            dependencies.append((index, arg))
        elif plain:
            plain = is_plain(arg)
    for key, arg in kwargs.items():
        if type(arg) is ObjectRef:
            dependencies.append((key, arg))
        elif plain:
            plain = is_plain(arg)
    if dependencies:
        args = tuple(None if type(a) is ObjectRef else a for a in args)
        kwargs = {k: None if type(a) is ObjectRef else a for k, a in kwargs.items()}
    if plain:
        return Arguments(m.PLAIN, (args, kwargs), [], dependencies, None)
    try:
        packed = pack((args, kwargs))
    except Exception as error:
        raise runtime.explain_unserializable(error, what, args, kwargs) from error
    if packed.size > m.INLINE_LIMIT:
        segment = runtime.store.write(packed)
        return Arguments(m.SHM, segment.descriptor, packed.refs, dependencies, segment)
    if packed.buffers:
        data: Any = (packed.data, [bytes(b) for b in packed.buffers])
    else:
        data = packed.data
    return Arguments(m.BLOB, data, packed.refs, dependencies, None)


def wire_for_creation(arguments: tuple[Any, ...] | Arguments, runtime: Runtime) -> Any:
    """The payload of a constructor: it may be used again later, and so says whose the dependencies are."""
    if isinstance(arguments, tuple):
        return arguments
    origins = [(key, runtime.exports.wire(ref)) for key, ref in arguments.dependencies]
    return [*arguments.wire(runtime), origins]


def decode_for_creation(runtime: Runtime, payload: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a constructor; those that were lost meanwhile are asked for anew."""
    if type(payload) is tuple:
        return payload, {}
    *call, origins = payload
    try:
        return decode(runtime, call, [])
    except DependencyLost:
        args, kwargs = decode(runtime, [*call[:3], []], [])
    values = list(args)
    for key, (id, owner, _) in origins:
        value = runtime.get(runtime.exports.adopt(id, owner))
        if type(key) is int:
            values[key] = value
        else:
            kwargs[key] = value
    return tuple(values), kwargs


class DependencyLost(ObjectLostError):
    """An argument's segment is gone: the submitter makes the call again when the value is there again."""

    path = ""  # of the segment

    @classmethod
    def of(cls, path: str, text: str) -> DependencyLost:
        """The error for an argument in the segment ``path``."""
        error: DependencyLost = cls.from_text(text)  # type: ignore[assignment]  # it is of this class
        error.path = path
        return error


def decode(runtime: Runtime, payload: Any, fresh: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a received call; ``fresh`` collects borrowed refs to be registered."""
    if type(payload) is tuple:
        return payload, {}
    status, data, wires, dependencies = payload
    refs = runtime.exports.adopt_all(wires, fresh) if wires else ()
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    if status == m.PLAIN:
        args, kwargs = data
    elif status == m.SHM:
        head, buffers = runtime.store.buffers(data)
        args, kwargs = unpack(head, buffers, refs)
    elif type(data) is bytes:
        args, kwargs = unpack(data, (), refs)
    else:
        args, kwargs = unpack(data[0], data[1], refs)
    if dependencies:
        if runtime.hosts.gate is not None and len(dependencies) > 1:
            runtime.pulls.ahead(value[0] for _, status, value in dependencies if status == m.SHM)
        values = list(args)
        for key, status, value in dependencies:
            resolved = runtime.decode_value(status, value, fresh)
            if type(key) is int:
                values[key] = resolved
            else:
                kwargs[key] = resolved
        args = tuple(values)
    return args, kwargs
