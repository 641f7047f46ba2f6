"""A table as data, and that table in a cell: sortable, live, and readable without a kernel.

`Table` is what libraries fill (trials, deployments, processes): columns that know their kind, rows that
are mappings. `render_table_html` and `render_table_text` are pure functions of it. `TableDisplay`
shows one or more tables in a cell and keeps them up to date from a function of the cluster's snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from rayjup.notebook.render import STYLE, bar_html, bytes_text, clip, clock, number_text

Row = Mapping[str, Any]

MAX_ROWS = 20
KINDS = ("text", "state", "number", "bytes", "percent", "seconds", "spark")
_BLOCKS = "▁▂▃▄▅▆▇█"
_BAD_STATES = {"dead", "failed", "error", "errored", "unhealthy", "gone"}
_SPARK_POINTS = 40


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the key of its values in the rows, its title, and how values are shown.

    ``kind``: one of ``KINDS``. Values of a ``spark`` column are sequences of numbers, drawn as a line.
    ``width``: share of the table's width, relative to the other columns' (1 each where not given).
    """

    key: str
    title: str
    kind: str = "text"
    width: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"column {self.key!r}: there is no kind {self.kind!r}; choose one of {', '.join(KINDS)}"
            )

    @property
    def share(self) -> float:
        """The width, with its default."""
        return self.width or (2.0 if self.kind == "text" else 1.0)

    @property
    def left(self) -> bool:
        """True where values begin at the left edge."""
        return self.kind in ("text", "state", "spark")


@dataclass(slots=True)
class Table:
    """Columns and rows; ``sort`` is the key of the column they are ordered by.

    Examples
    --------
    >>> table = Table([Column("name", "trial"), Column("loss", "loss", kind="number")])
    >>> table.rows = [{"name": "a", "loss": 0.5}, {"name": "b", "loss": 0.25}]
    >>> table.sort = "loss"
    >>> [row["name"] for row in table.ordered()]
    ['b', 'a']
    """

    columns: Sequence[Column]
    rows: Sequence[Row] = field(default_factory=list)
    title: str = ""
    empty: str = "Nothing yet."
    sort: str | None = None
    descending: bool = False

    def ordered(self) -> Sequence[Row]:
        """The rows in their order; rows without a value come last."""
        key = self.sort
        if key is None:
            return self.rows
        if key not in {column.key for column in self.columns}:
            raise ValueError(
                f"the table {self.title or 'of this display'!r} has no column {key!r} to sort by: it has "
                f"{', '.join(column.key for column in self.columns)}"
            )
        valued = [row for row in self.rows if row.get(key) is not None]
        others = [row for row in self.rows if row.get(key) is None]
        return sorted(valued, key=lambda row: _sort_key(row[key]), reverse=self.descending) + others

    def sort_by(self, key: str) -> None:
        """Sort by ``key``; by the same key again: the other way round."""
        self.descending = not self.descending if self.sort == key else False
        self.sort = key


def _sort_key(value: Any) -> tuple[int, float, str]:
    if isinstance(value, (list, tuple)):
        value = value[-1] if value else 0
    if isinstance(value, (int, float)):
        return 0, float(value), ""
    return 1, 0.0, str(value)


def render_table_html(table: Table, *, heads: bool = True, max_rows: int = MAX_ROWS) -> str:
    """One table as HTML, without the style sheet; ``heads``: with its row of titles."""
    title = f'<div class="rj-soft">{escape(table.title)}</div>' if table.title else ""
    if not table.rows:
        return f'{title}<div class="rj-soft">{escape(table.empty)}</div>'
    shown = table.ordered()[:max_rows]
    whole = sum(column.share for column in table.columns)
    groups = "".join(f'<col style="width:{100 * c.share / whole:.1f}%">' for c in table.columns)
    head = ""
    if heads:
        cells = "".join(
            f"<th{_side(column)}>{escape(column.title)}{_arrow(table, column)}</th>"
            for column in table.columns
        )
        head = f"<thead><tr>{cells}</tr></thead>"
    body = "".join(
        "<tr>" + "".join(_cell_html(column, row.get(column.key)) for column in table.columns) + "</tr>"
        for row in shown
    )
    more = len(table.rows) - len(shown)
    rest = f'<div class="rj-soft">… and {more:,} more</div>' if more else ""
    inside = f"<colgroup>{groups}</colgroup>{head}<tbody>{body}</tbody>"
    return f'{title}<table class="rj-table">{inside}</table>{rest}'


