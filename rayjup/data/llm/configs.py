"""What processors and their stages are set up with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from rayjup.data.datasource.pieces import need

_Config = TypeVar("_Config", bound="_Loadable")


class _Loadable:
    """A configuration that can be read from YAML."""

    @classmethod
    def parse_yaml(cls: type[_Config], file: Any, **kwargs: Any) -> _Config:
        """From an open file (or its text)."""
        content = need("yaml", "A configuration in YAML", "pyyaml").safe_load(file) or {}
        known = {one.name for one in fields(cls)}  # type: ignore[arg-type]
        unknown = sorted({*content, *kwargs} - known)
        if unknown:
            raise ValueError(
                f"{cls.__name__} has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}."
            )
        return cls(**{**content, **kwargs})

    @classmethod
    def from_file(cls: type[_Config], path: str, **kwargs: Any) -> _Config:
        """From the file at a path."""
        with open(path, encoding="utf-8") as file:
            return cls.parse_yaml(file, **kwargs)


def _check_concurrency(concurrency: Any) -> None:
    pair = concurrency if isinstance(concurrency, (tuple, list)) else (concurrency, concurrency)
    if len(pair) != 2 or not all(isinstance(n, int) for n in pair) or not 1 <= pair[0] <= pair[1]:
        raise ValueError(f"concurrency={concurrency!r} is not a positive number or a pair of them, in order.")


@dataclass(kw_only=True)
class ProcessorConfig(_Loadable):
    """What all processors are set up with.

    Parameters
    ----------
    batch_size
        Rows at a time.
    accelerator_type
        The kind of accelerator that engines need.
    concurrency
        How many workers, or the least and the most.
    """

    batch_size: int = 32
    accelerator_type: str | None = None
    concurrency: int | tuple[int, int] = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} is not a positive number.")
        _check_concurrency(self.concurrency)

    def get_concurrency(self, autoscaling_enabled: bool = True) -> dict[str, int]:
        """The arguments of an ``ActorPoolStrategy``."""
        if isinstance(self.concurrency, (tuple, list)):
            return {"min_size": self.concurrency[0], "max_size": self.concurrency[1]}
        if autoscaling_enabled:
            return {"min_size": 1, "max_size": self.concurrency}
        return {"size": self.concurrency}


@dataclass(kw_only=True)
class _StageConfig(_Loadable):
    """What all stages are set up with; what is left out comes from the processor.

    Parameters
    ----------
    enabled
        Whether there is such a stage.
    batch_size, concurrency, runtime_env, num_cpus, memory
        For its workers.
    """

    enabled: bool = True
    batch_size: int | None = None
    concurrency: int | tuple[int, int] | None = None
    runtime_env: dict[str, Any] | None = None
    num_cpus: float | None = None
    memory: float | None = None

    def __post_init__(self) -> None:
        if self.concurrency is not None:
            _check_concurrency(self.concurrency)


@dataclass(kw_only=True)
class HttpRequestStageConfig(_StageConfig):
    """The stage that sends requests."""


@dataclass(kw_only=True)
class ChatTemplateStageConfig(_StageConfig):
    """The stage that makes prompts of messages.

    Parameters
    ----------
    model_source, chat_template, chat_template_kwargs
        The model whose template is used, another template, and arguments for it.
    """

    model_source: str | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None


@dataclass(kw_only=True)
class TokenizerStageConfig(_StageConfig):
    """The stage that makes tokens of prompts."""

    model_source: str | None = None


@dataclass(kw_only=True)
class DetokenizeStageConfig(_StageConfig):
    """The stage that makes text of tokens."""

    model_source: str | None = None


@dataclass(kw_only=True)
class PrepareMultimodalStageConfig(_StageConfig):
    """The stage that loads the images of messages."""

    model_config_kwargs: dict[str, Any] | None = None
    chat_template_content_format: Literal["string", "openai"] | None = "string"
    apply_sys_msg_formatting: bool | None = False


@dataclass(kw_only=True)
class HttpRequestProcessorConfig(ProcessorConfig):
    """Requests to a service: column ``payload`` is sent as JSON, ``http_response`` is its answer.

    Parameters
    ----------
    url, headers
        Where to, and with what.
    qps
        The most requests per second and worker.
    max_retries, base_retry_wait_time_in_s
        How often a request is sent again, and how long to wait before; twice as long each time.
    session_factory
        Makes an object with ``post(url, json=..., headers=...)``, as those of ``httpx`` and ``requests``.
    http_request_stage
        A ``HttpRequestStageConfig``, a dict of its settings, or whether there is such a stage.
    """

    batch_size: int = 64
    url: str
    headers: dict[str, Any] | None = None
    qps: int | None = None
    max_retries: int = 0
    base_retry_wait_time_in_s: float = 1
    session_factory: Callable[[], Any] | None = None
    http_request_stage: Any = True


@dataclass(kw_only=True)
class _EngineConfig(ProcessorConfig):
    """What processors with an engine of their own share."""

    model_source: str
    runtime_env: dict[str, Any] | None = None
    max_pending_requests: int | None = None
    max_concurrent_batches: int = 8
    max_tasks_in_flight_per_actor: int | None = None
    should_continue_on_error: bool = False
    chat_template_stage: Any = True
    tokenize_stage: Any = True
    detokenize_stage: Any = True
    prepare_multimodal_stage: Any = False
    engine_kwargs: dict[str, Any] = field(default_factory=dict)
    task_type: str = "generate"
    log_engine_metrics: bool = True
    placement_group_config: dict[str, Any] | None = None
    dynamic_lora_loading_path: str | None = None


@dataclass(kw_only=True)
class vLLMEngineProcessorConfig(_EngineConfig):
    """vLLM on the workers (``pip install vllm``).

    Parameters
    ----------
    model_source
        The model.
    engine_kwargs
        Arguments of ``vllm.LLM``.
    task_type
        ``generate``, ``embed``, ``classify`` or ``score``.
    chat_template_stage, tokenize_stage, detokenize_stage, prepare_multimodal_stage
        Configurations of these stages, dicts of their settings, or whether there are such stages.
    should_continue_on_error
        Whether a row that fails gets ``__inference_error__`` instead of ending the run.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task_type not in ("generate", "embed", "classify", "score"):
            raise ValueError(f"task_type={self.task_type!r} is not one of generate, embed, classify, score.")


