"""Whole applications around models."""

from __future__ import annotations

from typing import Any

from rayjup.serve.api import deployment
from rayjup.serve.config import imported
from rayjup.serve.deployment import Application
from rayjup.serve.llm.configs import LLMConfig, LLMServingArgs
from rayjup.serve.llm.deployment import DPServer, LLMServer, PDDecodeServer, PDPrefillServer
from rayjup.serve.llm.ingress import OpenAiIngress, make_fastapi_ingress
from rayjup.serve.llm.openai_api_models import ModelCard

__all__ = [
    "build_dp_deployment",
    "build_dp_openai_app",
    "build_llm_deployment",
    "build_openai_app",
    "build_pd_openai_app",
]


def build_llm_deployment(
    llm_config: LLMConfig,
    *,
    name_prefix: str | None = None,
    bind_kwargs: dict[str, Any] | None = None,
    override_serve_options: dict[str, Any] | None = None,
    deployment_cls: type[LLMServer] | None = None,
) -> Application:
    """A deployment of a model, to be called through handles."""
    class_ = deployment_cls or llm_config.server_cls or LLMServer
    options = {**class_.get_deployment_options(llm_config), **(override_serve_options or {})}
    name = options.pop("name", None) or (name_prefix or f"{class_.__name__}:") + llm_config.model_id.replace(
        "/", "--"
    ).replace("#", "-")
    return deployment(class_, name=name, **options).bind(llm_config, **(bind_kwargs or {}))  # type: ignore[no-any-return]


def build_dp_deployment(
    llm_config: LLMConfig,
    *,
    name_prefix: str | None = None,
    bind_kwargs: dict[str, Any] | None = None,
    override_serve_options: dict[str, Any] | None = None,
    deployment_cls: type | None = None,
) -> Application:
    """:func:`build_llm_deployment` with ``data_parallel_size`` replicas."""
    return build_llm_deployment(
        llm_config,
        name_prefix=name_prefix or "DPServer:",
        bind_kwargs=bind_kwargs,
        override_serve_options=override_serve_options,
        deployment_cls=deployment_cls or DPServer,
    )


def build_openai_app(llm_serving_args: dict[str, Any] | LLMServingArgs) -> Application:
    """OpenAI's interface in front of models.

    Parameters
    ----------
    llm_serving_args
        ``{"llm_configs": [LLMConfig, …]}``; see :class:`~rayjup.serve.llm.LLMServingArgs`.
    """
    args = _args(llm_serving_args)
    configs = args.configs()
    return _with_ingress(configs, [build_llm_deployment(one) for one in configs], args)


def build_dp_openai_app(dp_serving_args: dict[str, Any]) -> Application:
    """OpenAI's interface in front of a model with several replicas: ``{"llm_config": LLMConfig}``."""
    config = _config(dp_serving_args["llm_config"])
    return _with_ingress([config], [build_dp_deployment(config)], None, dp_serving_args)


def build_pd_openai_app(pd_serving_args: dict[str, Any]) -> Application:
    """OpenAI's interface where one deployment reads prompts and another writes answers.

    Parameters
    ----------
    pd_serving_args
        ``{"prefill_config": LLMConfig, "decode_config": LLMConfig}``, of the same model.

    Raises
    ------
    ValueError
        They are of different models.
    """
    prefill, decode = _config(pd_serving_args["prefill_config"]), _config(pd_serving_args["decode_config"])
    if prefill.model_id != decode.model_id:
        raise ValueError(
            f"prefill and decode must be of the same model, got {prefill.model_id!r} and {decode.model_id!r}."
        )
    reads = build_llm_deployment(prefill, name_prefix="Prefill:", deployment_cls=PDPrefillServer)
    writes = build_llm_deployment(
        decode, name_prefix="Decode:", deployment_cls=PDDecodeServer, bind_kwargs={"prefill_server": reads}
    )
    return _with_ingress([decode], [writes], None, pd_serving_args)


def _args(given: Any) -> LLMServingArgs:
    return given if isinstance(given, LLMServingArgs) else LLMServingArgs.model_validate(given)


def _config(given: Any) -> LLMConfig:
    if isinstance(given, str):
        return LLMConfig.from_file(given)
    return given if isinstance(given, LLMConfig) else LLMConfig.model_validate(given)


def _with_ingress(
    configs: list[LLMConfig],
    servers: list[Application],
    args: LLMServingArgs | None,
    more: dict[str, Any] | None = None,
) -> Application:
    chosen = (args.ingress_cls_config if args else (more or {}).get("ingress_cls_config")) or {}
    class_ = imported(chosen.get("ingress_cls", OpenAiIngress))
    extra = chosen.get("ingress_extra_kwargs", {})
    given = args.ingress_deployment_config if args else (more or {}).get("ingress_deployment_config")
    options = {**class_.get_deployment_options(configs), **(given or {})}
    made = make_fastapi_ingress(class_)
    cards = {one.model_id: ModelCard(id=one.model_id) for one in configs}
    handles = {one.model_id: server for one, server in zip(configs, servers, strict=True)}
    loras = {
        one.model_id: one.lora_config.dynamic_lora_loading_path
        for one in configs
        if one.lora_config is not None and one.lora_config.dynamic_lora_loading_path
    }
    return deployment(made, **options).bind(handles, cards, lora_paths=loras, **extra)  # type: ignore[no-any-return]
