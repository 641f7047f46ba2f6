"""Every error that rayjup raises, in one tree below ``RayError`` (public as ``rayjup.exceptions``).

Names, constructors and parents are those of Ray 2.60, so that ``except`` clauses of Ray programs
work. Where a built-in error says the same (a time-out, memory, a permission), the class also
inherits from that. All of them survive pickling with all their attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rayjup.base._error_root import RayError, SerializedException, UnserializableException, UserCodeException
from rayjup.base.task_error import RayTaskError

PUBLIC_MODULE = "rayjup.exceptions"


class CrossLanguageError(RayError):
    """An exception raised by code in another language.

    Parameters
    ----------
    ray_exception
        Anything with ``language`` and ``formatted_exception_string``, or its text.
    """

    def __init__(self, ray_exception: Any) -> None:
        language = getattr(ray_exception, "language", "another language")
        text = getattr(ray_exception, "formatted_exception_string", ray_exception)
        super().__init__(f"An exception raised from {language}:\n{text}")


class TaskCancelledError(RayError):
    """The task was cancelled with ``rayjup.cancel`` or by an interrupt."""

    def __init__(self, task_id: Any = None, error_message: str | None = None) -> None:
        super().__init__(task_id, error_message)
        self.task_id = task_id
        self.error_message = error_message

    def __str__(self) -> str:
        parts = [f"Task: {self.task_id} was cancelled."] if self.task_id else []
        if self.error_message:
            parts.append(self.error_message)
        return " ".join(parts) or "This task was cancelled."


class LocalRayletDiedError(RayError):
    """The node agent of the machine on which the task ran is gone."""

    def __str__(self) -> str:
        return "The node agent of this task's machine died. Its log is in the session directory."


class WorkerCrashedError(RayError):
    """The process that ran the task ended unexpectedly."""

    def __str__(self) -> str:
        detail = super().__str__()
        return detail or (
            "The worker process died unexpectedly while it ran this task (a crash of native code, a "
            "kill, or the "
            "operating system out of memory). Its log is in the session directory."
        )


class RayActorError(RayError):
    """The actor cannot answer: it has died or cannot be reached.

    Parameters
    ----------
    actor_id : str, optional
        Hexadecimal id of the actor.
    error_msg : str
        What happened.
    actor_init_failed : bool
        It never came to life because ``__init__`` raised.
    preempted : bool
        It died with a node that was taken away.
    """

    BASE_ERROR_MSG = "The actor experienced an error before finishing this task."

    def __init__(
        self,
        actor_id: str | None = None,
        error_msg: str = BASE_ERROR_MSG,
        actor_init_failed: bool = False,
        preempted: bool = False,
    ) -> None:
        super().__init__(actor_id, error_msg, actor_init_failed, preempted)
        self.actor_id = actor_id
        self.error_msg = error_msg
        self._actor_init_failed = actor_init_failed
        self._preempted = preempted

    def __str__(self) -> str:
        return self.error_msg

    @property
    def preempted(self) -> bool:
        return self._preempted

    @property
    def actor_init_failed(self) -> bool:
        return self._actor_init_failed


@dataclass(frozen=True)
class ActorDiedErrorContext:
    """What is known of the death of an actor."""

    error_message: str = ""
    class_name: str = ""
    actor_id: str = ""
    pid: int = 0
    name: str = ""
    ray_namespace: str = ""
    node_ip_address: str = ""
    never_started: bool = False
    preempted: bool = False


class ActorDiedError(RayActorError):
    """The actor is dead and will not come back.

    Parameters
    ----------
    cause : RayTaskError or ActorDiedErrorContext, optional
        The error raised by its ``__init__``, or what is known of its death.
    """

    BASE_ERROR_MSG = "The actor died unexpectedly before finishing this task."

    def __init__(self, cause: RayTaskError | ActorDiedErrorContext | None = None) -> None:
        if isinstance(cause, RayTaskError):
            super().__init__(
                cause._actor_id,
                f"The actor died because of an error raised in its creation task, {cause}",
                actor_init_failed=True,
            )
        elif cause is None:
            super().__init__(error_msg=self.BASE_ERROR_MSG)
        else:
            known = [
                ("class_name", cause.class_name),
                ("actor_id", cause.actor_id),
                ("pid", cause.pid),
                ("name", cause.name),
                ("namespace", cause.ray_namespace),
                ("ip", cause.node_ip_address),
            ]
            lines = [self.BASE_ERROR_MSG, *(f"\t{key}: {value}" for key, value in known if value)]
            if cause.error_message:
                lines.append(cause.error_message)
            if cause.never_started:
                lines.append("The actor never ran - it was cancelled before it started running.")
            if cause.preempted:
                lines.append("The node on which it ran was taken away.")
            super().__init__(cause.actor_id or None, "\n".join(lines), preempted=cause.preempted)
        self.args = (cause,)
        self.cause = cause

    @staticmethod
    def from_task_error(task_error: RayTaskError) -> ActorDiedError:
        """The error of an actor whose ``__init__`` raised ``task_error``."""
        return ActorDiedError(task_error)


class ActorUnavailableError(RayActorError):
    """The actor cannot be reached now; the call may or may not have run. It may come back."""

    def __init__(self, error_message: str, actor_id: bytes | str | None) -> None:
        actor = actor_id.hex() if isinstance(actor_id, bytes) else actor_id
        super().__init__(
            actor,
            f"The actor {actor} is unavailable: {error_message}. "
            "The task may or may not have been executed on the actor.",
        )
        self.args = (error_message, actor_id)


class RaySystemError(RayError):
    """Something inside rayjup failed, not the user's code."""

    def __init__(self, client_exc: Any, traceback_str: str | None = None) -> None:
        super().__init__(client_exc, traceback_str)
        self.client_exc = client_exc
        self.traceback_str = traceback_str

    def __str__(self) -> str:
        text = f"System error: {self.client_exc}"
        return f"{text}\ntraceback: {self.traceback_str}" if self.traceback_str else text


