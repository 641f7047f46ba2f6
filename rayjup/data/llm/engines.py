"""Engines on the workers: vLLM, SGLang, deployments of Serve. Each through its own package."""

from __future__ import annotations

import importlib
import time
from typing import Any

from rayjup.data.datasource.pieces import need
from rayjup.data.llm.stages import Work


class VLLM(Work):
    """vLLM's offline engine.

    Parameters
    ----------
    model_source, engine_kwargs
        The model, and arguments of ``vllm.LLM``.
    task_type
        ``generate``, ``embed``, ``classify`` or ``score``.
    continue_on_error
        Whether a batch that fails is marked instead of ending the run.
    """

    def __init__(
        self, model_source: str, engine_kwargs: dict[str, Any], task_type: str, continue_on_error: bool
    ) -> None:
        self._vllm = need("vllm", "vLLMEngineProcessorConfig")
        self._engine = self._vllm.LLM(model=model_source, **engine_kwargs)
        self._task, self._go_on = task_type, continue_on_error

    def process(self, rows: list[dict[str, Any]]) -> None:
        """All rows in one call of the engine, which batches by itself."""
        begun = time.perf_counter()
        try:
            getattr(self, f"_{self._task}")(rows)
        except (ValueError, RuntimeError) as error:
            if not self._go_on:
                raise
            for row in rows:
                row["__inference_error__"] = f"{type(error).__name__}: {error}"
        for row in rows:
            row["time_taken_llm"] = time.perf_counter() - begun

    @staticmethod
    def _prompts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        prompts: list[dict[str, Any]] = []
        for row in rows:
            tokens = row.get("tokenized_prompt")
            prompt: dict[str, Any] = {"prompt_token_ids": list(tokens)} if tokens is not None else {}
            if tokens is None:
                prompt["prompt"] = row["prompt"]
            if row.get("image"):
                prompt["multi_modal_data"] = {"image": row["image"]}
            prompts.append(prompt)
        return prompts

    def _generate(self, rows: list[dict[str, Any]]) -> None:
        settings = [self._vllm.SamplingParams(**dict(row.get("sampling_params") or {})) for row in rows]
        outputs = self._engine.generate(self._prompts(rows), settings, use_tqdm=False)
        for row, output in zip(rows, outputs, strict=True):
            best = output.outputs[0]
            row["generated_text"], row["generated_tokens"] = best.text, list(best.token_ids)
            row["num_input_tokens"] = len(output.prompt_token_ids)
            row["num_generated_tokens"] = len(best.token_ids)

    def _embed(self, rows: list[dict[str, Any]]) -> None:
        for row, output in zip(rows, self._engine.embed(self._prompts(rows), use_tqdm=False), strict=True):
            row["embeddings"] = list(output.outputs.embedding)

    def _classify(self, rows: list[dict[str, Any]]) -> None:
        for row, output in zip(rows, self._engine.classify(self._prompts(rows), use_tqdm=False), strict=True):
            row["probs"] = list(output.outputs.probs)

    def _score(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            (output,) = self._engine.score(row["text_1"], row["text_2"], use_tqdm=False)
            row["score"] = output.outputs.score


class SGLang(Work):
    """SGLang's offline engine; parameters as for ``VLLM``."""

    needed = ("prompt",)

    def __init__(
        self, model_source: str, engine_kwargs: dict[str, Any], task_type: str, continue_on_error: bool
    ) -> None:
        sglang = need("sglang", "SGLangEngineProcessorConfig")
        self._engine = sglang.Engine(model_path=model_source, **engine_kwargs)

    def process(self, rows: list[dict[str, Any]]) -> None:
        """All rows in one call of the engine."""
        outputs = self._engine.generate(
            prompt=[row["prompt"] for row in rows],
            sampling_params=[dict(row.get("sampling_params") or {}) for row in rows],
        )
        for row, output in zip(rows, outputs, strict=True):
            row["generated_text"] = output["text"]
            row["num_generated_tokens"] = output["meta_info"]["completion_tokens"]
            row["num_input_tokens"] = output["meta_info"]["prompt_tokens"]


class ServeDeployment(Work):
    """Calls a deployment of Serve.

    Parameters
    ----------
    deployment_name, app_name, dtype_mapping, should_continue_on_error, request_timeout_s
        As for ``ServeDeploymentProcessorConfig``.
    """

    needed = ("method", "request_kwargs")

    def __init__(
        self,
        deployment_name: str,
        app_name: str,
        dtype_mapping: dict[str, type[Any]] | None,
        should_continue_on_error: bool,
        request_timeout_s: float | None,
    ) -> None:
        # Serve lies above datasets; it is there if somebody has set up a deployment.
        serve = importlib.import_module("rayjup.serve")
        self._handle = serve.get_deployment_handle(deployment_name, app_name)
        self._types, self._go_on = dict(dtype_mapping or {}), should_continue_on_error
        self._timeout = request_timeout_s

    def process(self, rows: list[dict[str, Any]]) -> None:
        """All requests first, then all answers."""
        sent = [self._send(row) for row in rows]
        for row, response in zip(rows, sent, strict=True):
            try:
                answer = response.result(timeout_s=self._timeout)
            except (TimeoutError, RuntimeError, ValueError) as error:
                if not self._go_on:
                    raise
                row["__inference_error__"] = f"{type(error).__name__}: {error}"
                continue
            row.update(answer.model_dump() if hasattr(answer, "model_dump") else dict(answer))

    def _send(self, row: dict[str, Any]) -> Any:
        request = dict(row["request_kwargs"])
        kind = row.get("dtype")
        if kind is not None:
            if kind not in self._types:
                raise ValueError(
                    f"dtype={kind!r} is not in dtype_mapping: {', '.join(self._types) or 'empty'}."
                )
            return getattr(self._handle, row["method"]).remote(self._types[kind](**request))
        return getattr(self._handle, row["method"]).remote(request)
