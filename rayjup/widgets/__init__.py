"""HTML for notebooks (mirrors ``ray.widgets``)."""

from rayjup.widgets.render import Template
from rayjup.widgets.util import make_table_html_repr

__all__ = ["Template", "make_table_html_repr"]