class AuthenticationError(RayError, PermissionError):
    """The cluster did not accept the token or certificate that was shown to it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return (
            f"{self.message.rstrip('.')}. The token and the TLS files of a cluster are named in its "
            f"descriptor, "
            "which only the user who started it can read: connect as that user, or ask for a copy "
            "of the files."
        )


class ObjectStoreFullError(RayError, MemoryError):
    """The object store is full and cannot spill."""

    def __str__(self) -> str:
        return (
            f"{super().__str__()}\nThe local object store is full of objects that are still in "
            f"scope and cannot be "
            "moved to disk. Drop references that are no longer needed, or start the cluster with a larger "
            "`object_store_memory`."
        ).strip()


class OutOfDiskError(RayError, OSError):
    """The object store is full and so is the disk it spills to."""

    def __str__(self) -> str:
        detail = ", ".join(str(arg) for arg in self.args)
        return (
            f"{detail}\nThe object cannot be created because the local object store is full and the "
            f"disk it spills "
            "to has no room left. Free disk space (see `df`), or drop references that are no longer needed."
        ).strip()


class OutOfMemoryError(RayError, MemoryError):
    """The node ran out of memory and the process was ended to save the others."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class NodeDiedError(RayError):
    """The node is gone, or was never there."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class ObjectLostError(RayError):
    """All copies of an object are gone.

    Parameters
    ----------
    object_ref_hex : str
        Hexadecimal id of the object.
    owner_address : bytes, optional
        The process that owns it.
    call_site : str
        Where the reference was created, if that was recorded.
    """

    _EXPLANATION = "All copies of {ref} have been lost because the nodes that held them are gone."
    _text = ""

    def __init__(self, object_ref_hex: str, owner_address: Any, call_site: str) -> None:
        super().__init__(object_ref_hex, owner_address, call_site)
        self.object_ref_hex = object_ref_hex
        self.owner_address = owner_address
        self.call_site = call_site or ""

    @classmethod
    def from_text(cls, text: str, object_ref_hex: str = "") -> ObjectLostError:
        """The error where more is known of the loss than the class says, or less of the object."""
        error = cls(object_ref_hex, None, "")
        error._text = text
        return error

    def _base_str(self) -> str:
        text = f"Failed to retrieve object {self.object_ref_hex}."
        return f"{text} The ObjectRef was created at: {self.call_site}" if self.call_site else text

    def __str__(self) -> str:
        if self._text and not self.object_ref_hex:
            return self._text
        explanation = self._text or self._EXPLANATION.format(ref=self.object_ref_hex)
        return f"{self._base_str()}\n\n{explanation}"


class ObjectFetchTimedOutError(ObjectLostError, TimeoutError):
    """No copy of the object could be fetched in time."""

    _EXPLANATION = "Fetching {ref} timed out: no node that is said to hold a copy delivered it."


class RpcError(RayError):
    """A message between two processes of the cluster failed."""

    def __init__(self, message: str, rpc_code: int | None = None) -> None:
        super().__init__(message, rpc_code)
        self.message = message
        self.rpc_code = rpc_code

    def __str__(self) -> str:
        return self.message


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was deleted while a reference to it was still there: a fault of rayjup."""

    _EXPLANATION = "{ref} was deleted while still referenced. This should not happen: please report it."


