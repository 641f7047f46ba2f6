"""Language models over datasets: requests to a service of this machine, templates and tokens."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rayjup.data
from rayjup.data.llm import (
    ChatTemplateStageConfig,
    HttpRequestProcessorConfig,
    HttpRequestStageConfig,
    ProcessorConfig,
    ServeDeploymentProcessorConfig,
    SGLangEngineProcessorConfig,
    build_processor,
    vLLMEngineProcessorConfig,
)
from rayjup.data.llm.stages import to_block, to_rows
from rayjup.data.llm.text import ChatTemplate, Detokenize, PrepareMultimodal, Tokenize

pytestmark = pytest.mark.usefixtures("ray_cluster")


class Service(http.server.BaseHTTPRequestHandler):
    """Doubles numbers; refuses the first request for 3, and all for 99."""

    seen: list[Any] = []
    refused: set[int] = set()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Service.seen.append(body)
        number = body["n"]
        status = 200
        if number == 99 or (number == 3 and 3 not in Service.refused):
            Service.refused.add(number)
            status = 400 if number == 99 else 429
        answer = json.dumps({"double": number * 2, "token": self.headers["Authorization"]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Service.seen, Service.refused = [], set()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def config(url: str, **more: Any) -> HttpRequestProcessorConfig:
    settings = {"max_retries": 2, "base_retry_wait_time_in_s": 0.01, "batch_size": 4, **more}
    return HttpRequestProcessorConfig(url=url, headers={"Authorization": "Bearer t"}, **settings)


def test_requests_are_sent_again_and_rows_stay_as_they_were(url: str) -> None:
    def before(row: dict[str, Any]) -> dict[str, Any]:
        return {"payload": {"n": row["id"], **({"odd": True} if row["id"] % 2 else {})}}

    def after(row: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": row["id"],
            "double": row["http_response"]["double"],
            "token": row["http_response"]["token"],
        }

    processor = build_processor(config(url, http_request_stage={"num_cpus": 1}), before, after)
    rows = processor(rayjup.data.range(6)).take_all()
    assert sorted((row["id"], row["double"]) for row in rows) == [(n, 2 * n) for n in range(6)]
    assert rows[0]["token"] == "Bearer t"
    assert len(Service.seen) == 7
    # Each request has the keys that it was given, and not those of its neighbours.
    assert all(("odd" in body) == bool(body["n"] % 2) for body in Service.seen)


def test_a_request_that_fails_says_so(url: str) -> None:
    processor = build_processor(config(url), lambda row: {"payload": {"n": 99}})
    with pytest.raises(Exception, match="failed after 1 attempts: status 400"):
        processor(rayjup.data.range(1)).take_all()
    with pytest.raises(Exception, match="needs 'payload' in each row"):
        build_processor(config(url))(rayjup.data.range(1)).take_all()


def test_stages_of_engines() -> None:
    vllm = vLLMEngineProcessorConfig(
        model_source="m",
        chat_template_stage=ChatTemplateStageConfig(batch_size=7),
        prepare_multimodal_stage=True,
    )
    processor = build_processor(vllm, builder_kwargs={"chat_template_kwargs": {"enable_thinking": True}})
    assert processor.list_stage_names() == [
        "PrepareMultimodalStage",
        "ChatTemplateStage",
        "TokenizeStage",
        "vLLMEngineStage",
        "DetokenizeStage",
    ]
    stage = processor.get_stage_by_name("ChatTemplateStage")
    assert stage.map_kwargs["batch_size"] == 7
    assert stage.arguments["chat_template_kwargs"] == {"enable_thinking": True}
    sglang = SGLangEngineProcessorConfig(model_source="m", tokenize_stage=False)
    assert build_processor(sglang).list_stage_names() == ["ChatTemplateStage", "SGLangEngineStage"]
    serve = ServeDeploymentProcessorConfig(deployment_name="d")
    assert build_processor(serve).list_stage_names() == ["ServeDeploymentStage"]
    with pytest.raises(ValueError, match="no stage 'nope'"):
        processor.get_stage_by_name("nope")


def test_settings(tmp_path: Path) -> None:
    assert ProcessorConfig(concurrency=(1, 3)).get_concurrency() == {"min_size": 1, "max_size": 3}
    assert ProcessorConfig(concurrency=2).get_concurrency(False) == {"size": 2}
    (tmp_path / "c.yaml").write_text("url: http://x\nqps: 3\n")
    assert HttpRequestProcessorConfig.from_file(str(tmp_path / "c.yaml"), max_retries=1).qps == 3
    for wrong, message in (
        (lambda: ProcessorConfig(concurrency=0), "positive number or a pair"),
        (lambda: HttpRequestStageConfig(concurrency=(3, 1)), "in order"),
        (lambda: HttpRequestProcessorConfig.parse_yaml("nope: 1"), "no setting 'nope'"),
        (lambda: vLLMEngineProcessorConfig(model_source="m", task_type="sing"), "'sing'"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
    with pytest.raises(TypeError, match="takes one of HttpRequestProcessorConfig"):
        build_processor(ProcessorConfig())


def test_templates_and_tokens(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: place for place, word in enumerate(["[UNK]", "user", "hello", "world", ":", "assistant"])}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]")
    made.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    made.save_pretrained(str(tmp_path))
    rows = to_block([{"messages": [{"role": "user", "content": "hello world"}]}])
    prompted = ChatTemplate(str(tmp_path))(rows)
    assert to_rows(prompted)[0]["prompt"] == "user: hello world assistant:"
    (row,) = to_rows(Tokenize(str(tmp_path))(prompted))
    assert row["tokenized_prompt"] == [1, 4, 2, 3, 5, 4]
    (row,) = to_rows(Detokenize(str(tmp_path))(to_block([{"generated_tokens": [2, 3]}])))
    assert row["generated_text"] == "hello world"


def test_images_of_messages(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (3, 2)).save(tmp_path / "i.png")
    content = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": str(tmp_path / "i.png")}},
        {"type": "image", "image": (tmp_path / "i.png").read_bytes()},
    ]
    (row,) = to_rows(PrepareMultimodal()(to_block([{"messages": [{"role": "user", "content": content}]}])))
    assert [one.size for one in row["image"]] == [(3, 2), (3, 2)]
    assert row["messages"] == [{"role": "user", "content": "what?"}]
    with pytest.raises(ValueError, match="names no image"):
        PrepareMultimodal().process([{"messages": [{"role": "user", "content": [{"type": "image"}]}]}])
