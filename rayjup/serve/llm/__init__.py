"""Language models behind OpenAI's interface (mirrors ``ray.serve.llm``).

``configs``, ``openai_api_models``
    Settings, and what requests and answers consist of.
``engine``
    What makes text: models of PyTorch, or an engine of one's own.
``server``, ``deployment``
    Deployments around an engine; several replicas side by side, reading and writing apart.
``ingress``, ``builders``
    ``/v1/chat/completions`` and the other routes, and whole applications.
``request_router``
    Routers that send prompts where their beginnings are known.
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    **dict.fromkeys(
        ("CloudMirrorConfig", "LLMConfig", "LLMServingArgs", "LoraConfig", "ModelLoadingConfig"), "configs"
    ),
    "LLMServer": "server",
    **dict.fromkeys(
        (
            "build_dp_deployment",
            "build_dp_openai_app",
            "build_llm_deployment",
            "build_openai_app",
            "build_pd_openai_app",
        ),
        "builders",
    ),
    "OpenAiIngress": "ingress",
}

__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{where}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
