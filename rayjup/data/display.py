"""Datasets in a notebook: schema, size, plan and some rows. Runs nothing."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from rayjup.data.block import convert
from rayjup.data.logical import estimate
from rayjup.data.logical.base import describe
from rayjup.data.stats import RunStats

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset

_ROWS, _COLUMNS = 5, 20
_TABLE = "border-collapse:collapse;font-size:12px"
_CELL = "padding:2px 8px;text-align:left;border-bottom:1px solid #ddd"


def table_html(header: list[str], rows: list[list[Any]]) -> str:
    """A small table."""
    head = "".join(f'<th style="{_CELL}">{escape(str(h))}</th>' for h in header)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{escape(_clip(v))}</td>' for v in row) + "</tr>"
        for row in rows
    )
    return f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _clip(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def html(dataset: Dataset) -> str:
    """The dataset as a cell shows it."""
    parts = [f"<b>{escape(type(dataset).__name__)}</b>"]
    schema = dataset._schema or dataset.schema(False)
    facts = []
    if dataset._cache is not None:
        count = len(dataset._cache)
        facts.append(f"{count} block{'s' if count != 1 else ''}")
        facts.append(f"{sum(b.nbytes for b in dataset._cache):,} bytes")
    rows = estimate.row_count(dataset._op) if dataset._cache is not None else None
    if rows is not None:
        facts.insert(0, f"{rows:,} rows")
    parts.append(" · ".join(facts))
    if schema is not None:
        names = list(zip(schema.names, schema.types, strict=True))[:_COLUMNS]
        parts.append(table_html(["column", "type"], [[n, t] for n, t in names]))
    if dataset._cache and dataset._cache[0].is_local:
        table = dataset._cache[0].table().slice(0, _ROWS)
        if table.num_columns:
            shown = table.select(table.column_names[:_COLUMNS])
            parts.append(table_html(shown.column_names, [list(r.values()) for r in convert.iter_rows(shown)]))
    if dataset._cache is None:
        parts.append(f'<pre style="font-size:12px">{escape(describe(dataset._op))}</pre>')
    if dataset._stats is not None and dataset._stats.operators():
        parts.append(stats_html(dataset._stats))
    return "<br>".join(p for p in parts if p)


def stats_html(stats: RunStats) -> str:
    """What a run did: a table, and bars of the operators' time."""
    rows = []
    operators = stats.operators()
    longest = max([sum(c.wall_s) for _, c, _ in operators] + [1e-9])
    for name, c, where in operators:
        bar = round(100 * sum(c.wall_s) / longest)
        rows.append(
            [
                name,
                where,
                c.finished or c.started,
                f"{c.rows:,}",
                f"{c.bytes:,}",
                f"{sum(c.wall_s):.2f} s",
                "▉" * max(1, bar // 10),
            ]
        )
    head = ["operator", "where", "tasks", "rows", "bytes", "time", ""]
    return f"<div>{table_html(head, rows)}<small>{stats.total_s:.2f} s in all</small></div>"
