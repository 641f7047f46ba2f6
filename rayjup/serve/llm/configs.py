"""Settings of models and of what serves them."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from rayjup.serve.config import imported

__all__ = ["CloudMirrorConfig", "LLMConfig", "LLMServingArgs", "LoraConfig", "ModelLoadingConfig"]

M = TypeVar("M", bound="_Extended")
ENGINES = ("torch", "custom")


class _Extended(BaseModel):
    model_config = ConfigDict(protected_namespaces=(), arbitrary_types_allowed=True, extra="forbid")

    @classmethod
    def parse_yaml(cls: type[M], file: Any, **kwargs: Any) -> M:
        """From YAML: a text, or an open file."""
        import yaml  # only files need it

        return cls.model_validate({**(yaml.safe_load(file) or {}), **kwargs})

    @classmethod
    def from_file(cls: type[M], path: str, **kwargs: Any) -> M:
        """From a file of YAML or JSON."""
        return cls.parse_yaml(Path(path).read_text(), **kwargs)


class CloudMirrorConfig(_Extended):
    """A copy of a model in a bucket."""

    bucket_uri: str | None = None
    extra_files: list[dict[str, str]] = Field(default_factory=list)

    @field_validator("bucket_uri")
    @classmethod
    def check_uri_format(cls, value: str | None) -> str | None:
        """Only addresses that can be read from."""
        if value is not None and value.partition("://")[0] not in ("s3", "gs", "abfss", "azure", "file"):
            raise ValueError(
                f"bucket_uri must start with s3://, gs://, abfss://, azure:// or file://, got {value!r}."
            )
        return value

    @property
    def storage_type(self) -> str | None:
        """What kind of storage it is in: ``"s3"``, ``"gcs"`` …"""
        kind = (self.bucket_uri or "").partition("://")[0]
        return {"gs": "gcs", "": None}.get(kind, kind)


class ModelLoadingConfig(_Extended):
    """Which model, and where it comes from.

    Parameters
    ----------
    model_id
        Its name in requests.
    model_source
        For the engine ``"torch"``: ``module:function`` that gives ``(model, tokenizer)``, or a name or
        directory of Hugging Face's (needs transformers); by default ``model_id``.
    """

    model_id: str
    model_source: str | CloudMirrorConfig | Any | None = None
    tokenizer_source: str | None = None


class LoraConfig(_Extended):
    """Where adapters of the model are, and how many are kept."""

    dynamic_lora_loading_path: str | None = None
    max_num_adapters_per_replica: int = 16
    download_timeout_s: float | None = 30.0
    max_download_tries: int = 3

    @field_validator("dynamic_lora_loading_path")
    @classmethod
    def validate_dynamic_lora_loading_path(cls, value: str | None) -> str | None:
        """Without a slash at its end."""
        return value.rstrip("/") if value is not None else None


class InputModality(str, enum.Enum):
    """What a model takes."""

    text = "text"
    image = "image"


class LLMConfig(_Extended):
    """A model, its engine, and its deployment.

    Examples
    --------
    >>> from rayjup.serve.llm import LLMConfig
    >>> config = LLMConfig(model_loading_config={"model_id": "tiny", "model_source": "pkg.tiny:load"})
    >>> config.model_id, config.llm_engine
    ('tiny', 'torch')
    """

    runtime_env: dict[str, Any] | None = None
    model_loading_config: ModelLoadingConfig
    llm_engine: str = "torch"
    engine_kwargs: dict[str, Any] = Field(default_factory=dict)
    accelerator_type: str | None = None
    placement_group_config: dict[str, Any] | None = None
    lora_config: LoraConfig | None = None
    deployment_config: dict[str, Any] = Field(default_factory=dict)
    experimental_configs: dict[str, Any] = Field(default_factory=dict)
    log_engine_metrics: bool | None = True
    callback_config: dict[str, Any] = Field(default_factory=dict)
    server_cls: Any = None
    _modality: InputModality = PrivateAttr(default=InputModality.text)
    _length: int | None = PrivateAttr(default=None)
    _callback: Any = PrivateAttr(default=None)
    _architecture: str = PrivateAttr(default="")

    @property
    def model_id(self) -> str:
        """The model's name in requests."""
        return self.model_loading_config.model_id

    @field_validator("llm_engine")
    @classmethod
    def validate_llm_engine(cls, value: str) -> str:
        """Only engines that are there."""
        if value not in ENGINES:
            raise ValueError(
                f"llm_engine must be one of {', '.join(ENGINES)}, got {value!r}. Another engine is given as "
                "a class: "
                'llm_engine="custom", engine_kwargs={"engine_cls": "module:Class"}.'
            )
        return value

    @field_validator("accelerator_type")
    @classmethod
    def validate_accelerator_type(cls, value: str | None) -> str | None:
        """A name, not an empty one."""
        if value is not None and not value:
            raise ValueError("accelerator_type must be a name such as 'A10G', or None.")
        return value

    @field_validator("deployment_config")
    @classmethod
    def validate_deployment_config(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Options of deployments only."""
        from rayjup.serve.schema import DeploymentSchema

        DeploymentSchema(name="model", **{k: v for k, v in value.items() if k != "name"})
        return value

    @field_validator("experimental_configs")
    @classmethod
    def validate_experimental_configs(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Names are texts."""
        if not all(isinstance(key, str) for key in value):
            raise ValueError("the names in experimental_configs must be strings.")
        return value

    @field_validator("lora_config")
    @classmethod
    def validate_lora_config(cls, value: Any) -> Any:
        """Settings as a dictionary will do."""
        return LoraConfig.model_validate(value) if isinstance(value, dict) else value

    @field_validator("model_loading_config", mode="before")
    @classmethod
    def validate_model_loading_config(cls, value: Any) -> Any:
        """Settings as a dictionary will do."""
        return ModelLoadingConfig.model_validate(value) if isinstance(value, dict) else value

    @field_validator("server_cls")
    @classmethod
    def validate_server_cls(cls, value: Any) -> Any:
        """A class, or where it is."""
        return imported(value) if isinstance(value, str) else value

    @property
    def input_modality(self) -> str:
        """What the model takes."""
        return self._modality.value

    @property
    def supports_vision(self) -> bool:
        """Whether it takes images."""
        return self._modality is InputModality.image

    @property
    def max_request_context_length(self) -> int | None:
        """How many tokens a request may have."""
        given = self.engine_kwargs.get("max_model_len")
        return given if given is not None else self._length

    @property
    def model_architecture(self) -> str:
        """The class of the model, as its own configuration names it (``""`` where it is not known)."""
        return self._architecture

    def apply_checkpoint_info(
        self, model_id_or_path: str, trust_remote_code: bool = False, hf_config: Any = None
    ) -> None:
        """Take over from a model's own configuration what it takes, and how much of it."""
        if hf_config is None:
            from transformers import AutoConfig  # models of Hugging Face's need it

            hf_config = AutoConfig.from_pretrained(model_id_or_path, trust_remote_code=trust_remote_code)
        if getattr(hf_config, "vision_config", None) is not None:
            self._modality = InputModality.image
        self._length = getattr(hf_config, "max_position_embeddings", self._length)
        self._architecture = next(iter(getattr(hf_config, "architectures", None) or ()), "")

    def get_engine_config(self) -> dict[str, Any]:
        """What the engine gets."""
        return {"model": self.model_loading_config.model_source or self.model_id, **self.engine_kwargs}

    def update_engine_kwargs(self, **kwargs: Any) -> None:
        """Change what the engine gets."""
        self.engine_kwargs.update(kwargs)

    def setup_engine_backend(self) -> None:
        """Set up what the engine needs beside itself; those that are here need nothing."""
        callback = self.get_or_create_callback()
        if callback is not None:
            callback(self)

    def get_or_create_callback(self) -> Any:
        """What ``callback_config`` names, made once."""
        if self._callback is None and self.callback_config.get("callback_class"):
            class_ = imported(self.callback_config["callback_class"])
            self._callback = class_(**self.callback_config.get("callback_kwargs", {}))
        return self._callback

    def multiplex_config(self) -> dict[str, Any]:
        """How many adapters a replica keeps."""
        lora = self.lora_config or LoraConfig()
        return {
            "max_num_models_per_replica": lora.max_num_adapters_per_replica,
            "download_timeout_s": lora.download_timeout_s,
            "max_download_tries": lora.max_download_tries,
        }

    @property
    def kv_connector_backend(self) -> Any:
        """How caches travel between engines; these send tokens instead."""
        return self.engine_kwargs.get("kv_transfer_config")


class LLMServingArgs(_Extended):
    """The arguments of :func:`build_openai_app`."""

    llm_configs: list[str | dict[str, Any] | LLMConfig]
    ingress_cls_config: dict[str, Any] = Field(default_factory=dict)
    ingress_deployment_config: dict[str, Any] | None = None

    def configs(self) -> list[LLMConfig]:
        """The models, whichever way they were given.

        Raises
        ------
        ValueError
            Two have the same name, or there are none.
        """
        found = []
        for one in self.llm_configs:
            if isinstance(one, str):
                found.append(LLMConfig.from_file(one))
            else:
                found.append(one if isinstance(one, LLMConfig) else LLMConfig.model_validate(one))
        names = [one.model_id for one in found]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"llm_configs must be models with different model_ids, got {names}.")
        return found
