"""Summaries: tasks by function or by who called whom, actors by class, objects by where they came from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


@dataclass(init=True)
class TaskSummaryPerFuncOrClassName:
    """The tasks of one name."""

    func_or_class_name: str
    type: str
    state_counts: dict[str, int] = field(default_factory=dict)


@dataclass
class Link:
    """What a row of a summary leads to: the kind of thing and its id."""

    type: str
    id: str


@dataclass(init=True)
class NestedTaskSummary:
    """A group of tasks, and the tasks they called."""

    name: str
    key: str
    type: str
    timestamp: int | None = None
    state_counts: dict[str, int] = field(default_factory=dict)
    children: list[NestedTaskSummary] = field(default_factory=list)
    link: Link | None = None


@dataclass
class TaskSummaries:
    """All tasks in groups; one row per attempt counts."""

    summary: dict[str, TaskSummaryPerFuncOrClassName] | list[NestedTaskSummary]
    total_tasks: int
    total_actor_tasks: int
    total_actor_scheduled: int
    summary_by: str = "func_name"

    @classmethod
    def to_summary_by_func_name(cls, *, tasks: list[Row]) -> TaskSummaries:
        """Groups by the name of the task.

        Examples
        --------
        >>> from rayjup.util.state.common import TaskSummaries
        >>> task = {"name": "f", "type": "NORMAL_TASK", "state": "FINISHED"}
        >>> TaskSummaries.to_summary_by_func_name(tasks=[task, task]).summary["f"].state_counts
        {'FINISHED': 2}
        """
        groups: dict[str, TaskSummaryPerFuncOrClassName] = {}
        for task in tasks:
            name = task["name"]
            group = groups.setdefault(name, TaskSummaryPerFuncOrClassName(name, task["type"]))
            group.state_counts[task["state"]] = group.state_counts.get(task["state"], 0) + 1
        return cls(groups, *_totals(tasks), "func_name")

    @classmethod
    def to_summary_by_lineage(cls, *, tasks: list[Row], actors: list[Row]) -> TaskSummaries:
        """Groups by caller: tasks of one name with the same caller are one group; methods are below
        their actor."""
        names = {actor["actor_id"]: actor.get("repr_name") or actor["class_name"] for actor in actors}
        by_id = {task["task_id"]: task for task in tasks}
        tops: list[NestedTaskSummary] = []
        places: dict[str, NestedTaskSummary] = {}

        def under(parent: NestedTaskSummary | None) -> list[NestedTaskSummary]:
            return tops if parent is None else parent.children

        def place_of_actor(actor_id: str, seen: frozenset[str]) -> NestedTaskSummary:
            key = f"actor:{actor_id}"
            node = places.get(key)
            if node is None:
                creation = by_id.get("f" * 16 + actor_id)
                parent = place_of_parent(creation, seen) if creation is not None else None
                node = places[key] = NestedTaskSummary(
                    names.get(actor_id, actor_id), key, "ACTOR", link=Link("actor", actor_id)
                )
                under(parent).append(node)
            return node

        def place_of_parent(task: Row, seen: frozenset[str]) -> NestedTaskSummary | None:
            parent = by_id.get(task.get("parent_task_id") or "")
            if parent is None or parent["task_id"] in seen or parent["type"] == "DRIVER_TASK":
                return None
            return place(parent, seen | {parent["task_id"]})

        def place(task: Row, seen: frozenset[str]) -> NestedTaskSummary:
            above: NestedTaskSummary | None
            if task["type"] in ("ACTOR_TASK", "ACTOR_CREATION_TASK") and task.get("actor_id"):
                above = place_of_actor(task["actor_id"], seen)
            else:
                above = place_of_parent(task, seen)
            key = f"{above.key if above is not None else ''}/{task['name']}"
            node = places.get(key)
            if node is None:
                node = places[key] = NestedTaskSummary(task["name"], key, task["type"])
                under(above).append(node)
            return node

        for task in tasks:
            node = place(task, frozenset({task["task_id"]}))
            node.state_counts[task["state"]] = node.state_counts.get(task["state"], 0) + 1
            created = task.get("creation_time_ms")
            if created and (node.timestamp is None or created < node.timestamp):
                node.timestamp = created
            if node.link is None:
                node.link = Link("task", task["task_id"])
        for top in tops:
            _add_up(top)
        tops.sort(key=lambda node: node.timestamp or 0)
        return cls(tops, *_totals(tasks), "lineage")


def _add_up(node: NestedTaskSummary) -> None:
    """Count what is below a group in the group as well."""
    total = Counter(node.state_counts)
    for child in node.children:
        _add_up(child)
        total.update(child.state_counts)
        if child.timestamp and (node.timestamp is None or child.timestamp < node.timestamp):
            node.timestamp = child.timestamp
    node.children.sort(key=lambda child: child.timestamp or 0)
    node.state_counts = dict(total)


def _totals(tasks: list[Row]) -> tuple[int, int, int]:
    kinds = Counter(task["type"] for task in tasks)
    return kinds["NORMAL_TASK"], kinds["ACTOR_TASK"], kinds["ACTOR_CREATION_TASK"]


@dataclass(init=True)
class ActorSummaryPerClass:
    """The actors of one class."""

    class_name: str
    state_counts: dict[str, int] = field(default_factory=dict)


@dataclass
class ActorSummaries:
    """All actors by class."""

    summary: dict[str, ActorSummaryPerClass]
    total_actors: int
    summary_by: str = "class"

    @classmethod
    def to_summary(cls, *, actors: list[Row]) -> ActorSummaries:
        """Groups by class.

        Examples
        --------
        >>> from rayjup.util.state.common import ActorSummaries
        >>> ActorSummaries.to_summary(actors=[{"class_name": "A", "state": "ALIVE"}]).total_actors
        1
        """
        groups: dict[str, ActorSummaryPerClass] = {}
        for actor in actors:
            group = groups.setdefault(actor["class_name"], ActorSummaryPerClass(actor["class_name"]))
            group.state_counts[actor["state"]] = group.state_counts.get(actor["state"], 0) + 1
        return cls(groups, len(actors))


@dataclass(init=True)
class ObjectSummaryPerKey:
    """The references that were made at one place."""

    total_objects: int
    total_size_mb: float
    total_num_workers: int
    total_num_nodes: int
    task_state_counts: dict[str, int] = field(default_factory=dict)
    task_attempt_number_counts: dict[str, int] = field(default_factory=dict)
    ref_type_counts: dict[str, int] = field(default_factory=dict)


@dataclass
class ObjectSummaries:
    """All references by where they were made."""

    summary: dict[str, ObjectSummaryPerKey]
    total_objects: int
    total_size_mb: float
    callsite_enabled: bool
    summary_by: str = "callsite"

    @classmethod
    def to_summary(cls, *, objects: list[Row]) -> ObjectSummaries:
        """Groups by call site.

        Examples
        --------
        >>> from rayjup.util.state.common import ObjectSummaries
        >>> ObjectSummaries.to_summary(objects=[]).total_objects
        0
        """
        by_site: dict[str, list[Row]] = {}
        for row in objects:
            by_site.setdefault(row["call_site"], []).append(row)
        groups = {
            site: ObjectSummaryPerKey(
                total_objects=len(rows),
                total_size_mb=_megabytes(rows),
                total_num_workers=len({(row["ip"], row["pid"]) for row in rows}),
                total_num_nodes=len({row["ip"] for row in rows}),
                task_state_counts=dict(Counter(row["task_status"] for row in rows)),
                task_attempt_number_counts=dict(Counter(str(row["attempt_number"]) for row in rows)),
                ref_type_counts=dict(Counter(row["reference_type"] for row in rows)),
            )
            for site, rows in by_site.items()
        }
        enabled = any(site != "disabled" for site in by_site)
        return cls(groups, len(objects), _megabytes(objects), enabled)


def _megabytes(rows: list[Row]) -> float:
    return sum(max(0, row["object_size"]) for row in rows) / 2**20


@dataclass
class StateSummary:
    """A summary of the whole cluster, under the name ``"cluster"``."""

    node_id_to_summary: dict[str, TaskSummaries | ActorSummaries | ObjectSummaries]
