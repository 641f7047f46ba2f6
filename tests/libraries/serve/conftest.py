"""A cluster that serves, for the tests of a file; modules of this folder can be imported by replicas."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("uvicorn")
sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="module")
def serving(ray_cluster: ModuleType) -> Iterator[int]:
    """The port of HTTP."""
    from rayjup import serve
    from rayjup.serve._private import client

    serve.start(http_options={"port": 0})
    yield int(client.ask("details")["http"]["port"])
    serve.shutdown()


@pytest.fixture
def base(ray_cluster: ModuleType, serving: int) -> Iterator[str]:
    """The address of HTTP; applications end with the test."""
    from rayjup import serve

    yield f"http://127.0.0.1:{serving}"
    for name in list(serve.status().applications):
        serve.delete(name)
