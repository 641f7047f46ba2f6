"""``rayjup list``, ``get`` and ``summary``: the state API in a terminal."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from rayjup.cli.output import address_option, echo_record, echo_rows, format_option
from rayjup.util import state

_RESOURCES = {
    "actors": state.list_actors,
    "jobs": state.list_jobs,
    "placement-groups": state.list_placement_groups,
    "nodes": state.list_nodes,
    "workers": state.list_workers,
    "tasks": state.list_tasks,
    "objects": state.list_objects,
    "runtime-envs": state.list_runtime_envs,
    "cluster-events": state.list_cluster_events,
}
_GETTERS = {
    "actors": state.get_actor,
    "placement-groups": state.get_placement_group,
    "nodes": state.get_node,
    "workers": state.get_worker,
    "tasks": state.get_task,
    "objects": state.get_objects,
}
_timeout = click.option(
    "--timeout", type=click.IntRange(1), default=30, show_default=True, help="Seconds to wait for the answer."
)


@click.command("list")
@click.argument("resource", type=click.Choice(list(_RESOURCES)))
@format_option
@click.option("--filter", "filters", multiple=True, help='"key=value" or "key!=value"; repeatable.')
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many."
)
@click.option("--detail", is_flag=True, help="All fields.")
@_timeout
@address_option
def list_(
    resource: str,
    form: str,
    filters: tuple[str, ...],
    limit: int,
    detail: bool,
    timeout: int,
    address: str | None,
) -> None:
    """List what there is of RESOURCE in a cluster."""
    rows = _RESOURCES[resource](
        address=address,
        filters=[parse_filter(text) for text in filters] or None,
        limit=limit,
        timeout=timeout,
        detail=detail,
        raise_on_missing_output=False,
    )
    records = [_record(row) for row in rows]
    if form == "default":
        form = "yaml" if detail else "table"
    echo_rows(records, form, title=f"List of {resource}")


@click.command("get")
@click.argument("resource", type=click.Choice(list(_GETTERS)))
@click.argument("id")
@format_option
@_timeout
@address_option
def get(resource: str, id: str, form: str, timeout: int, address: str | None) -> None:
    """Show everything known about one RESOURCE by its ID."""
    found = _GETTERS[resource](id, address=address, timeout=timeout)
    if not found:
        raise click.ClickException(
            f"there is no {resource[:-1]} with the id {id!r}; see 'rayjup list {resource}'."
        )
    several = found if isinstance(found, list) else [found]
    records = [_record(row) for row in several]
    echo_record(records if len(records) > 1 else records[0], form)


@click.command("summary")
@click.argument("resource", type=click.Choice(["tasks", "actors", "objects"]))
@format_option
@_timeout
@address_option
def summary(resource: str, form: str, timeout: int, address: str | None) -> None:
    """Count tasks, actors or objects by what they are."""
    ask = {
        "tasks": state.summarize_tasks,
        "actors": state.summarize_actors,
        "objects": state.summarize_objects,
    }
    answer = ask[resource](address=address, timeout=timeout, raise_on_missing_output=False)
    if form in ("json", "yaml"):
        echo_record(answer, form)
        return
    rows = []
    for part in answer.values():
        for name, row in part["summary"].items():
            counts = row.get("state_counts") or row.get("task_state_counts") or {}
            rows.append(
                {
                    "name": name,
                    **{key: value for key, value in row.items() if not isinstance(value, (dict, list))},
                    "states": ", ".join(f"{state}: {count}" for state, count in counts.items()),
                }
            )
    echo_rows(rows, "table", title=f"Summary of {resource}")


def parse_filter(text: str) -> tuple[str, str, str]:
    """A filter of the state API from ``key=value`` or ``key!=value``.

    Examples
    --------
    >>> parse_filter("state!=DEAD"), parse_filter("name = f=g")
    (('state', '!=', 'DEAD'), ('name', '=', 'f=g'))
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip("! "):
        raise click.BadParameter(
            f"{text!r} is no filter: write key=value or key!=value", param_hint="--filter"
        )
    predicate = "!=" if key.endswith("!") else "="
    return key.rstrip("!").strip(), predicate, value.strip()


def _record(row: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(row).items() if value is not None}
