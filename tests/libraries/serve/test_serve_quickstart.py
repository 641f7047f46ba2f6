"""The quick-start of Ray's documentation, in both spellings, on the port it names."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("requests")

_BOTH = """
import requests
from starlette.requests import Request
from typing import Dict
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier
from ray import serve

iris_dataset = load_iris()
model = GradientBoostingClassifier()
model.fit(iris_dataset["data"], iris_dataset["target"])

{decorator}
class BoostingModel:
    def __init__(self, model):
        self.model = model
        self.label_list = iris_dataset["target_names"].tolist()

    async def __call__(self, request: Request) -> Dict:
        payload = (await request.json())["vector"]
        print(f"Received http request with data {{payload}}")
        prediction = self.model.predict([payload])[0]
        human_name = self.label_list[prediction]
        return {{"result": human_name}}

{run}
sample = {{"vector": [1.2, 1.0, 1.1, 0.9]}}
print(requests.get("http://localhost:8000/iris", json=sample).text)
serve.shutdown()
"""
_SPELLINGS = {
    "today": ("@serve.deployment", 'serve.run(BoostingModel.bind(model), route_prefix="/iris")'),
    "older": ('@serve.deployment(route_prefix="/iris")', "serve.run(BoostingModel.bind(model))"),
    "oldest": (
        '@serve.deployment(route_prefix="/iris")',
        "serve.start(); BoostingModel.deploy(model)",
    ),
}


@pytest.mark.parametrize("spelling", _SPELLINGS)
def test_quickstart(spelling: str, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8000))
        except OSError:
            pytest.skip("another program has port 8000")
    decorator, run = _SPELLINGS[spelling]
    program = tmp_path / "quickstart.py"
    program.write_text(_BOTH.format(decorator=decorator, run=run))
    done = subprocess.run(
        [sys.executable, "-m", "rayjup.as_ray", str(program)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert '{"result":"versicolor"}' in done.stdout, done.stderr
    assert "Received http request with data [1.2, 1.0, 1.1, 0.9]" in done.stdout + done.stderr
