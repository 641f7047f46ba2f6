"""Ray's names for the kinds of errors with which calls end, and their texts."""

from __future__ import annotations

from rayjup.base import exceptions

_TEXT_LIMIT = 4000

_KINDS: tuple[tuple[str, str], ...] = (  # the more special class first
    ("TaskCancelledError", "TASK_CANCELLED"),
    ("RayTaskError", "TASK_EXECUTION_EXCEPTION"),
    ("TaskPlacementGroupRemoved", "TASK_PLACEMENT_GROUP_REMOVED"),
    ("ActorPlacementGroupRemoved", "ACTOR_PLACEMENT_GROUP_REMOVED"),
    ("TaskUnschedulableError", "TASK_UNSCHEDULABLE_ERROR"),
    ("ActorUnschedulableError", "ACTOR_UNSCHEDULABLE_ERROR"),
    ("RuntimeEnvSetupError", "RUNTIME_ENV_SETUP_FAILED"),
    ("ActorUnavailableError", "ACTOR_UNAVAILABLE"),
    ("ActorDiedError", "ACTOR_DIED"),
    ("RayActorError", "ACTOR_DIED"),
    ("OutOfMemoryError", "OUT_OF_MEMORY"),
    ("NodeDiedError", "NODE_DIED"),
    ("WorkerCrashedError", "WORKER_DIED"),
    ("OwnerDiedError", "OWNER_DIED"),
    ("ObjectLostError", "OBJECT_LOST"),
    ("OutOfDiskError", "OUT_OF_DISK_ERROR"),
    ("LocalRayletDiedError", "LOCAL_RAYLET_DIED"),
)


def kind_of(error: BaseException) -> str:
    """The kind of an error, as ``error_type`` of a task's row has it."""
    for name, kind in _KINDS:
        class_ = getattr(exceptions, name, None)
        if class_ is not None and isinstance(error, class_):
            return kind
    return "TASK_EXECUTION_EXCEPTION"


def text_of(error: BaseException) -> str:
    """What is shown of an error, not too long."""
    text = str(error) or type(error).__name__
    return text if len(text) <= _TEXT_LIMIT else text[: _TEXT_LIMIT - 1] + "…"
