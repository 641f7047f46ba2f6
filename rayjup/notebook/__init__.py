"""rayjup inside a notebook: magics, live displays, cells on the cluster, values that are kept, checks.

``magics``, ``work_magics``, ``watch_magics``  what ``%load_ext rayjup`` adds; each has ``--help``
``session``   what this kernel is connected to; the magics' plain Python twins
``running``   cells as tasks and actors (``%%ray_remote``, ``%%ray_map``)
``keeping``   values under a name that outlive the kernel
``displays``  what is shown in a cell: a static snapshot, live while somebody looks at it
``table_displays``  sortable tables of rows that change; ``table`` is their data and how it looks
``run_displays``  runs of Tune, Train and RLlib in the cluster, as tables that stay live
``object_displays``  refs, actors and placement groups as the result of a cell
``cells``     which cell runs, and what the following do when one begins and ends
``cells_output``  output bound to a cell, and the thread that brings it up to date
``logs``      what tasks print, in a block of their cell; ``logs_render`` and ``logs_bars`` say how it looks
``logs_files``  ``%ray_logs``: the log files of the cluster
``data_progress``  how far the operators of a dataset are
``waiting``   how far the calls are for which a cell waits, and what keeps them (``waiting_render``)
``why``       ``%ray_why``: where the time of a cell went
``interrupts``  an interrupted cell takes its calls with it
``redefinition``  what was sent is sent anew when a cell defines it again
``feed``      the one background thread that keeps the displays of a kernel up to date
``render``    a snapshot as HTML and as text (pure functions)
``checks``    results a notebook verifies about itself, with a summary table

Everything is loaded on first use: ``%load_ext rayjup`` must stay cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from rayjup.notebook.checks import Checks
    from rayjup.notebook.dashboard import ray_dashboard
    from rayjup.notebook.debugging import ray_debug
    from rayjup.notebook.displays import ClusterDisplay
    from rayjup.notebook.keeping import attach, forget, keep, kept
    from rayjup.notebook.logs_files import ray_logs
    from rayjup.notebook.render import render_html, render_text
    from rayjup.notebook.run_displays import runs, stop_run, watch_run
    from rayjup.notebook.running import map_cell, run_cell
    from rayjup.notebook.session import ray_init, ray_shutdown, ray_status
    from rayjup.notebook.table import Column, Table
    from rayjup.notebook.table_displays import LiveTables, TableDisplay, live_table
    from rayjup.notebook.timeline import ray_timeline
    from rayjup.notebook.top import ray_top
    from rayjup.notebook.why import ray_why

__all__ = [
    "Checks",
    "ClusterDisplay",
    "Column",
    "LiveTables",
    "Table",
    "TableDisplay",
    "attach",
    "forget",
    "keep",
    "kept",
    "live_table",
    "load_ipython_extension",
    "map_cell",
    "on_interrupt",
    "ray_dashboard",
    "ray_debug",
    "ray_init",
    "ray_logs",
    "ray_shutdown",
    "ray_status",
    "ray_timeline",
    "ray_top",
    "ray_why",
    "render_html",
    "render_text",
    "run_cell",
    "runs",
    "show_progress",
    "unload_ipython_extension",
    "stop_run",
    "watch_run",
]

_HOMES = {
    "Checks": "checks",
    "ClusterDisplay": "displays",
    "Column": "table",
    "LiveTables": "table_displays",
    "Table": "table",
    "TableDisplay": "table_displays",
    "attach": "keeping",
    "forget": "keeping",
    "keep": "keeping",
    "kept": "keeping",
    "live_table": "table_displays",
    "map_cell": "running",
    "ray_dashboard": "dashboard",
    "ray_debug": "debugging",
    "ray_init": "session",
    "ray_logs": "logs_files",
    "ray_shutdown": "session",
    "ray_status": "session",
    "ray_timeline": "timeline",
    "ray_top": "top",
    "ray_why": "why",
    "render_html": "render",
    "render_text": "render",
    "run_cell": "running",
    "runs": "run_displays",
    "stop_run": "run_displays",
    "watch_run": "run_displays",
}

_MAGICS = (
    ("magics", "RayMagics"),
    ("work_magics", "WorkMagics"),
    ("watch_magics", "WatchMagics"),
    ("job_magics", "JobMagics"),
)


_PARTS = ("object_displays", "redefinition", "cells", "data_progress")
"""Modules with ``install`` and ``remove``."""

on_interrupt = "cancel"
"""What becomes of the calls of a cell that is interrupted: ``"cancel"`` them, or ``"leave"`` them running."""

show_progress = True
"""Whether a cell that waits for calls shows how far they are."""


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics with ``shell`` (called by ``%load_ext rayjup``)."""
    for module, class_ in _MAGICS:
        shell.register_magics(getattr(import_module(f"{__name__}.{module}"), class_))
    import_module(f"{__name__}.completion").install(shell, _magic_names())
    for module in _PARTS:
        import_module(f"{__name__}.{module}").install(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take the magics away and stop the displays; the connection stays (``%unload_ext rayjup``)."""
    import_module(f"{__name__}.completion").remove(shell, _magic_names())
    for module in _PARTS:
        import_module(f"{__name__}.{module}").remove(shell)
    for name in _magic_names():
        for kind in ("line", "cell"):
            shell.magics_manager.magics[kind].pop(name, None)
    import_module(f"{__name__}.feed").FEED.detach()


def _magic_names() -> list[str]:
    """The names of all magics of the extension."""
    names: set[str] = set()
    for module, class_ in _MAGICS:
        for magics in getattr(import_module(f"{__name__}.{module}"), class_).magics.values():
            names |= set(magics)
    return sorted(names)
