"""Applications from configuration files, over REST, and on the command line."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import pytest
from support.clusters import poll

httpx = pytest.importorskip("httpx")
yaml = pytest.importorskip("yaml")
get = functools.partial(httpx.get, timeout=30)
T = 40.0


def config(port: int, greeting: str, mark: str, **more: object) -> dict[str, object]:
    return {
        "http_options": {"port": port},
        "applications": [
            {
                "name": "greet",
                "route_prefix": "/greet",
                "import_path": "served_app:make",
                "args": {"greeting": greeting},
                "deployments": [{"name": "Greeter", "user_config": {"mark": mark}}],
                **more,
            }
        ],
    }


def test_files(base: str, tmp_path: Path) -> None:
    from rayjup import serve
    from rayjup.serve import build

    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config(8000, "hello", "!")))
    build.deploy(build.load_config(file), wait=True)
    assert get(base + "/greet").text == "hello!"
    before = build.instance_details().applications["greet"].deployments["Greeter"].replicas[0].pid
    build.deploy(config(8000, "hello", "?"), wait=True)
    poll(lambda: get(base + "/greet").text == "hello?", T)
    after = build.instance_details().applications["greet"].deployments["Greeter"].replicas[0].pid
    assert after == before  # other settings, the same code: not restarted
    build.deploy(config(8000, "bye", "?"), wait=True)
    poll(lambda: get(base + "/greet").text == "bye?", T)
    assert build.current_config()["greet"]["args"] == {"greeting": "bye"}
    build.deploy({"applications": [{"name": "other", "import_path": "served_app:app"}]}, wait=True)
    poll(lambda: set(serve.status().applications) == {"other"}, T)
    with pytest.raises(ValueError, match="Nobody"):
        build.deploy(config(8000, "a", "b", deployments=[{"name": "Nobody"}]))


def test_what_build_writes_can_be_deployed() -> None:
    from rayjup.serve import build
    from rayjup.serve.schema import ServeDeploySchema

    paths = sys.path[:]
    written = build.build_config(["served_app:app"])
    assert sys.path == paths
    text = yaml.safe_dump(written)
    read = ServeDeploySchema.model_validate(yaml.safe_load(text))
    assert read.applications[0].deployment_names == ["Greeter"]


async def ask(method: str, path: str, **more: object) -> object:
    from rayjup.serve.rest import app

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://rest", timeout=60) as client:
        return await client.request(method, path, **more)


def test_rest(base: str) -> None:
    import asyncio

    from rayjup import serve

    def call(method: str, path: str, **more: object) -> object:
        return asyncio.run(ask(method, path, **more))

    wanted = config(8000, "rest", "!", external_scaler_enabled=True)
    assert call("PUT", "/api/serve/applications/", json=wanted).status_code == 200
    apps = lambda: serve.status().applications  # noqa: E731
    poll(lambda: [app.status for name, app in apps().items() if name == "greet"] == ["RUNNING"], T)
    found = call("GET", "/api/serve/applications/").json()
    app = found["applications"]["greet"]
    assert (app["status"], app["source"]) == ("RUNNING", "declarative")
    assert app["deployed_app_config"]["import_path"] == "served_app:make"
    assert app["deployments"]["Greeter"]["replicas"][0]["state"] == "RUNNING"
    assert call("GET", "/api/serve/applications/?api_type=imperative").json()["applications"] == {}
    assert call("GET", "/api/serve/applications/?api_type=x").status_code == 400
    scale = "/api/v1/applications/greet/deployments/Greeter/scale"
    assert call("POST", scale, json={"target_num_replicas": 2}).status_code == 200
    poll(lambda: apps()["greet"].deployments["Greeter"].replica_states == {"RUNNING": 2}, T)
    assert call("POST", scale, json={"target_num_replicas": -1}).status_code == 400
    broken = {"applications": [{"import_path": "no_colon"}]}
    assert call("PUT", "/api/serve/applications/", json=broken).status_code == 400
    assert call("GET", "/api/ray/version").json()["version"]


def test_command_line(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    from rayjup.serve.scripts import main

    folder = os.path.dirname(__file__)
    assert main(["deploy", "served_app:make", "greeting=yo", "--app-dir", folder, "--name", "cli"]) == 0
    poll(lambda: get(base).text == "yo.", T)
    capsys.readouterr()
    assert main(["status", "--name", "cli"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["status"] == "RUNNING"
    assert main(["config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["import_path"] == "served_app:make"
    assert main(["status", "--name", "nobody"]) == 1
    assert main(["build", "served_app:app", "--app-dir", folder]) == 0
    assert "served_app:app" in capsys.readouterr().out


def test_from_zero_replicas_and_back(base: str) -> None:
    from rayjup import serve

    @serve.deployment(
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_wait_loop_s=0.1,
        autoscaling_config={
            "min_replicas": 0,
            "max_replicas": 2,
            "downscale_delay_s": 0.3,
            "look_back_period_s": 0.5,
        },
    )
    class Rare:
        def __call__(self, request: object = None) -> str:
            return "here"

    handle = serve.run(Rare.bind())
    assert serve.status().applications["default"].deployments["Rare"].replica_states == {}
    assert handle.remote().result(timeout_s=30) == "here"  # a driver's call waits for the first one
    poll(lambda: serve.status().applications["default"].deployments["Rare"].replica_states == {}, T)
    assert get(base).text == "here"  # and so does a client of HTTP


def test_metrics_under_rays_names(base: str) -> None:
    import rayjup
    from rayjup import serve

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    def hello(request: object) -> str:
        return "hello"

    serve.run(hello.bind())
    for _ in range(3):
        get(base)

    wanted = (
        'ray_serve_num_http_requests_total{route="/",method="GET",status_code="200"',
        "ray_serve_deployment_request_counter",
        "ray_serve_deployment_processing_latency_ms_bucket",
    )

    def complete() -> bool:
        text = rayjup.observe.metrics_text()
        return all(name in text for name in wanted)

    poll(complete, T)


def test_what_a_notebook_shows(base: str) -> None:
    from rayjup import serve

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    def hello(request: object) -> str:
        return "hello"

    handle = serve.run(hello.bind())
    shown = handle._repr_mimebundle_()
    assert base + "/" in shown["text/html"]
    assert "hello: HEALTHY, 1/1 replicas" in shown["text/plain"]
