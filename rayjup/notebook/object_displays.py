"""Refs, actors, placement groups and connections as a cell shows them.

``%load_ext rayjup`` registers these with IPython's formatters: the core knows nothing of notebooks, and none
of its modules is imported for that. A display refers to what it shows weakly or by its id, so it keeps
nothing alive.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from rayjup.notebook.displays import ClusterDisplay, LiveDisplay
from rayjup.notebook.feed import FEED
from rayjup.notebook.render import bytes_text, clip
from rayjup.notebook.table import Column, Table, render_table_html, render_table_text, wrap_html

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

Fact = tuple[str, str]


class FactsDisplay(LiveDisplay):
    """A title, a state, and facts behind it in one line; subclasses say which."""

    max_live = 100

    def __init__(self, snapshot: Mapping[str, Any]) -> None:
        super().__init__(FEED)
        self._snapshot = snapshot
        self._told = self.told()

    def told(self) -> tuple[str, str, list[Fact]]:
        """Title, state, and (name, value) pairs."""
        raise NotImplementedError

    def refresh(self, snapshot: Mapping[str, Any]) -> None:
        self._snapshot = snapshot
        self._told = self.told()

    def html(self, *, status: str = "", stamp: bool = False) -> str:
        title, state, facts = self._told
        bad = "rj-bad" if state in ("failed", "dead", "removed", "infeasible") else "rj-soft"
        parts = [f'<b>{escape(title)}</b> <span class="{bad}">{escape(state)}</span>']
        parts += [
            f'<span class="rj-soft">{escape(name)}</span> <span title="{escape(value)}">'
            f"{escape(clip(value, 80))}</span>"
            for name, value in facts
        ]
        line = f'<div style="overflow-wrap:anywhere">{" · ".join(parts)}</div>'
        # Without a cluster's snapshot (not connected, or gone) there is no time to tell.
        return wrap_html([line], self._snapshot if stamp and self._snapshot.get("time") else None)

    def text(self, *, status: str = "", stamp: bool = False) -> str:
        title, state, facts = self._told
        return ", ".join([f"{title}: {state}", *(f"{name} {value}" for name, value in facts)])


class RefDisplay(FactsDisplay):
    """An ObjectRef: state, size, where it is, and which task makes it."""

    def __init__(self, ref: Any, snapshot: Mapping[str, Any]) -> None:
        self._ref = weakref.ref(ref)
        self._task = ""
        self._last: tuple[str, str, list[Fact]] | None = None
        super().__init__(snapshot)

    def told(self) -> tuple[str, str, list[Fact]]:
        from rayjup.notebook.refs import facts

        ref = self._ref()
        if ref is None:
            assert self._last is not None
            return (self._last[0], "released", self._last[2])
        known = facts(ref)
        rows: list[Fact] = []
        self._task = known.task or self._task  # a ref forgets its task when that has ended
        if self._task:
            rows.append(("of", self._task))
        if known.kind:
            rows.append(("type", known.kind))
        if known.size is not None:
            rows.append(("size", bytes_text(known.size)))
        rows.append(("in" if known.state == "ready" else "owner", known.where))
        if known.error:
            rows.append(("error", known.error))
        self._last = (f"ObjectRef {known.id[:12]}…", known.state, rows)
        return self._last


class ActorDisplay(FactsDisplay):
    """An ActorHandle: state, node, process and pending calls."""

    def __init__(self, handle: Any, snapshot: Mapping[str, Any]) -> None:
        self._actor_id = handle._id.hex()
        self._class_name = str(handle._meta["class_name"])
        super().__init__(snapshot)

    def told(self) -> tuple[str, str, list[Fact]]:
        title = f"Actor {self._class_name}"
        for actor in self._snapshot.get("actors") or []:
            if actor["actor_id"] == self._actor_id:
                break
        else:
            return title, "unknown", [("id", self._actor_id[:12] + "…")]
        if actor.get("name"):
            title = f"Actor {self._class_name} '{actor['name']}'"
        names = {node["node_id"]: node["name"] for node in self._snapshot.get("nodes") or []}
        state = {"PENDING_CREATION": "starting"}.get(actor["state"], actor["state"].lower())
        rows: list[Fact] = []
        if actor.get("node_id"):
            rows.append(("on", names.get(actor["node_id"], actor["node_id"][:12] + "…")))
        if actor.get("pid"):
            rows.append(("pid", str(actor["pid"])))
        rows.append(("pending calls", str(actor.get("pending") or 0)))
        if actor.get("num_restarts"):
            rows.append(("restarts", str(actor["num_restarts"])))
        if state == "dead" and actor.get("death_cause"):
            rows.append(("because", str(actor["death_cause"])))
        return title, state, rows


class GroupDisplay(LiveDisplay):
    """A placement group: its state, and where each bundle lies."""

    max_live = 20
    _columns = (
        Column("index", "bundle", kind="number"),
        Column("resources", "resources"),
        Column("node", "node"),
    )

    def __init__(self, group: Any, snapshot: Mapping[str, Any]) -> None:
        super().__init__(FEED)
        self._group_id = group.id.binary()
        self._title = f"PlacementGroup {group.id.hex()[:12]}…"
        self._bundles = group.bundle_specs
        self._row: Mapping[str, Any] = {}
        self._snapshot = snapshot
        self.refresh(snapshot)

    def refresh(self, snapshot: Mapping[str, Any]) -> None:
        from rayjup.core import placement, session
        from rayjup.exceptions import RayError

        self._snapshot = snapshot
        if session.current() is not None:
            # A cluster that is just going away leaves the last known state.
            with contextlib.suppress(ConnectionError, RayError):
                self._row = placement.table(self._group_id) or {}

    def _table(self) -> Table:
        nodes = {node["node_id"]: node["name"] for node in self._snapshot.get("nodes") or []}
        places = self._row.get("bundles_to_node_id") or {}
        rows = [
            {
                "index": index,
                "resources": ", ".join(f"{key}: {amount:g}" for key, amount in bundle.items()),
                "node": nodes.get(places.get(index, ""), "not placed yet"),
            }
            for index, bundle in enumerate(self._bundles)
        ]
        name = f" '{self._row['name']}'" if self._row.get("name") else ""
        state = str(self._row.get("state") or "unknown").lower()
        title = f"{self._title}{name} {state}, {str(self._row.get('strategy') or '').lower()}"
        return Table(self._columns, rows, title=title.rstrip(", "), empty="No bundles.")

    def html(self, *, status: str = "", stamp: bool = False) -> str:
        timed = self._snapshot if stamp and self._snapshot.get("time") else None
        return wrap_html([render_table_html(self._table())], timed)

    def text(self, *, status: str = "", stamp: bool = False) -> str:
        return render_table_text(self._table())


def _serve_display(handle: Any, snapshot: Mapping[str, Any]) -> LiveDisplay:
    from rayjup.notebook.serve_displays import ServeDisplay  # needs the extra packages of serving

    return ServeDisplay(handle, snapshot)


_FORMATTED: dict[tuple[str, str], Callable[[Any, Mapping[str, Any]], LiveDisplay]] = {
    ("rayjup.engine.ownership.object_ref", "ObjectRef"): RefDisplay,
    ("rayjup.core.actor", "ActorHandle"): ActorDisplay,
    ("rayjup.util.placement_group", "PlacementGroup"): GroupDisplay,
    ("rayjup.serve.handle", "DeploymentHandle"): lambda handle, snapshot: _serve_display(handle, snapshot),
    ("rayjup.core.context", "RayContext"): lambda _, snapshot: ClusterDisplay(FEED, snapshot),
}
"""What shows objects of a class, by the module and name of the class."""


def install(shell: InteractiveShell) -> None:
    """Have ``shell`` show objects of the cluster through these displays."""
    formatter = shell.display_formatter.ipython_display_formatter  # type: ignore[union-attr]
    for (module, name), make in _FORMATTED.items():
        formatter.for_type_by_name(module, name, _printer(make))


def remove(shell: InteractiveShell) -> None:
    """Undo `install`."""
    import sys

    formatter = shell.display_formatter.ipython_display_formatter  # type: ignore[union-attr]
    for module, name in _FORMATTED:
        formatter.deferred_printers.pop((module, name), None)
        class_ = getattr(sys.modules.get(module), name, None)
        if class_ is not None:
            formatter.type_printers.pop(class_, None)


def _printer(make: Callable[[Any, Mapping[str, Any]], LiveDisplay]) -> Callable[[Any], None]:
    def show(shown: Any) -> None:
        from rayjup.notebook import session

        try:
            _, snapshot = session.watched()
        except ConnectionError:  # not connected (any more): what is known is shown once
            snapshot = {}
        try:
            display = make(shown, snapshot)
        except (ConnectionError, ValueError):
            print(repr(shown))  # noqa: T201 - its cluster is gone, and only that could tell more
            return
        display._ipython_display_()

    return show