class ObjectFreedError(ObjectLostError):
    """The object was freed by hand."""

    _EXPLANATION = "{ref} was freed by hand. Free an object only when nobody needs it any more."


class OwnerDiedError(ObjectLostError):
    """The process that owns the object is gone, and with it what is known of the object."""

    _EXPLANATION = (
        "The owner of {ref} has exited: the process that called `put()` or `.remote()` for it. "
        "Objects that shall "
        "outlive it have to be created by a process that lives longer (the driver, a detached actor)."
    )

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n\nOwner: {self.owner_address}" if self.owner_address else text


class ObjectReconstructionFailedError(ObjectLostError):
    """All copies of the object are gone and it cannot be made again.

    Parameters
    ----------
    reason : str, optional
        A key of ``REASON_MESSAGES``.
    reason_message : str, optional
        The explanation; by default the one of ``reason``.
    """

    REASON_MESSAGES = {
        "OBJECT_UNRECONSTRUCTABLE_MAX_ATTEMPTS_EXCEEDED": "The task that makes it was retried as "
        "often as allowed: "
        "raise `max_retries`.",
        "OBJECT_UNRECONSTRUCTABLE_LINEAGE_EVICTED": "How it was made has been forgotten to save memory.",
        "OBJECT_UNRECONSTRUCTABLE_PUT": "It was created with `put()`, so no task can make it again: "
        "return it from "
        "a task instead.",
        "OBJECT_UNRECONSTRUCTABLE_RETRIES_DISABLED": "The task that makes it has max_retries=0: "
        "allow retries.",
        "OBJECT_UNRECONSTRUCTABLE_BORROWED": "Only its owner can have it made again, and this "
        "process is not it.",
        "OBJECT_UNRECONSTRUCTABLE_REF_NOT_FOUND": "Its owner does not know it. This should not "
        "happen: please "
        "report it.",
        "OBJECT_UNRECONSTRUCTABLE_TASK_CANCELLED": "The task that makes it was cancelled.",
        "OBJECT_UNRECONSTRUCTABLE_LINEAGE_DISABLED": "Making lost objects again is switched off in "
        "this cluster.",
    }

    def __init__(
        self,
        object_ref_hex: str,
        reason: str | None = None,
        reason_message: str | None = None,
        owner_address: Any = None,
        call_site: str = "",
    ) -> None:
        super().__init__(object_ref_hex, owner_address, call_site)
        self.args = (object_ref_hex, reason, reason_message, owner_address, call_site)
        self.reason = reason
        self.reason_message = reason_message or self.REASON_MESSAGES.get(
            reason or "", "The reason is not known."
        )

    def __str__(self) -> str:
        return f"{self._base_str()}\n\n[{self.reason or 'UNKNOWN'}] {self.reason_message}"


