"""Where the cluster of this notebook can be watched outside of its cells."""

from __future__ import annotations

from html import escape
from typing import Any

from rayjup import observe

_COMMAND = "rayjup:open-panel"  # of the JupyterLab extension


class DashboardLink:
    """Opens JupyterLab's panel of clusters; as text it says where to look."""

    def __init__(self, cluster: str, url: str | None) -> None:
        self.cluster = cluster
        self.url = url

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        name = escape(self.cluster)
        if self.url:
            link = f'<a href="{escape(self.url)}" target="_blank" rel="noopener">{escape(self.url)}</a>'
            html = f"<div>Cluster <b>{name}</b>: {link}</div>"
        else:
            # JupyterLab runs the command when the element is clicked; other front ends show the text.
            html = (
                f"<div>Cluster <b>{name}</b>: "
                f'<a href="#" data-commandlinker-command="{_COMMAND}" data-commandlinker-args="{{}}">'
                "open the panel of clusters</a> (JupyterLab; elsewhere: <code>%ray_status</code>)</div>"
            )
        return {"text/plain": repr(self), "text/html": html}

    def __repr__(self) -> str:
        if self.url:
            return f"Cluster {self.cluster}: {self.url}"
        return (
            f"Cluster {self.cluster}: in JupyterLab, the panel 'rayjup' on the left shows it; "
            "in any notebook %ray_status and %ray_top do."
        )


def ray_dashboard() -> DashboardLink:
    """A link to what shows the cluster of this notebook.

    Raises
    ------
    ConnectionError
        This notebook is connected to no cluster.
    """
    view = observe.current()
    if view is None:
        raise ConnectionError("this notebook is connected to no cluster: run %ray_init first")
    url = view.descriptor.extra.get("dashboard_url")
    return DashboardLink(view.descriptor.name, url)
