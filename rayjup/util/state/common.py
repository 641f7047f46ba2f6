"""Rows, options and summaries of the state API (mirrors ``ray.util.state.common``)."""

from __future__ import annotations

import base64
import importlib
import re
from typing import Any

from rayjup.util.state._options import (
    DEFAULT_DOWNLOAD_FILENAME,
    DEFAULT_LIMIT,
    DEFAULT_LOG_LIMIT,
    DEFAULT_RPC_TIMEOUT,
    MAX_LIMIT,
    GetApiOptions,
    GetLogOptions,
    ListApiOptions,
    ListApiResponse,
    SummaryApiOptions,
    SummaryApiResponse,
)
from rayjup.util.state._rows import (
    SCHEMAS,
    ActorState,
    ClusterEventState,
    DriverInfo,
    JobState,
    JobStatus,
    JobType,
    NodeState,
    ObjectState,
    PlacementGroupState,
    RuntimeEnvState,
    StateResource,
    SummaryResource,
    TaskState,
    WorkerState,
)
from rayjup.util.state._schema import Humanify, StateSchema, state_column
from rayjup.util.state._summaries import (
    ActorSummaries,
    ActorSummaryPerClass,
    Link,
    NestedTaskSummary,
    ObjectSummaries,
    ObjectSummaryPerKey,
    StateSummary,
    TaskSummaries,
    TaskSummaryPerFuncOrClassName,
)

RAY_MAX_LIMIT_FROM_API_SERVER = MAX_LIMIT
RAY_MAX_LIMIT_FROM_DATA_SOURCE = MAX_LIMIT

__all__ = [
    "DEFAULT_DOWNLOAD_FILENAME",
    "DEFAULT_LIMIT",
    "DEFAULT_LOG_LIMIT",
    "DEFAULT_RPC_TIMEOUT",
    "RAY_MAX_LIMIT_FROM_API_SERVER",
    "RAY_MAX_LIMIT_FROM_DATA_SOURCE",
    "ActorState",
    "ActorSummaries",
    "ActorSummaryPerClass",
    "ClusterEventState",
    "GetApiOptions",
    "GetLogOptions",
    "Humanify",
    "DriverInfo",
    "JobState",
    "JobStatus",
    "JobType",
    "Link",
    "ListApiOptions",
    "ListApiResponse",
    "NestedTaskSummary",
    "NodeState",
    "ObjectState",
    "ObjectSummaries",
    "ObjectSummaryPerKey",
    "PlacementGroupState",
    "RuntimeEnvState",
    "StateResource",
    "StateSchema",
    "StateSummary",
    "SummaryApiOptions",
    "SummaryApiResponse",
    "SummaryResource",
    "TaskState",
    "TaskSummaries",
    "TaskSummaryPerFuncOrClassName",
    "WorkerState",
    "dict_to_state",
    "filter_fields",
    "protobuf_message_to_dict",
    "protobuf_to_task_state_dict",
    "remove_ansi_escape_codes",
    "resource_to_schema",
    "state_column",
]

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")


def filter_fields(data: dict[str, Any], state_dataclass: type[StateSchema], detail: bool) -> dict[str, Any]:
    """The columns of a row that are wanted; None for those that are missing.

    Examples
    --------
    >>> from rayjup.util.state.common import NodeState, filter_fields
    >>> filter_fields({"node_id": "ab", "start_time_ms": 1}, NodeState, detail=False)["node_id"]
    'ab'
    """
    return {name: data.get(name) for name in state_dataclass.list_columns(detail=detail)}


def resource_to_schema(resource: StateResource) -> type[StateSchema]:
    """The class of the rows of a resource."""
    return SCHEMAS[StateResource(resource)]


def dict_to_state(d: dict[str, Any], state_resource: StateResource) -> StateSchema:
    """A row as an object; columns that are missing are None.

    Examples
    --------
    >>> from rayjup.util.state.common import StateResource, dict_to_state
    >>> dict_to_state({"actor_id": "ab"}, StateResource.ACTORS).actor_id
    'ab'
    """
    schema = resource_to_schema(state_resource)
    return schema(**{name: d.get(name) for name in schema.list_columns()})


def remove_ansi_escape_codes(text: str) -> str:
    """The text without the codes by which terminals are told of colours."""
    return _ESCAPE.sub("", text)


def protobuf_message_to_dict(
    message: Any, fields_to_decode: list[str], preserving_proto_field_name: bool = True
) -> dict[str, Any]:
    """A protobuf message as a dict, its byte fields named in ``fields_to_decode`` in hexadecimal.

    rayjup itself uses no protobuf; the package has to be installed.
    """
    json_format: Any = importlib.import_module("google.protobuf.json_format")
    converted: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=preserving_proto_field_name
    )
    _decode(converted, set(fields_to_decode))
    return converted


def _decode(value: Any, names: set[str]) -> None:
    if isinstance(value, list):
        for item in value:
            _decode(item, names)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in names and isinstance(item, str):
                value[key] = base64.b64decode(item).hex()
            else:
                _decode(item, names)


def protobuf_to_task_state_dict(message: Any) -> dict[str, Any]:
    """Not possible here: tasks are never protobuf messages in rayjup.

    Raises
    ------
    NotImplementedError
        Always; ``list_tasks`` gives rows, ``TaskState.asdict`` dicts.
    """
    raise NotImplementedError(
        "protobuf_to_task_state_dict() takes the TaskEvents of Ray's own control store, which rayjup has "
        "not got: list_tasks(detail=True) gives rows, and row.asdict() the dict."
    )