class GetTimeoutError(RayError, TimeoutError):
    """``get`` did not have all values within its ``timeout``."""


class PlasmaObjectNotAvailable(RayError):
    """The object was not in the local store within the given time."""


class AsyncioActorExit(RayError):
    """Raised inside an async actor by ``exit_actor()`` to end it; callers never see it."""


class RuntimeEnvSetupError(RayError):
    """The runtime environment could not be built."""

    def __init__(self, error_message: str | None = None) -> None:
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self) -> str:
        return "\n".join(filter(None, ["Failed to set up runtime environment.", self.error_message]))


class TaskPlacementGroupRemoved(RayError):
    """The placement group in which the task was to run was removed."""

    def __str__(self) -> str:
        return "The placement group corresponding to this task has been removed."


class ActorPlacementGroupRemoved(RayError):
    """The placement group in which the actor lived was removed."""

    def __str__(self) -> str:
        return "The placement group corresponding to this Actor has been removed."


class PendingCallsLimitExceeded(RayError):
    """More calls of an actor are waiting than its option ``max_pending_calls`` allows."""


class TaskUnschedulableError(RayError):
    """The task can never run, for example because the node it is bound to is gone."""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self) -> str:
        return f"The task is not schedulable: {self.error_message}"


class ActorUnschedulableError(RayError):
    """The actor can never be placed, for example because the node it is bound to is gone."""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self) -> str:
        return f"The actor is not schedulable: {self.error_message}"


class ObjectRefStreamEndOfStreamError(RayError):
    """A streaming generator has no more values."""


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A retried streaming generator gave another number of values than the first time."""


class OufOfBandObjectRefSerializationException(RayError):
    """An ``ObjectRef`` was pickled outside of a call, where nobody can count it."""


class RayChannelError(RaySystemError):
    """A channel of a compiled graph failed."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel of a compiled graph did not answer in time."""


class RayCgraphCapacityExceeded(RaySystemError):
    """A compiled graph has more executions under way than its buffers hold."""


class RayDirectTransportError(RaySystemError):
    """A direct transfer of a tensor between two devices failed."""


class ActorAlreadyExistsError(ValueError, RayError):
    """There is already an actor of this name in the namespace."""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message


class ActorHandleNotFoundError(ValueError, RayError):
    """The handle belongs to an actor that this cluster does not know, mostly of an earlier session."""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message


__all__ = [
    "ActorAlreadyExistsError",
    "ActorDiedError",
    "ActorDiedErrorContext",
    "ActorHandleNotFoundError",
    "ActorPlacementGroupRemoved",
    "ActorUnavailableError",
    "ActorUnschedulableError",
    "AsyncioActorExit",
    "AuthenticationError",
    "CrossLanguageError",
    "GetTimeoutError",
    "LocalRayletDiedError",
    "NodeDiedError",
    "ObjectFetchTimedOutError",
    "ObjectFreedError",
    "ObjectLostError",
    "ObjectReconstructionFailedError",
    "ObjectRefStreamEndOfStreamError",
    "ObjectStoreFullError",
    "OufOfBandObjectRefSerializationException",
    "OutOfDiskError",
    "OutOfMemoryError",
    "OwnerDiedError",
    "PendingCallsLimitExceeded",
    "PlasmaObjectNotAvailable",
    "RayActorError",
    "RayCgraphCapacityExceeded",
    "RayChannelError",
    "RayChannelTimeoutError",
    "RayDirectTransportError",
    "RayError",
    "RaySystemError",
    "RayTaskError",
    "ReferenceCountingAssertionError",
    "RpcError",
    "RuntimeEnvSetupError",
    "SerializedException",
    "StreamingGeneratorReplayInconsistentError",
    "TaskCancelledError",
    "TaskPlacementGroupRemoved",
    "TaskUnschedulableError",
    "UnserializableException",
    "UserCodeException",
    "WorkerCrashedError",
]

for _name in __all__:
    # Tracebacks and pickles name the public path, which stays when files inside move.
    globals()[_name].__module__ = PUBLIC_MODULE
