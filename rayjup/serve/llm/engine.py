"""What makes text: models of PyTorch, read and continued token by token."""

from __future__ import annotations

import asyncio
import importlib
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any

from rayjup.serve.config import imported
from rayjup.serve.llm.configs import LLMConfig

_MOST_TOKENS = 256
_END = object()


class LLMEngine(ABC):
    """What a server of a language model needs of an engine."""

    def __init__(self, llm_config: LLMConfig) -> None:
        self.config = llm_config

    @abstractmethod
    async def start(self) -> None:
        """Load the model."""

    @abstractmethod
    def generate(
        self, tokens: list[int], options: dict[str, Any], first: int | None = None
    ) -> AsyncIterator[int]:
        """The tokens that follow; ``first`` is the first of them where that is known already."""

    @abstractmethod
    async def prefill(self, tokens: list[int], options: dict[str, Any]) -> int:
        """Read a prompt; the first token that follows."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """A text as tokens."""

    @abstractmethod
    def decode(self, tokens: list[int]) -> str:
        """Tokens as a text."""

    def chat_text(self, messages: list[dict[str, Any]]) -> str:
        """A conversation as the text that a model continues."""
        lines = [f"{m['role']}: {m.get('content') or ''}" for m in messages]
        return "\n".join([*lines, "assistant:"])

    async def embed(self, text: str) -> list[float]:
        """A text as a vector."""
        raise ValueError(f"{type(self).__name__} makes no vectors.")

    async def transcribe(self, audio: bytes) -> str:
        """Speech as text."""
        raise ValueError(f"{type(self).__name__} takes no speech.")

    async def check_health(self) -> None:
        """Raise where something is wrong."""
        self.encode("")

    def reset(self) -> None:  # noqa: B027 - most keep nothing
        """Forget what was kept of prompts."""


class TorchEngine(LLMEngine):
    """A model of PyTorch: called with token ids of shape (1, length), gives logits (1, length, vocabulary).

    The model comes from a function that gives ``(model, tokenizer)``, or from Hugging Face. A tokenizer
    has ``encode(text)``, ``decode(tokens)``, and perhaps ``eos_token_id`` and ``apply_chat_template``.
    Models that take ``past_key_values`` read only what is new.
    """

    async def start(self) -> None:
        """Load the model, in a thread."""
        await asyncio.to_thread(self._load)

    def _load(self) -> None:
        settings = self.config.get_engine_config()
        source = settings.pop("model")
        self.torch = importlib.import_module("torch")
        if callable(source) or (isinstance(source, str) and ":" in source and "://" not in source):
            self.model, self.tokenizer = imported(source)()
        else:
            try:
                transformers = importlib.import_module("transformers")
            except ImportError as error:
                raise ImportError(
                    f"the model {source!r} is not of the form module:function, so it is looked for at "
                    "Hugging Face, "
                    "which needs the package transformers: pip install transformers."
                ) from error
            self.model = transformers.AutoModelForCausalLM.from_pretrained(source)
            name = self.config.model_loading_config.tokenizer_source or source
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        self.device = settings.get("device") or ("cuda" if self.torch.cuda.is_available() else "cpu")
        self.model = self.model.to(self.device).eval()
        self.caches = hasattr(self.model, "prepare_inputs_for_generation")
        self.end = getattr(self.tokenizer, "eos_token_id", None)
        self.lock = threading.Lock()

    def encode(self, text: str) -> list[int]:
        """A text as tokens."""
        return list(self.tokenizer.encode(text))

    def decode(self, tokens: list[int]) -> str:
        """Tokens as a text."""
        return str(self.tokenizer.decode(tokens))

    def chat_text(self, messages: list[dict[str, Any]]) -> str:
        """By the tokenizer's own template, where it has one."""
        if getattr(self.tokenizer, "chat_template", None):
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            return str(text)
        return super().chat_text(messages)

    async def prefill(self, tokens: list[int], options: dict[str, Any]) -> int:
        """Read a prompt; the first token that follows."""
        return await asyncio.to_thread(next, self._tokens(tokens, options, None))

    async def generate(  # type: ignore[override]
        self, tokens: list[int], options: dict[str, Any], first: int | None = None
    ) -> AsyncIterator[int]:
        """The tokens that follow, made in a thread ahead of whoever reads them."""
        loop = asyncio.get_running_loop()
        made: asyncio.Queue[Any] = asyncio.Queue()
        stopped = threading.Event()

        def make() -> None:
            try:
                for token in self._tokens(tokens, options, first):
                    if stopped.is_set():
                        return
                    loop.call_soon_threadsafe(made.put_nowait, token)
                last: Any = _END
            except Exception as error:  # noqa: BLE001 - told to whoever reads
                last = error
            loop.call_soon_threadsafe(made.put_nowait, last)

        future = loop.run_in_executor(None, make)
        try:
            while (token := await made.get()) is not _END:
                if isinstance(token, Exception):
                    raise token
                yield token
        finally:
            stopped.set()
            await asyncio.shield(future)

    def _tokens(self, tokens: list[int], options: dict[str, Any], first: int | None) -> Iterator[int]:
        torch = self.torch
        generator = torch.Generator(device="cpu")
        if options.get("seed") is not None:
            generator.manual_seed(int(options["seed"]))
        else:
            generator.seed()
        context = list(tokens)
        past = None
        limit = options.get("max_tokens") or _MOST_TOKENS
        longest = self.config.max_request_context_length
        for number in range(limit):
            if longest is not None and len(context) >= longest:
                return
            if number == 0 and first is not None:
                token = first
            else:
                with self.lock, torch.inference_mode():
                    logits, past = self._logits(context, past)
                token = _sample(torch, logits, options, generator)
            if token == self.end:
                return
            context.append(token)
            yield token

    def _logits(self, context: list[int], past: Any) -> tuple[Any, Any]:
        torch = self.torch
        if self.caches:
            fresh = context if past is None else context[-1:]
            ids = torch.tensor([fresh], device=self.device)
            out = self.model(input_ids=ids, past_key_values=past, use_cache=True)
            return out.logits[0, -1].float().cpu(), out.past_key_values
        out = self.model(torch.tensor([context], device=self.device))
        logits = getattr(out, "logits", out)
        return logits[0, -1].float().cpu(), None

    async def embed(self, text: str) -> list[float]:
        """The mean of the model's embeddings of the tokens."""
        table = self.model.get_input_embeddings() if hasattr(self.model, "get_input_embeddings") else None
        if table is None:
            raise ValueError("this model has no get_input_embeddings(), from which vectors are made.")
        torch = self.torch
        with torch.inference_mode():
            ids = torch.tensor(self.encode(text), device=self.device)
            vector = table(ids).mean(dim=0)
        return [float(x) for x in vector.cpu()]


def _sample(torch: Any, logits: Any, options: dict[str, Any], generator: Any) -> int:
    temperature = options.get("temperature")
    temperature = 1.0 if temperature is None else float(temperature)
    if temperature == 0.0:
        return int(logits.argmax())
    shares = torch.softmax(logits / temperature, dim=-1)
    top_p = options.get("top_p")
    if top_p is not None and top_p < 1.0:
        ordered, order = shares.sort(descending=True)
        beyond = ordered.cumsum(0) - ordered > top_p
        ordered[beyond] = 0.0
        shares = torch.zeros_like(shares).scatter(0, order, ordered)
    return int(torch.multinomial(shares, 1, generator=generator))


def engine_of(config: LLMConfig, engine_cls: Any = None) -> LLMEngine:
    """The engine that a configuration names."""
    class_ = engine_cls or config.engine_kwargs.get("engine_cls")
    if class_ is None:
        if config.llm_engine == "custom":
            raise ValueError('llm_engine="custom" needs engine_kwargs={"engine_cls": "module:Class"}.')
        class_ = TorchEngine
    return imported(class_)(config)  # type: ignore[no-any-return]
