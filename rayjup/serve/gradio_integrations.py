"""Gradio's interfaces as deployments (mirrors ``ray.serve.gradio_integrations``); needs gradio."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from rayjup.serve._private.ingress import INGRESS

__all__ = ["GradioIngress"]


class GradioIngress:
    """Serves an interface of Gradio's: derive a deployment from it, or use :data:`GradioServer`.

    Parameters
    ----------
    builder
        Makes the interface; called in the replica.
    """

    def __init__(self, builder: Callable[[], Any]) -> None:
        try:
            gradio = importlib.import_module("gradio")
        except ImportError as error:
            raise ImportError("GradioIngress needs the package gradio: pip install gradio.") from error
        fastapi = importlib.import_module("fastapi")
        self._app = gradio.mount_gradio_app(fastapi.FastAPI(), builder(), path="")

    @property
    def app(self) -> Any:
        """The application of ASGI."""
        return self._app

    @property
    def docs_path(self) -> str | None:
        """Gradio's applications have no page of documentation."""
        return None


def _application(instance: Any) -> Any:
    return instance.app


setattr(GradioIngress, INGRESS, staticmethod(_application))


def __getattr__(name: str) -> Any:
    if name == "GradioServer":
        from rayjup.serve.api import deployment  # made when asked for

        return deployment(GradioIngress)
    raise AttributeError(name)
