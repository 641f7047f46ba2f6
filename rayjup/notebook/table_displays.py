"""Tables in a cell: static, or kept up to date and sortable while the kernel lives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rayjup.notebook.displays import LiveDisplay
from rayjup.notebook.feed import FEED
from rayjup.notebook.table import Column, Table, render_table_html, render_table_text, wrap_html

if TYPE_CHECKING:
    from rayjup.notebook.feed import Feed

Source = Callable[[Mapping[str, Any]], Sequence[Table]]


class TableDisplay:
    """A table as it is now: HTML and text."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        html = wrap_html([render_table_html(self.table)])
        return {"text/plain": render_table_text(self.table), "text/html": html}

    def __repr__(self) -> str:
        return render_table_text(self.table)


class LiveTables(LiveDisplay):
    """One or more tables, updated from a function of the cluster's snapshot.

    Parameters
    ----------
    source
        Gives the tables for a snapshot (the dict of `rayjup.observe.ClusterView.snapshot`). It is called
        up to four times a second in a thread of its own, so it has to be quick, and the tables have to
        keep their columns. Which column a table is sorted by is the reader's choice and kept.
    snapshot
        What to begin with.
    """

    def __init__(self, source: Source, snapshot: Mapping[str, Any], feed: Feed = FEED) -> None:
        super().__init__(feed)
        self._source = source
        self._snapshot: Mapping[str, Any] = snapshot
        self._tables: Sequence[Table] = source(snapshot)
        self._order = [(table.sort, table.descending) for table in self._tables]
        self._broken = ""

    def refresh(self, snapshot: Mapping[str, Any]) -> None:
        self._snapshot = snapshot
        try:
            tables = self._source(snapshot)
        except Exception as error:  # noqa: BLE001 - the code of whoever shows the table must not end the feed
            self._broken = f"not updated any more: {type(error).__name__}: {error}"
            return
        self._broken = ""
        for table, (key, descending) in zip(tables, self._order, strict=True):
            table.sort, table.descending = key, descending
        self._tables = tables

    def html(self, *, status: str = "", stamp: bool = False) -> str:
        return self._html_of(status, self._snapshot if stamp else None)

    def text(self, *, status: str = "", stamp: bool = False) -> str:
        note = status or self._broken
        return "\n".join([*([f"({note})"] if note else []), *map(render_table_text, self._tables)])

    def sort_by(self, key: str, table: int = 0) -> None:
        """Sort by the column ``key``; by the same again: the other way round."""
        one = self._tables[table]
        if key not in {column.key for column in one.columns}:
            raise ValueError(
                f"there is no column {key!r}: the table has {', '.join(c.key for c in one.columns)}"
            )
        one.sort_by(key)
        self._order[table] = (one.sort, one.descending)
        self._send_live(self.live_html())

    def controls(self) -> list[Any]:
        """A row of buttons per table that sort it."""
        import ipywidgets

        rows = []
        for index, table in enumerate(self._tables):
            buttons = []
            for column in table.columns:
                button = ipywidgets.Button(
                    description=column.title,
                    tooltip=f"sort by {column.title}",
                    layout=ipywidgets.Layout(width="auto", height="24px", margin="0 2px 0 0"),
                )
                button.on_click(lambda _, key=column.key, index=index: self.sort_by(key, index))
                buttons.append(button)
            label = ipywidgets.HTML(f"<small>sort {table.title or 'the table'} by</small>")
            rows.append(ipywidgets.HBox([label, *buttons]))
        return rows

    def _html_of(self, status: str, stamp_of: Mapping[str, Any] | None) -> str:
        from html import escape

        note = status or self._broken
        parts = [f'<div class="rj-bad">{escape(note)}</div>'] if note else []
        parts += [render_table_html(table) for table in self._tables]
        if more := self._more_html():
            parts.append(more)
        return wrap_html(parts, stamp_of)

    def _more_html(self) -> str:
        """What subclasses show below their tables."""
        return ""


def live_table(
    columns: Sequence[Column],
    rows: Callable[[], Sequence[Mapping[str, Any]]],
    *,
    title: str = "",
    sort: str | None = None,
    descending: bool = False,
) -> LiveTables:
    """A table of whatever ``rows`` returns, kept up to date until the connection ends.

    Parameters
    ----------
    columns : sequence of Column
        Keys of the rows, titles and kinds.
    rows : callable
        Returns the rows (mappings); called about once a second in another thread, so it has to be quick.
    title, sort, descending
        Title, and the key of the column to sort by at first.

    Raises
    ------
    ConnectionError
        When this notebook isn't connected to a cluster.

    Examples
    --------
    >>> trials = []
    >>> live_table([Column("loss", "loss", kind="number")], lambda: trials)  # doctest: +SKIP
    """
    from rayjup.notebook import session

    _, snapshot = session.watched()

    def source(_: Mapping[str, Any]) -> list[Table]:
        return [Table(columns, list(rows()), title=title, sort=sort, descending=descending)]

    return LiveTables(source, snapshot)
