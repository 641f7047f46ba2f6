"""Requests and answers of OpenAI's interface (mirrors ``ray.serve.llm.openai_api_models``)."""

from __future__ import annotations

import time
import uuid
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


def _id(prefix: str) -> Any:
    return Field(default_factory=lambda: f"{prefix}-{uuid.uuid4().hex}")


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


class _Sampling(_Open):
    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = 1.0
    top_p: float | None = 1.0
    n: int = 1
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None
    seed: int | None = None
    logprobs: Any = None
    user: str | None = None
    request_id: str = _id("req")


class CompletionRequest(_Sampling):
    """A text to be continued."""

    prompt: str | list[str] | list[int] | list[list[int]] = ""
    echo: bool | None = False


class ChatCompletionRequest(_Sampling):
    """A conversation to be continued."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None


class EmbeddingRequest(_Open):
    """Texts to be turned into vectors."""

    model: str | None = None
    input: str | list[str]
    encoding_format: str = "float"


class ScoreRequest(_Open):
    """Pairs of texts to be compared."""

    model: str | None = None
    text_1: str | list[str]
    text_2: str | list[str]


class TokenizeCompletionRequest(_Open):
    """A text to be cut into tokens."""

    model: str | None = None
    prompt: str
    add_special_tokens: bool = True


TokenizeRequest = TokenizeCompletionRequest


class DetokenizeRequest(_Open):
    """Tokens to be made a text again."""

    model: str | None = None
    tokens: list[int]


class TranscriptionRequest(_Open):
    """Speech to be written down."""

    file: Any = None
    model: str | None = None
    language: str | None = None
    response_format: str = "json"
    stream: bool | None = False


class ErrorInfo(_Open):
    """What went wrong."""

    message: str
    type: str = "BadRequestError"
    param: str | None = None
    code: int = 400


class ErrorResponse(_Open):
    """An answer that says what went wrong."""

    error: ErrorInfo


class Usage(_Open):
    """How many tokens there were."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class CompletionChoice(_Open):
    """One continuation."""

    index: int = 0
    text: str = ""
    finish_reason: str | None = None
    logprobs: Any = None


class CompletionResponse(_Open):
    """Continuations of a text."""

    id: str = _id("cmpl")
    object: Literal["text_completion"] = "text_completion"
    created: int = Field(default_factory=lambda: int(time.time()))
    model: str = ""
    choices: list[CompletionChoice] = []
    usage: Usage | None = None


class CompletionStreamResponse(CompletionResponse):
    """A piece of a continuation."""


class ChatMessage(_Open):
    """What one side says."""

    role: str | None = "assistant"
    content: str | None = None


class ChatChoice(_Open):
    """One answer in a conversation."""

    index: int = 0
    message: ChatMessage
    finish_reason: str | None = None
    logprobs: Any = None


class ChatCompletionResponse(_Open):
    """Answers in a conversation."""

    id: str = _id("chatcmpl")
    object: Literal["chat.completion"] = "chat.completion"
    created: int = Field(default_factory=lambda: int(time.time()))
    model: str = ""
    choices: list[ChatChoice] = []
    usage: Usage | None = None


class ChatStreamChoice(_Open):
    """A piece of one answer."""

    index: int = 0
    delta: ChatMessage
    finish_reason: str | None = None


class ChatCompletionStreamResponse(_Open):
    """A piece of the answers in a conversation."""

    id: str = _id("chatcmpl")
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int = Field(default_factory=lambda: int(time.time()))
    model: str = ""
    choices: list[ChatStreamChoice] = []
    usage: Usage | None = None


class Embedding(_Open):
    """One vector."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float]


class EmbeddingResponse(_Open):
    """Vectors of texts."""

    object: Literal["list"] = "list"
    model: str = ""
    data: list[Embedding] = []
    usage: Usage | None = None


class Score(_Open):
    """How alike a pair is."""

    object: Literal["score"] = "score"
    index: int
    score: float


class ScoreResponse(_Open):
    """How alike pairs are."""

    object: Literal["list"] = "list"
    model: str = ""
    data: list[Score] = []


class TokenizeResponse(_Open):
    """A text as tokens."""

    tokens: list[int]
    count: int
    max_model_len: int = 0


class DetokenizeResponse(_Open):
    """Tokens as a text."""

    prompt: str


class TranscriptionResponse(_Open):
    """Speech as text."""

    text: str


class TranscriptionStreamResponse(_Open):
    """A piece of speech as text."""

    object: Literal["transcription.chunk"] = "transcription.chunk"
    choices: list[dict[str, Any]] = []


class ModelCard(_Open):
    """A model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(default_factory=lambda: int(time.time()))
    owned_by: str = "rayjup"
    metadata: dict[str, Any] = {}


class ModelList(_Open):
    """All models that are served."""

    object: Literal["list"] = "list"
    data: list[ModelCard] = []
