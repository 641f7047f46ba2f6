"""Servers as deployments (mirrors ``ray.serve.llm.deployment``)."""

from __future__ import annotations

import asyncio
from typing import Any

from rayjup.serve.llm.configs import LLMConfig
from rayjup.serve.llm.server import LLMServer

__all__ = ["DPServer", "LLMServer", "PDDecodeServer", "PDPrefillServer"]


class DPServer(LLMServer):
    """A server of which several replicas work side by side, each with the whole model."""

    @classmethod
    def get_deployment_options(cls, llm_config: LLMConfig) -> dict[str, Any]:
        """Options of its deployment: ``engine_kwargs["data_parallel_size"]`` replicas."""
        options = super().get_deployment_options(llm_config)
        size = llm_config.engine_kwargs.get("data_parallel_size")
        if size:
            options["num_replicas"] = int(size)
        return options


class PDPrefillServer(LLMServer):
    """Reads prompts for :class:`PDDecodeServer`."""

    async def prewarm_prefill(self, prefill_request: Any) -> dict[str, Any] | None:
        """Read a prompt; the first token that follows it."""
        await self._awake.wait()
        tokens, options = prefill_request["tokens"], prefill_request["options"]
        try:
            return {"first": await self._engine.prefill(tokens, options)}
        except StopIteration:
            return None  # nothing follows

    async def record_replica_metadata(self) -> dict[str, Any]:
        """What this replica is."""
        return {"role": "prefill", "model_id": self._config.model_id}


class PDDecodeServer(LLMServer):
    """Writes answers; prompts are read by another deployment.

    Parameters
    ----------
    prefill_server
        A handle to a :class:`PDPrefillServer` of the same model.
    """

    async def __init__(  # type: ignore[misc]
        self,
        llm_config: LLMConfig,
        *,
        prefill_server: Any,
        engine_cls: Any = None,
        model_downloader: Any = None,
    ) -> None:
        self._set_up(llm_config, engine_cls)
        self._prefill = prefill_server
        await self.start()

    async def _first(self, tokens: list[int], options: dict[str, Any]) -> int | None:
        try:
            answer = await self._prefill.prewarm_prefill.remote({"tokens": tokens, "options": options})
        except asyncio.CancelledError:
            raise
        except Exception:  # noqa: BLE001 - then this one reads the prompt itself
            return None
        return None if answer is None else int(answer["first"])
