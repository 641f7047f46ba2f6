"""rayjup in JupyterLab: the server extension behind the side panel.

``app`` is the extension application (configuration, routes), ``services/clusters`` the REST
endpoints that list, start and stop clusters, ``services/live`` the one websocket that carries
live state to the panel. The panel itself is TypeScript, in ``extension/src``.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    # Imported here because Jupyter Server also imports this package merely to list extensions.
    from rayjup_lab.app import RayjupExtension

    return [{"module": "rayjup_lab", "app": RayjupExtension}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "@rayjup/lab"}]
