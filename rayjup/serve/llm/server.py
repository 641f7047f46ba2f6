"""A deployment around an engine: chat, completions, vectors, tokens."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from typing import Any

from rayjup.serve.llm import openai_api_models as api
from rayjup.serve.llm.configs import LLMConfig
from rayjup.serve.llm.engine import LLMEngine, engine_of

__all__ = ["LLMServer"]


def _problem(error: Exception, code: int = 400) -> api.ErrorResponse:
    return api.ErrorResponse(error=api.ErrorInfo(message=str(error), type=type(error).__name__, code=code))


class LLMServer:
    """Answers requests of OpenAI's interface with a model; its methods are asynchronous generators.

    Parameters
    ----------
    llm_config
        The model and its engine.
    engine_cls
        Another engine, a subclass of :class:`~rayjup.serve.llm.engine.LLMEngine`.
    """

    _engine: LLMEngine

    async def __init__(  # type: ignore[misc]  # replicas await it
        self, llm_config: LLMConfig, *, engine_cls: Any = None, model_downloader: Any = None
    ) -> None:
        self._set_up(llm_config, engine_cls)
        await self.start()

    def _set_up(self, llm_config: LLMConfig, engine_cls: Any = None) -> None:
        self._config = llm_config
        self._engine_cls = engine_cls
        self._awake = asyncio.Event()
        self._awake.set()
        self._paused = False
        self._asleep = False
        self._profiling: Any = None

    @classmethod
    def sync_init(
        cls, llm_config: LLMConfig, *, engine_cls: Any = None, model_downloader: Any = None
    ) -> LLMServer:
        """A server that is not started: ``await server.start()`` does that."""
        made = cls.__new__(cls)
        made._set_up(llm_config, engine_cls)
        return made

    async def start(self) -> None:
        """Load the model."""
        self._config.setup_engine_backend()
        self._engine = engine_of(self._config, self._engine_cls)
        await self._engine.start()

    @classmethod
    def get_deployment_options(cls, llm_config: LLMConfig) -> dict[str, Any]:
        """Options of its deployment."""
        options = dict(llm_config.deployment_config)
        actor = dict(options.get("ray_actor_options") or {})
        if llm_config.runtime_env:
            actor.setdefault("runtime_env", llm_config.runtime_env)
        if llm_config.accelerator_type:
            actor.setdefault("accelerator_type", llm_config.accelerator_type)
        if actor:
            options["ray_actor_options"] = actor
        group = llm_config.placement_group_config
        if group:
            options["placement_group_bundles"] = group["bundles"]
            options["placement_group_strategy"] = group.get("strategy", "PACK")
        options.setdefault("max_ongoing_requests", 1000)
        options.setdefault("health_check_period_s", 10)
        return options

    async def llm_config(self) -> LLMConfig | None:
        """The model's settings."""
        return self._config

    async def check_health(self) -> None:
        """Raise where the engine is not well."""
        await self._engine.check_health()

    # -- requests

    async def chat(
        self, request: api.ChatCompletionRequest, raw_request_info: Any = None
    ) -> AsyncGenerator[Any, None]:
        """Continue a conversation: pieces of server-sent events, or one answer."""
        text = self._engine.chat_text(request.messages)
        limit = request.max_completion_tokens or request.max_tokens
        async for item in self._answer(request, [self._engine.encode(text)], limit, chat=True):
            yield item

    async def completions(
        self, request: api.CompletionRequest, raw_request_info: Any = None
    ) -> AsyncGenerator[Any, None]:
        """Continue texts: pieces of server-sent events, or one answer."""
        async for item in self._answer(
            request, self._prompts(request.prompt), request.max_tokens, chat=False
        ):
            yield item

    def _prompts(self, prompt: Any) -> list[list[int]]:
        if isinstance(prompt, str):
            return [self._engine.encode(prompt)]
        if prompt and isinstance(prompt[0], int):
            return [list(prompt)]
        return [self._engine.encode(p) if isinstance(p, str) else list(p) for p in prompt]

    async def _first(self, tokens: list[int], options: dict[str, Any]) -> int | None:
        """The first token, where somebody else has read the prompt."""
        return None

    async def _answer(
        self, request: Any, prompts: list[list[int]], limit: int | None, chat: bool
    ) -> AsyncGenerator[Any, None]:
        await self._awake.wait()
        if request.n < 1 or (limit is not None and limit < 1):
            yield _problem(ValueError("n and max_tokens must be at least 1."))
            return
        options = {
            "max_tokens": limit,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
            "stop": [request.stop] if isinstance(request.stop, str) else list(request.stop or ()),
        }
        wanted = [tokens for tokens in prompts for _ in range(request.n)]
        try:
            if request.stream:
                async for piece in self._streamed(request, wanted, options, chat):
                    yield piece
            else:
                yield await self._whole(request, wanted, options, chat)
        except ValueError as error:
            yield _problem(error)

    async def _pieces(
        self, tokens: list[int], options: dict[str, Any], index: int
    ) -> AsyncGenerator[tuple[str, str | None], None]:
        """Text as it comes, and at the end why it ends. Nothing of a stop text is given away."""
        if options.get("seed") is not None:
            options = {**options, "seed": options["seed"] + index}
        made: list[int] = []
        sent = ""
        stops = options["stop"]
        held = max((len(s) for s in stops), default=0)
        async for token in self._engine.generate(tokens, options, await self._first(tokens, options)):
            made.append(token)
            text = self._engine.decode(made)
            if text.endswith("\ufffd"):
                continue  # half a character
            found = [text.find(s) for s in stops if s in text]
            if found:
                yield text[len(sent) : min(found)], "stop"
                return
            ready = text[: max(len(sent), len(text) - held)] if held else text
            if len(ready) > len(sent):
                yield ready[len(sent) :], None
                sent = ready
        rest = self._engine.decode(made)[len(sent) :]
        limit = options["max_tokens"] or math.inf
        yield rest, "length" if len(made) >= limit else "stop"

    async def _whole(self, request: Any, wanted: list[list[int]], options: dict[str, Any], chat: bool) -> Any:
        async def one(index: int, tokens: list[int]) -> tuple[str, str | None]:
            text, reason = "", None
            async for piece, reason in self._pieces(tokens, options, index):  # noqa: B007
                text += piece
            return text, reason

        texts = await asyncio.gather(*(one(i, t) for i, t in enumerate(wanted)))
        usage = self._usage(wanted, [text for text, _ in texts])
        model = request.model or self._config.model_id
        if chat:
            return api.ChatCompletionResponse(
                model=model,
                choices=[
                    api.ChatChoice(index=i, message=api.ChatMessage(content=text), finish_reason=reason)
                    for i, (text, reason) in enumerate(texts)
                ],
                usage=usage,
            )
        echoed = [self._engine.decode(t) if request.echo else "" for t in wanted]
        return api.CompletionResponse(
            model=model,
            choices=[
                api.CompletionChoice(index=i, text=echo + text, finish_reason=reason)
                for i, (echo, (text, reason)) in enumerate(zip(echoed, texts, strict=True))
            ],
            usage=usage,
        )

    def _usage(self, wanted: list[list[int]], texts: list[str]) -> api.Usage:
        read = sum(map(len, wanted))
        written = sum(len(self._engine.encode(text)) for text in texts if text)
        return api.Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)

    async def _streamed(
        self, request: Any, wanted: list[list[int]], options: dict[str, Any], chat: bool
    ) -> AsyncGenerator[str, None]:
        model = request.model or self._config.model_id
        together: asyncio.Queue[Any] = asyncio.Queue()

        async def one(index: int, tokens: list[int]) -> None:
            try:
                async for piece, reason in self._pieces(tokens, options, index):
                    together.put_nowait((index, piece, reason))
                together.put_nowait(None)
            except Exception as error:  # noqa: BLE001 - raised where the stream is read
                together.put_nowait(error)

        tasks = [asyncio.ensure_future(one(i, t)) for i, t in enumerate(wanted)]
        id = api.ChatCompletionStreamResponse().id if chat else api.CompletionStreamResponse().id
        try:
            left = len(tasks)
            while left:
                item = await together.get()
                if isinstance(item, Exception):
                    raise item
                if item is None:
                    left -= 1
                    continue
                index, piece, reason = item
                if chat:
                    choice = api.ChatStreamChoice(
                        index=index, delta=api.ChatMessage(content=piece), finish_reason=reason
                    )
                    made: Any = api.ChatCompletionStreamResponse(id=id, model=model, choices=[choice])
                else:
                    text = api.CompletionChoice(index=index, text=piece, finish_reason=reason)
                    made = api.CompletionStreamResponse(id=id, model=model, choices=[text])
                yield f"data: {made.model_dump_json(exclude_none=False)}\n\n"
            yield "data: [DONE]\n\n"
        finally:
            for task in tasks:
                task.cancel()

    async def embeddings(
        self, request: api.EmbeddingRequest, raw_request_info: Any = None
    ) -> AsyncGenerator[Any, None]:
        """Turn texts into vectors."""
        texts = [request.input] if isinstance(request.input, str) else request.input
        try:
            vectors = [await self._engine.embed(text) for text in texts]
        except ValueError as error:
            yield _problem(error)
            return
        read = sum(len(self._engine.encode(text)) for text in texts)
        yield api.EmbeddingResponse(
            model=request.model or self._config.model_id,
            data=[api.Embedding(index=i, embedding=v) for i, v in enumerate(vectors)],
            usage=api.Usage(prompt_tokens=read, total_tokens=read),
        )

    async def score(
        self, request: api.ScoreRequest, raw_request_info: Any = None
    ) -> AsyncGenerator[Any, None]:
        """How alike texts are: the cosine of their vectors."""
        ones = [request.text_1] if isinstance(request.text_1, str) else request.text_1
        others = [request.text_2] if isinstance(request.text_2, str) else request.text_2
        if len(ones) == 1:
            ones = ones * len(others)
        try:
            if len(ones) != len(others):
                raise ValueError("text_1 must be one text, or as many as text_2.")
            pairs = [
                (await self._engine.embed(a), await self._engine.embed(b))
                for a, b in zip(ones, others, strict=True)
            ]
        except ValueError as error:
            yield _problem(error)
            return
        yield api.ScoreResponse(
            model=request.model or self._config.model_id,
            data=[api.Score(index=i, score=_cosine(a, b)) for i, (a, b) in enumerate(pairs)],
        )

    async def tokenize(
        self, request: api.TokenizeCompletionRequest, raw_request_info: Any = None
    ) -> AsyncGenerator[Any, None]:
        """Cut a text into tokens."""
        tokens = self._engine.encode(request.prompt)
        longest = self._config.max_request_context_length or 0
        yield api.TokenizeResponse(tokens=tokens, count=len(tokens), max_model_len=longest)

    async def detokenize(
        self, request: api.DetokenizeRequest, raw_request_info: Any = None
    ) -> AsyncGenerator[Any, None]:
        """Make tokens a text again."""
        yield api.DetokenizeResponse(prompt=self._engine.decode(request.tokens))

    async def transcriptions(
        self, request: api.TranscriptionRequest, raw_request_info: Any = None
    ) -> AsyncGenerator[Any, None]:
        """Write speech down, where the engine does that."""
        try:
            yield api.TranscriptionResponse(text=await self._engine.transcribe(request.file))
        except ValueError as error:
            yield _problem(error)

    # -- operating it

    async def pause(self, **kwargs: Any) -> None:
        """Let new requests wait."""
        self._paused = True
        self._awake.clear()

    async def resume(self, **kwargs: Any) -> None:
        """Let them go on."""
        self._paused = False
        if not self._asleep:
            self._awake.set()

    async def is_paused(self) -> bool:
        """Whether requests wait."""
        return self._paused

    async def sleep(self, **kwargs: Any) -> None:
        """Move the model out of the accelerator's memory; requests wait."""
        self._asleep = True
        self._awake.clear()
        model = getattr(self._engine, "model", None)
        if model is not None:
            await asyncio.to_thread(model.to, "cpu")

    async def wakeup(self, **kwargs: Any) -> None:
        """Move it back."""
        model = getattr(self._engine, "model", None)
        if model is not None:
            await asyncio.to_thread(model.to, getattr(self._engine, "device", "cpu"))
        self._asleep = False
        if not self._paused:
            self._awake.set()

    async def is_sleeping(self) -> bool:
        """Whether it was put to sleep."""
        return self._asleep

    async def reset_prefix_cache(self) -> None:
        """Forget what was kept of prompts."""
        self._engine.reset()

    async def start_profile(self) -> None:
        """Begin to note where time goes."""
        import cProfile

        self._profiling = cProfile.Profile()
        self._profiling.enable()

    async def stop_profile(self) -> None:
        """End that, and print it to the replica's log."""
        if self._profiling is not None:
            self._profiling.disable()
            self._profiling.print_stats("cumulative")
            self._profiling = None

    async def collective_rpc(
        self,
        method: str,
        timeout: float | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> list[Any]:
        """Call a method of the engine; it has one worker, so there is one result."""
        value = getattr(self._engine, method)(*args, **(kwargs or {}))
        if asyncio.iscoroutine(value):
            value = await asyncio.wait_for(value, timeout)
        return [value]

    async def record_routing_stats(self) -> dict[str, Any]:
        """What routers may know of this replica."""
        return {}


def _cosine(a: list[float], b: list[float]) -> float:
    size = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / size if size else 0.0
