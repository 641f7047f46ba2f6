"""Language models over datasets: requests to services, chat templates, tokens, engines.

Map: ``configs`` (what a processor and its stages are set up with), ``processor`` (preprocessing, stages,
postprocessing as one function over datasets), ``http`` (requests), ``text`` (templates and tokens, by
``transformers``), ``engines`` (vLLM, SGLang and deployments of Serve, through their own packages).

Rows travel from stage to stage as Python has them: Arrow would give all requests of a batch the same keys.
"""

from __future__ import annotations

from rayjup.data.llm.configs import (
    ChatTemplateStageConfig,
    DetokenizeStageConfig,
    HttpRequestProcessorConfig,
    HttpRequestStageConfig,
    PrepareMultimodalStageConfig,
    ProcessorConfig,
    ServeDeploymentProcessorConfig,
    SGLangEngineProcessorConfig,
    TokenizerStageConfig,
    vLLMEngineProcessorConfig,
)
from rayjup.data.llm.processor import Processor, build_processor

__all__ = [
    "ChatTemplateStageConfig",
    "DetokenizeStageConfig",
    "HttpRequestProcessorConfig",
    "HttpRequestStageConfig",
    "PrepareMultimodalStageConfig",
    "Processor",
    "ProcessorConfig",
    "SGLangEngineProcessorConfig",
    "ServeDeploymentProcessorConfig",
    "TokenizerStageConfig",
    "build_processor",
    "vLLMEngineProcessorConfig",
]
