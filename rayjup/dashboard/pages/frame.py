"""What all pages share: Panel's server, the template with its navigation, tables, curves, updates."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import panel as pn
from bokeh.models import ColumnDataSource, DataTable, HTMLTemplateFormatter, TableColumn
from bokeh.plotting import figure
from bokeh.server.tornado import BokehTornado
from panel.io.application import build_applications
from tornado.ioloop import IOLoop

from rayjup.base.exceptions import RayError
from rayjup.dashboard.pages.feed import Feed

INTERVAL_MS = 1000
GREY = "#8a8a8a"
COLOURS = ("#4a7fb5", "#c47f2c", "#4d9a6a", "#9a6ab0", "#b3678a", "#5d9b9b")
Update = Callable[[], Awaitable[None]]
Build = Callable[[Feed], tuple[Any, Update]]
"""Makes a page: what is shown, and what brings it up to date."""

_STYLE, _TABLE, CARD, WIDGET = (
    files(__package__).joinpath(f"{name}.css").read_text(encoding="utf-8")
    for name in ("page", "table", "card", "widget")
)
_TEMPLATE = """
{% extends base %}
{% block postamble %}<style>{{ style }}</style>{% endblock %}
{% block contents %}
<header><strong>rayjup</strong><nav aria-label="Pages" style="display:contents">
{% for name in names %}
<a href="./{{ name }}" {% if name == current %}aria-current="page"{% endif %}>{{ name }}</a>
{% endfor %}</nav></header>
<main>{{ embed(roots.page) }}</main>
{% endblock %}
"""


def application(feed: Feed, prefix: str) -> BokehTornado:
    """Panel's server with all pages, as a part of a server of tornado's."""
    from rayjup.dashboard.pages import cluster, runs, work
    from rayjup.dashboard.pages.mount import PAGES

    builders: dict[str, Build] = {**cluster.PAGES, **runs.PAGES, **work.PAGES}
    pn.config.notifications = False
    apps = build_applications(
        {f"/{name}": _served(name, builders[name], feed) for name in PAGES},
        title={f"/{name}": f"{name} · rayjup" for name in PAGES},
    )
    made = BokehTornado(
        apps,
        prefix=prefix,
        # The mount looks at origins, before anything comes here.
        extra_websocket_origins=["*"],
        use_index=False,
        # Neither the token nor cookies belong into a page.
        include_headers=[],
        include_cookies=[],
        unused_session_lifetime_milliseconds=10_000,
    )
    made.initialize(io_loop=IOLoop.current())
    made.start()
    return made


def _served(name: str, build: Build, feed: Feed) -> Callable[[], Any]:
    def page() -> Any:
        from rayjup.dashboard.pages.mount import PAGES

        content, update = build(feed)
        trouble = pn.pane.HTML("", visible=False, stylesheets=[CARD])

        async def turn() -> None:
            try:
                await update()
            except (OSError, RayError) as error:
                trouble.object = f'<p class="bad">The cluster does not answer: {html.escape(str(error))}</p>'
                trouble.visible = True
            else:
                trouble.visible = False

        template = pn.Template(_TEMPLATE)
        template.add_panel("page", pn.Column(trouble, content, sizing_mode="stretch_width"))
        template.add_variable("style", _STYLE)
        template.add_variable("names", list(PAGES))
        template.add_variable("current", name)
        # Bokeh's own callbacks hold the document's lock while they wait; those of Panel do not.
        document = pn.state.curdoc
        document.add_next_tick_callback(turn)
        document.add_periodic_callback(turn, INTERVAL_MS)
        return template

    return page


# ---------------------------------------------------------------- parts of pages


class Table:
    """Rows that change, of any length: only those in view are drawn.

    Parameters
    ----------
    columns
        Title and width by key of a row.
    key
        Column by which a row stays selected.
    """

    def __init__(self, columns: Mapping[str, tuple[str, int]], key: str = "key", height: int = 420) -> None:
        self._names = list(dict.fromkeys([*columns, key]))
        self._key = key
        self.source = ColumnDataSource({name: [] for name in self._names})
        plain = HTMLTemplateFormatter(template="<span title='<%- value %>'><%- value %></span>")
        self.model = DataTable(
            source=self.source,
            columns=[
                TableColumn(field=name, title=title, width=width, formatter=plain)
                for name, (title, width) in columns.items()
            ],
            height=height,
            sizing_mode="stretch_width",
            index_position=None,
            stylesheets=[_TABLE],
        )

    @property
    def selected(self) -> Any:
        """The key of the selected row; None when none is."""
        chosen = self.source.selected.indices
        return self.source.data[self._key][chosen[0]] if chosen else None

    def show(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Show other rows, if they are others."""
        data = {name: [row.get(name) for row in rows] for name in self._names}
        if data == self.source.data:
            return
        chosen = self.selected
        self.source.data = data
        keys = data[self._key]
        self.source.selected.indices = [keys.index(chosen)] if chosen in keys else []


def plot(title: str, height: int = 220, **options: Any) -> Any:
    """An empty drawing that fits light and dark pages."""
    made = figure(
        title=title,
        height=height,
        sizing_mode="stretch_width",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
        tools=options.pop("tools", "hover,xpan,xwheel_zoom,reset"),
        **options,
    )
    made.title.text_color = GREY
    made.grid.grid_line_color = GREY
    made.grid.grid_line_alpha = 0.2
    for axis in made.axis:
        axis.axis_line_color = GREY
        axis.major_tick_line_color = GREY
        axis.minor_tick_line_color = None
        axis.major_label_text_color = GREY
        axis.axis_label_text_color = GREY
    made.toolbar.logo = None
    return made


def text(content: str = "") -> Any:
    """A piece of HTML in the style of the pages."""
    return pn.pane.HTML(content, stylesheets=[CARD], sizing_mode="stretch_width")


def tiles(values: Mapping[str, Any]) -> str:
    """Numbers with their names."""
    cells = "".join(
        f'<div class="tile"><b>{html.escape(str(value))}</b><span>{html.escape(name)}</span></div>'
        for name, value in values.items()
    )
    return f'<div class="tiles">{cells}</div>'


def rows(head: Sequence[str], body: Sequence[Sequence[Any]]) -> str:
    """A small table of plain values."""

    def cell(value: Any) -> str:
        if isinstance(value, Markup):
            return f"<td>{value}</td>"
        kind = ' class="n"' if isinstance(value, (int, float)) else ""
        return f"<td{kind}>{html.escape(str(value))}</td>"

    heads = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(cell(value) for value in row)}</tr>" for row in body)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"


class Markup(str):
    """HTML that was made here, of escaped parts."""


def bar(share: float) -> Markup:
    """How full something is."""
    return Markup(f'<span class="bar"><i style="width:{100 * min(1.0, max(0.0, share)):.0f}%"></i></span>')


def number(value: Any) -> str:
    """A number as people read it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "–" if value is None else str(value)
    return f"{value:.4g}"


def size(value: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(value) < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} TB"


def span(seconds: float) -> str:
    """A duration as people read it."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
