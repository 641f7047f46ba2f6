"""Preprocessing, stages and postprocessing as one function over datasets."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rayjup.data.llm import configs
from rayjup.data.llm.engines import VLLM, ServeDeployment, SGLang
from rayjup.data.llm.http import HttpRequest
from rayjup.data.llm.stages import COLUMN, Stage, to_block, to_rows
from rayjup.data.llm.text import ChatTemplate, Detokenize, PrepareMultimodal, Tokenize

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset

logger = logging.getLogger(__name__)


class _Before:
    """Rows prepared and wrapped."""

    def __init__(self, function: Callable[[dict[str, Any]], dict[str, Any]] | None) -> None:
        self.function, self.__name__ = function, "preprocess"

    def __call__(self, table: pa.Table) -> pa.Table:
        from rayjup.data.block.convert import iter_rows

        rows = list(iter_rows(table))
        # Columns are carried over: what preprocess returns comes on top of the row.
        made = rows if self.function is None else [{**row, **self.function(row)} for row in rows]
        return to_block(made)


class _After:
    """Rows unwrapped and finished."""

    def __init__(self, function: Callable[[dict[str, Any]], dict[str, Any]] | None) -> None:
        self.function, self.__name__ = function, "postprocess"

    def __call__(self, table: pa.Table) -> pa.Table:
        from rayjup.data.block.convert import rows_to_table

        if COLUMN not in table.column_names:
            return table
        rows = to_rows(table)
        return rows_to_table(rows if self.function is None else [self.function(row) for row in rows])


class Processor:
    """A function over datasets; made by ``build_processor``.

    Parameters
    ----------
    config
        What it is set up with.
    stages
        Its stages, in order.
    preprocess, postprocess
        Functions of a row, before and after the stages.
    preprocess_map_kwargs, postprocess_map_kwargs
        What their workers need.
    """

    def __init__(
        self,
        config: configs.ProcessorConfig,
        stages: list[Stage],
        preprocess: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        postprocess: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        preprocess_map_kwargs: dict[str, Any] | None = None,
        postprocess_map_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.config, self.preprocess, self.postprocess = config, preprocess, postprocess
        self.preprocess_map_kwargs = dict(preprocess_map_kwargs or {})
        self.postprocess_map_kwargs = dict(postprocess_map_kwargs or {})
        self.stages: dict[str, Stage] = {}
        for stage in stages:
            name, number = stage.name, 1
            while name in self.stages:
                name, number = f"{stage.name}_{number}", number + 1
            self.stages[name] = stage

    def __call__(self, dataset: Dataset) -> Dataset:
        """The dataset with all stages applied; lazily."""
        form: dict[str, Any] = {"batch_format": "pyarrow"}
        out = dataset.map_batches(_Before(self.preprocess), **form, **self.preprocess_map_kwargs)
        for stage in self.stages.values():
            out = out.map_batches(
                stage.work, fn_constructor_kwargs=stage.arguments, **form, **stage.map_kwargs
            )
        return out.map_batches(_After(self.postprocess), **form, **self.postprocess_map_kwargs)

    def list_stage_names(self) -> list[str]:
        """The names of the stages."""
        return list(self.stages)

    def get_stage_by_name(self, name: str) -> Stage:
        """One stage; its settings may be changed before the processor is used."""
        if name not in self.stages:
            raise ValueError(f"There is no stage {name!r}; there are {', '.join(self.stages)}.")
        return self.stages[name]

    def log_input_column_names(self) -> None:
        """Log which columns the first stage needs."""
        name, stage = next(iter(self.stages.items()), ("", None))
        needed = {} if stage is None else stage.get_required_input_keys()
        logger.info("The first stage, %s, needs %s", name, ", ".join(needed) or "no column of its own")


def _map_kwargs(config: configs.ProcessorConfig, stage: Any, gpus: float = 0) -> dict[str, Any]:
    concurrency = config.concurrency if stage is None or stage.concurrency is None else stage.concurrency
    if isinstance(concurrency, list):
        concurrency = tuple(concurrency)
    out: dict[str, Any] = {"batch_size": config.batch_size, "concurrency": concurrency}
    if stage is not None:
        if stage.batch_size is not None:
            out["batch_size"] = stage.batch_size
        more = {name: getattr(stage, name) for name in ("num_cpus", "memory", "runtime_env")}
        out.update({name: value for name, value in more.items() if value is not None})
    if gpus:
        out["num_gpus"] = gpus
        if config.accelerator_type is not None:
            out["accelerator_type"] = config.accelerator_type
    return out


def _http(config: configs.HttpRequestProcessorConfig) -> list[Stage]:
    stage = configs.stage_config(configs.HttpRequestStageConfig, config.http_request_stage)
    arguments = {
        "url": config.url,
        "headers": config.headers,
        "qps": config.qps,
        "max_retries": config.max_retries,
        "base_retry_wait_time_in_s": config.base_retry_wait_time_in_s,
        "session_factory": config.session_factory,
        "threads": stage.batch_size or config.batch_size,
    }
    made = Stage("HttpRequestStage", HttpRequest, arguments, _map_kwargs(config, stage))
    return [made] if stage.enabled else []


def _serve(config: configs.ServeDeploymentProcessorConfig) -> list[Stage]:
    names = ("deployment_name", "app_name", "dtype_mapping", "should_continue_on_error", "request_timeout_s")
    arguments = {name: getattr(config, name) for name in names}
    return [Stage("ServeDeploymentStage", ServeDeployment, arguments, _map_kwargs(config, None))]


def _engine(config: Any, chat_template_kwargs: dict[str, Any] | None = None) -> list[Stage]:
    template = configs.stage_config(configs.ChatTemplateStageConfig, config.chat_template_stage)
    tokens = configs.stage_config(configs.TokenizerStageConfig, config.tokenize_stage)
    text = configs.stage_config(configs.DetokenizeStageConfig, config.detokenize_stage)
    images = configs.stage_config(configs.PrepareMultimodalStageConfig, config.prepare_multimodal_stage)
    stages = []
    arguments: dict[str, Any]
    if images.enabled:
        arguments = {"content_format": images.chat_template_content_format}
        stages.append(
            Stage("PrepareMultimodalStage", PrepareMultimodal, arguments, _map_kwargs(config, images))
        )
    if template.enabled:
        arguments = {
            "model_source": template.model_source or config.model_source,
            "chat_template": template.chat_template,
            "chat_template_kwargs": template.chat_template_kwargs or chat_template_kwargs,
        }
        stages.append(Stage("ChatTemplateStage", ChatTemplate, arguments, _map_kwargs(config, template)))
    if tokens.enabled:
        arguments = {"model_source": tokens.model_source or config.model_source}
        stages.append(Stage("TokenizeStage", Tokenize, arguments, _map_kwargs(config, tokens)))
    is_vllm = isinstance(config, configs.vLLMEngineProcessorConfig)
    arguments = {
        "model_source": config.model_source,
        "engine_kwargs": config.engine_kwargs,
        "task_type": config.task_type,
        "continue_on_error": config.should_continue_on_error,
    }
    more = _map_kwargs(config, None, gpus=config.engine_kwargs.get("tensor_parallel_size", 1))
    if config.runtime_env is not None:
        more["runtime_env"] = config.runtime_env
    name, work = ("vLLMEngineStage", VLLM) if is_vllm else ("SGLangEngineStage", SGLang)
    stages.append(Stage(name, work, arguments, more))
    if text.enabled and is_vllm and config.task_type == "generate":
        arguments = {"model_source": text.model_source or config.model_source}
        stages.append(Stage("DetokenizeStage", Detokenize, arguments, _map_kwargs(config, text)))
    return stages


_BUILDERS: dict[type, Callable[..., list[Stage]]] = {
    configs.HttpRequestProcessorConfig: _http,
    configs.ServeDeploymentProcessorConfig: _serve,
    configs.vLLMEngineProcessorConfig: _engine,
    configs.SGLangEngineProcessorConfig: _engine,
}


def build_processor(
    config: configs.ProcessorConfig,
    preprocess: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    postprocess: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    preprocess_map_kwargs: dict[str, Any] | None = None,
    postprocess_map_kwargs: dict[str, Any] | None = None,
    builder_kwargs: dict[str, Any] | None = None,
) -> Processor:
    """A processor for what a configuration describes.

    Parameters
    ----------
    config
        One of the configurations of this package.
    preprocess
        A function of a row; what it returns is added to the row, for the stages.
    postprocess
        A function of a row with all columns; what it returns becomes the row.
    preprocess_map_kwargs, postprocess_map_kwargs
        What the workers of these functions need.
    builder_kwargs
        ``chat_template_kwargs``, for configurations with an engine.

    Examples
    --------
    >>> from rayjup.data.llm import HttpRequestProcessorConfig, build_processor
    >>> config = HttpRequestProcessorConfig(url="http://localhost:8000/v1/chat/completions")
    >>> build_processor(config).list_stage_names()
    ['HttpRequestStage']
    """
    builder = _BUILDERS.get(type(config))
    if builder is None:
        known = ", ".join(kind.__name__ for kind in _BUILDERS)
        raise TypeError(f"build_processor takes one of {known}, not a {type(config).__name__}.")
    stages = builder(config, **(builder_kwargs or {}))
    return Processor(config, stages, preprocess, postprocess, preprocess_map_kwargs, postprocess_map_kwargs)
