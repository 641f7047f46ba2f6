"""OpenAI's routes in front of models (mirrors ``ray.serve.llm.ingress``)."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from rayjup.serve.api import ingress
from rayjup.serve.llm.configs import LLMConfig
from rayjup.serve.llm.openai_api_models import (
    ChatCompletionRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    ErrorResponse,
    ModelCard,
    ModelList,
    ScoreRequest,
    TokenizeCompletionRequest,
    TranscriptionRequest,
)

__all__ = ["OpenAiIngress", "make_fastapi_ingress"]

DEFAULT_ENDPOINTS: dict[str, Callable[[FastAPI], Callable[..., Any]]] = {
    "models": lambda app: app.get("/v1/models", response_model=ModelList),
    "model_data": lambda app: app.get("/v1/models/{model_id:path}", response_model=ModelCard),
    "completions": lambda app: app.post("/v1/completions"),
    "chat": lambda app: app.post("/v1/chat/completions"),
    "embeddings": lambda app: app.post("/v1/embeddings"),
    "transcriptions": lambda app: app.post("/v1/audio/transcriptions"),
    "score": lambda app: app.post("/v1/score"),
    "tokenize": lambda app: app.post("/tokenize"),
    "detokenize": lambda app: app.post("/detokenize"),
}


class OpenAiIngress:
    """Sends requests to the model that they name.

    Parameters
    ----------
    llm_deployments
        Handles of :class:`~rayjup.serve.llm.LLMServer` by the names of their models.
    model_cards
        What is said of the models.
    lora_paths
        Where adapters of the models are.
    """

    def __init__(
        self,
        llm_deployments: dict[str, Any],
        model_cards: dict[str, ModelCard],
        *,
        lora_paths: dict[str, str] | None = None,
        _get_lora_model_metadata_func: Callable[[str, str], Awaitable[dict[str, Any]]] | None = None,
    ) -> None:
        self._handles = llm_deployments
        self._cards = model_cards
        self._lora_paths = lora_paths or {}
        self._lora_metadata = _get_lora_model_metadata_func

    @classmethod
    def get_deployment_options(cls, llm_configs: list[LLMConfig] | None = None) -> dict[str, Any]:
        """Options of its deployment."""
        return {"max_ongoing_requests": 10_000, "ray_actor_options": {"num_cpus": 0}}

    async def check_health(self) -> None:
        """It is well as long as it answers."""

    def _handle(self, model: str | None) -> tuple[str, Any]:
        if model is None and len(self._handles) == 1:
            model = next(iter(self._handles))
        base = (model or "").partition(":")[0]  # an adapter is named model:adapter
        if base not in self._handles:
            there = ", ".join(self._handles)
            raise HTTPException(404, f"Could not find model with id {model!r}: there are {there}.")
        handle = self._handles[base]
        return str(model), handle.options(multiplexed_model_id=model) if model != base else handle

    async def _answer(self, method: str, body: Any) -> Response:
        model, handle = self._handle(body.model)
        body.model = model
        items = getattr(handle, method).options(stream=True).remote(body)
        first = await items.__anext__()
        if isinstance(first, ErrorResponse):
            return JSONResponse(first.model_dump(), first.error.code)
        if not isinstance(first, str):
            return JSONResponse(first.model_dump())

        async def stream() -> Any:
            yield first
            async for item in items:
                yield item

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def models(self) -> ModelList:
        """All models."""
        return ModelList(data=list(self._cards.values()))

    async def model_data(self, model_id: str) -> ModelCard:
        """One model, or the error 404."""
        card = await self.model(model_id)
        if card is None:
            raise HTTPException(404, f"Unable to find {model_id!r}: there are {', '.join(self._cards)}.")
        return card

    async def model(self, model_id: str) -> ModelCard | None:
        """One model, or None."""
        return self._cards.get(model_id)

    async def completions(self, body: CompletionRequest, request: Request) -> Response:
        """Continue texts."""
        return await self._answer("completions", body)

    async def chat(self, body: ChatCompletionRequest, request: Request) -> Response:
        """Continue a conversation."""
        return await self._answer("chat", body)

    async def embeddings(self, body: EmbeddingRequest, request: Request) -> Response:
        """Turn texts into vectors."""
        return await self._answer("embeddings", body)

    async def score(self, body: ScoreRequest, request: Request) -> Response:
        """How alike texts are."""
        return await self._answer("score", body)

    async def tokenize(self, body: TokenizeCompletionRequest, request: Request) -> Response:
        """Cut a text into tokens."""
        return await self._answer("tokenize", body)

    async def detokenize(self, body: DetokenizeRequest, request: Request) -> Response:
        """Make tokens a text again."""
        return await self._answer("detokenize", body)

    async def transcriptions(self, body: TranscriptionRequest, request: Request) -> Response:
        """Write speech down."""
        return await self._answer("transcriptions", body)


def make_fastapi_ingress(
    cls: type,
    *,
    endpoint_map: dict[str, Callable[[FastAPI], Callable[..., Any]]] | None = None,
    app: FastAPI | None = None,
) -> type:
    """A class whose methods answer routes of FastAPI, ready for ``serve.deployment``.

    Parameters
    ----------
    endpoint_map
        By the names of methods: what decorates them, given the application.
    """
    application = app or FastAPI()
    methods: dict[str, Any] = {}
    for name, decorate in (endpoint_map or DEFAULT_ENDPOINTS).items():
        original = inspect.getattr_static(cls, name)
        # A function of this class's own, so that the route knows its class; annotations are evaluated.
        made = _copy(original)
        methods[name] = decorate(application)(made)
    derived = type(cls.__name__, (cls,), {**methods, "__module__": cls.__module__, "__doc__": cls.__doc__})
    return ingress(application)(derived)


def _copy(function: Any) -> Any:
    import types

    made = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    made.__doc__ = function.__doc__
    made.__annotations__ = inspect.get_annotations(function, eval_str=True)
    made.__annotations__.pop("return", None)
    return made
