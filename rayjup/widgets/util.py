"""Tables for notebooks, and where they can be shown."""

from __future__ import annotations

import functools
import html
import importlib.util
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from rayjup.widgets.render import Template

F = TypeVar("F", bound=Callable[..., Any])
_SIMPLE = (str, bytes, bool, int, float, type(None))


def make_table_html_repr(obj: Any, title: str | None = None, max_height: str = "none") -> str:
    """A table of an object's attributes that are simple values; others are shown by their type.

    Parameters
    ----------
    obj
        Any object with attributes, or a mapping.
    title
        A heading above the table.
    max_height
        A CSS height above which the table scrolls.

    Examples
    --------
    >>> from rayjup.widgets import make_table_html_repr
    >>> "workers" in make_table_html_repr({"workers": 2}, title="Scaling")
    True
    """
    rows = []
    for name, value in (obj if isinstance(obj, dict) else vars(obj)).items():
        shown = str(value) if isinstance(value, _SIMPLE) else f"{type(value).__name__} …"
        rows.append(f"<tr><td>{html.escape(str(name))}</td><td>{html.escape(shown)}</td></tr>")
    table = Template("table.html.j2").render(rows=rows, max_height=html.escape(max_height))
    if title is None:
        return table
    return Template("title_data.html.j2").render(title=html.escape(title), data=table)


def in_ipython_shell(shell_name: str | None = None) -> bool:
    """Whether this is IPython (the shell of this class name, where one is given)."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and shell_name in (None, type(shell).__name__)


def in_notebook(shell_name: str | None = None) -> bool:
    """Whether a notebook shows what is displayed."""
    return in_ipython_shell(shell_name or "ZMQInteractiveShell")


def repr_with_fallback(*notebook_deps: tuple[str, str | None]) -> Callable[[F], F]:
    """Decorate a ``_repr_mimebundle_``: plain text where nothing richer can be shown.

    That is outside of notebooks, in Google Colab, and where one of the packages is missing.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def mimebundle(self: Any, *args: Any, **kwargs: Any) -> Any:
            rich = in_notebook() and "google.colab" not in sys.modules
            if rich and all(importlib.util.find_spec(name) for name, *_ in notebook_deps):
                return function(self, *args, **kwargs)
            return {"text/plain": repr(self)}

        return mimebundle  # type: ignore[return-value]

    return decorate