def render_table_text(table: Table, *, max_rows: int = MAX_ROWS) -> str:
    """One table as text with aligned columns."""
    lines = [table.title] if table.title else []
    if not table.rows:
        return "\n".join([*lines, table.empty])
    shown = table.ordered()[:max_rows]
    rows = [[column.title for column in table.columns]]
    rows += [[clip(_text(column, row.get(column.key))) for column in table.columns] for row in shown]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    for row in rows:
        cells = [
            cell.ljust(width) if column.left else cell.rjust(width)
            for cell, width, column in zip(row, widths, table.columns, strict=True)
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    more = len(table.rows) - len(shown)
    return "\n".join([*lines, *([f"  … and {more:,} more"] if more else [])])


def wrap_html(parts: Iterable[str], stamp_of: Row | None = None) -> str:
    """Parts in the frame all displays share; with the time of the snapshot ``stamp_of``."""
    stamp = f'<div class="rj-soft">Snapshot of {clock(stamp_of)}</div>' if stamp_of else ""
    return f'{STYLE}<div class="rayjup-cluster">{"".join(parts)}{stamp}</div>'


def sparkline_svg(values: Sequence[float | None], width: int = 90, height: int = 16) -> str:
    """A line through the last values; gaps where a value is None."""
    points = list(values)[-_SPARK_POINTS:]
    known = [float(v) for v in points if v is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    scale = (height - 3) / (high - low) if high > low else 0.0
    step = width / max(1, len(points) - 1)
    runs: list[list[str]] = [[]]
    for index, value in enumerate(points):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{index * step:.1f},{height - 1.5 - (float(value) - low) * scale:.1f}")
    lines = "".join(f'<polyline points="{" ".join(run)}"/>' for run in runs if run)
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="from {low:.4g} to {high:.4g}" fill="none" stroke="currentColor" stroke-width="1.2" '
        f'style="vertical-align:middle">{lines}</svg>'
    )


def sparkline_text(values: Sequence[float | None]) -> str:
    """The last values as blocks of eight heights."""
    points = list(values)[-20:]
    known = [float(v) for v in points if v is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if v is None else _BLOCKS[int((float(v) - low) * scale)] for v in points)


def _cell_html(column: Column, value: Any) -> str:
    if column.kind == "spark":
        return f"<td{_side(column)}>{sparkline_svg(value or [])}</td>"
    text = escape(_text(column, value))
    if column.kind == "percent" and value is not None:
        return f"<td>{bar_html(text, float(value) / 100)}</td>"
    bad = ' rj-bad"' if column.kind == "state" and str(value).lower() in _BAD_STATES else '"'
    side = f' class="{"rj-left" if column.left else ""}{bad}'
    return f'<td{side} title="{text}">{text}</td>'


def _side(column: Column) -> str:
    return ' class="rj-left"' if column.left else ""


def _arrow(table: Table, column: Column) -> str:
    return "" if table.sort != column.key else " ▾" if table.descending else " ▴"


def _text(column: Column, value: Any) -> str:
    if value is None:
        return ""
    return _FORMATS[column.kind](value)


_FORMATS: dict[str, Callable[[Any], str]] = {
    "text": str,
    "state": lambda value: str(value).lower().replace("_", " "),
    "number": lambda value: f"{value:,}" if isinstance(value, int) else number_text(value),
    "bytes": bytes_text,
    "percent": lambda value: f"{value:.0f} %",
    "seconds": lambda value: f"{value:.2f} s" if value < 100 else f"{value / 60:.1f} min",
    "spark": sparkline_text,
}
