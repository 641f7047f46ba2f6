"""Rows and records for the terminal: table, JSON or YAML."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

FORMATS = ("default", "table", "json", "yaml")
_WIDEST = 40

format_option = click.option(
    "--format", "form", type=click.Choice(FORMATS), default="default", show_default=True, help="How to print."
)
address_option = click.option(
    "--address",
    default=None,
    help="Name, id or address of the cluster; by default RAY_ADDRESS or the only one that runs.",
)


def echo_rows(rows: Sequence[Mapping[str, Any]], form: str, *, title: str) -> None:
    """Print rows; ``title`` is what they are, for tables."""
    if form in ("json", "yaml"):
        _echo_data([dict(row) for row in rows], form)
        return
    stamp = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
    click.echo(f"\n======== {title}: {stamp} ========\nTotal: {len(rows)}")
    if rows:
        click.echo()
        click.echo(table(rows))


def echo_record(record: Any, form: str) -> None:
    """Print one record, or several that a name stands for."""
    _echo_data(record, "json" if form == "json" else "yaml")


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows under the names of their fields; what is too long for its column is cut.

    Examples
    --------
    >>> print(table([{"name": "a", "count": 1}, {"name": "bcd", "count": 20}]))
    NAME  COUNT
    a         1
    bcd      20
    """
    rows = list(rows)
    names = list(rows[0])
    cells = [[_cell(row.get(name), name) for name in names] for row in rows]
    heads = [name.upper() for name in names]
    widths = [max(len(line[i]) for line in [heads, *cells]) for i in range(len(names))]
    numbers = [all(isinstance(row.get(name), (int, float)) for row in rows) for name in names]
    lines = [heads, *cells]
    return "\n".join(
        "  ".join(
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, numbers, strict=True)
        ).rstrip()
        for line in lines
    )


def _cell(value: Any, name: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        value = ", ".join(f"{key}: {each}" for key, each in value.items())
    text = f"{value:g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    if name.endswith("_id"):
        return text  # to be copied
    widest = max(_WIDEST, shutil.get_terminal_size((120, 24)).columns // 3)
    return text if len(text) <= widest else text[: widest - 1] + "…"


def _echo_data(data: Any, form: str) -> None:
    if form == "json":
        click.echo(json.dumps(data, indent=2, default=str))
        return
    import yaml  # comes with Dask

    plain = json.loads(json.dumps(data, default=str))
    click.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip())
