"""rayjup inside a notebook: magics, the live cluster display, checks.

``magics``    ``%ray_init``, ``%ray_status``, ``%ray_shutdown`` (after ``%load_ext rayjup``)
``session``   what this kernel is connected to; the magics' plain Python twins
``displays``  a cluster shown in a cell: a static snapshot, live while somebody looks at it
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
    from rayjup.notebook.displays import ClusterDisplay
    from rayjup.notebook.render import render_html, render_text
    from rayjup.notebook.session import ray_init, ray_shutdown, ray_status

__all__ = [
    "Checks",
    "ClusterDisplay",
    "load_ipython_extension",
    "ray_init",
    "ray_shutdown",
    "ray_status",
    "render_html",
    "render_text",
    "unload_ipython_extension",
]

_HOMES = {
    "Checks": "checks",
    "ClusterDisplay": "displays",
    "ray_init": "session",
    "ray_shutdown": "session",
    "ray_status": "session",
    "render_html": "render",
    "render_text": "render",
}


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
    magics = import_module(f"{__name__}.magics")
    shell.register_magics(magics.RayMagics)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take the magics away and stop the displays; the connection stays (``%unload_ext rayjup``)."""
    for name in ("ray_init", "ray_status", "ray_shutdown"):
        shell.magics_manager.magics["line"].pop(name, None)
    import_module(f"{__name__}.feed").FEED.detach()
