"""Spans of OpenTelemetry: of the proxy, of replicas, and of the calls between them, in one trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn")
HERE = Path(__file__).parent


def ran(tmp_path: Path, apps: str, **variables: str) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """What the program prints, and its spans by their names."""
    path = tmp_path / "spans.jsonl"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
        "RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH": "span_files:processors",
        "RAY_SERVE_TRACING_SAMPLING_RATIO": "1",
        "SPAN_FILE": str(path),
        **variables,
    }
    program = subprocess.run(
        [sys.executable, str(HERE / "traced_program.py"), apps],
        cwd=HERE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert program.returncode == 0, program.stderr[-2000:]
    spans = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return program.stdout.split(), {span["name"]: span for span in spans if span["ok"]} | {
        "failed " + span["name"]: span for span in spans if not span["ok"]
    }


@pytest.mark.parametrize("apps", ["one", "two"])
def test_one_trace(tmp_path: Path, apps: str) -> None:
    pytest.importorskip("opentelemetry.sdk.trace", reason="opentelemetry-sdk is not installed")
    printed, spans = ran(tmp_path, apps)
    assert printed == ["42", "500"]
    assert {span["trace"] for span in spans.values()} == {"a" * 32}
    outer = spans["replica_handle_request Outer __call__"]
    inner = spans["replica_handle_request Inner double"]
    assert inner["parent"] == outer["id"] and inner["app"] == "outer"
    assert "failed replica_handle_request Outer __call__" in spans
    if apps == "two":  # the proxy takes the requests
        proxy = spans["proxy_http_request GET /outer"]
        assert proxy["parent"] == "b" * 16 and outer["parent"] == proxy["id"]
    else:
        assert outer["parent"] == "b" * 16