@dataclass(kw_only=True)
class SGLangEngineProcessorConfig(_EngineConfig):
    """SGLang on the workers (``pip install sglang``); parameters as for ``vLLMEngineProcessorConfig``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task_type != "generate":
            raise ValueError(f"task_type={self.task_type!r}: SGLang generates.")


@dataclass(kw_only=True)
class ServeDeploymentProcessorConfig(ProcessorConfig):
    """Requests to a deployment of Serve: ``method`` is called with ``request_kwargs``.

    Parameters
    ----------
    deployment_name, app_name
        Which deployment.
    dtype_mapping
        Classes of requests by the name in column ``dtype``.
    should_continue_on_error, request_timeout_s
        What to do with requests that fail, and how long one may take.
    """

    deployment_name: str
    app_name: str = "default"
    dtype_mapping: dict[str, type[Any]] | None = None
    should_continue_on_error: bool = False
    request_timeout_s: float | None = None


def stage_config(kind: type[_Config], given: Any) -> _Config:
    """A stage's configuration from what a processor was given: one, a dict, or a truth value."""
    if isinstance(given, kind):
        return given
    if isinstance(given, dict):
        return kind(**given)
    if isinstance(given, bool):
        return kind(enabled=given)  # type: ignore[call-arg]
    raise TypeError(f"A stage is set up with a {kind.__name__}, a dict or a truth value, not with {given!r}.")
