"""Language models behind OpenAI's interface, with a tiny one of PyTorch's."""

from __future__ import annotations

import json
from typing import Any

import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("torch")


def config(**more: Any) -> Any:
    from rayjup.serve.llm import LLMConfig

    return LLMConfig(
        model_loading_config={"model_id": "tiny", "model_source": "tiny_model:load"},
        deployment_config={"ray_actor_options": {"num_cpus": 0}},
        **more,
    )


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": "go"}], "temperature": 0, **more}


def test_openai(base: str) -> None:
    from rayjup import serve
    from rayjup.serve.llm import build_openai_app

    serve.run(build_openai_app({"llm_configs": [config()]}))
    with httpx.Client(base_url=base, timeout=60) as client:
        assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["tiny"]
        assert client.get("/v1/models/tiny").json()["id"] == "tiny"
        assert client.get("/v1/models/other").status_code == 404
        body = {"model": "tiny", "prompt": "abc", "max_tokens": 5, "temperature": 0}
        answer = client.post("/v1/completions", json=body).json()
        assert answer["choices"][0]["text"] == "defgh"
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
        whole = client.post("/v1/completions", json={**body, "prompt": "w", "max_tokens": 50}).json()
        assert whole["choices"][0] == {"index": 0, "text": "xyz", "finish_reason": "stop", "logprobs": None}
        stopped = client.post("/v1/completions", json={**body, "stop": ["fg"]}).json()
        assert stopped["choices"][0]["text"] == "de"
        said = client.post("/v1/chat/completions", json=chat(max_tokens=3)).json()
        assert said["choices"][0]["message"] == {"role": "assistant", "content": "abc"}
        several = client.post("/v1/completions", json={**body, "prompt": ["a", "b"], "n": 2}).json()
        assert [c["text"] for c in several["choices"]] == ["bcdef"] * 2 + ["cdefg"] * 2
        tokens = client.post("/tokenize", json={"model": "tiny", "prompt": "ab"}).json()
        assert tokens["tokens"] == [1, 2]
        assert client.post("/detokenize", json={"model": "tiny", "tokens": [1, 2]}).json() == {"prompt": "ab"}
        vectors = client.post("/v1/embeddings", json={"model": "tiny", "input": ["a", "b"]}).json()
        assert len(vectors["data"]) == 2
        score = client.post("/v1/score", json={"model": "tiny", "text_1": "a", "text_2": ["a", "b"]}).json()
        assert score["data"][0]["score"] == pytest.approx(1.0)
        assert score["data"][1]["score"] == pytest.approx(0.0)
        assert client.post("/v1/completions", json={**body, "model": "no"}).status_code == 404
        assert client.post("/v1/completions", json={**body, "max_tokens": 0}).status_code == 400
        with client.stream("POST", "/v1/chat/completions", json=chat(max_tokens=4, stream=True)) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = [line[6:] for line in stream.iter_lines() if line.startswith("data: ")]
        assert lines[-1] == "[DONE]"
        pieces = [json.loads(line)["choices"][0] for line in lines[:-1]]
        assert "".join(p["delta"]["content"] for p in pieces) == "abcd"
        assert pieces[-1]["finish_reason"] == "length"


def test_reading_and_writing_apart(base: str) -> None:
    from rayjup import serve
    from rayjup.serve.llm import build_pd_openai_app

    serve.run(build_pd_openai_app({"prefill_config": config(), "decode_config": config()}))
    body = {"model": "tiny", "prompt": "abc", "max_tokens": 3, "temperature": 0}
    answer = httpx.post(base + "/v1/completions", json=body, timeout=60).json()
    assert answer["choices"][0]["text"] == "def"


def test_prompts_go_where_their_beginning_is_known() -> None:
    from rayjup.serve._private.common import DeploymentID, ReplicaID
    from rayjup.serve.llm.request_router import PrefixIndex

    index = PrefixIndex(1000)
    one, other = (ReplicaID(name, DeploymentID("d")) for name in ("one", "other"))
    index.add("a" * 32 + "b" * 32, one)
    index.add("a" * 32 + "c" * 32, other)
    assert index.matches("a" * 32 + "b" * 16 + "x" * 16) == {one: 0.75, other: 0.5}
    index.forget(one)
    assert index.matches("a" * 32) == {other: 1.0}
    assert index.matches("z" * 64) == {}
