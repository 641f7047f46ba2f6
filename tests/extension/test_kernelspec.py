"""The kernel "Python 3 (rayjup)": it starts this Python, activated or not, with the magics loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rayjup_kernels
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager


def run_cell(manager: KernelManager, code: str) -> tuple[str, list[Any]]:
    """What a cell printed, and its errors."""
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        texts, errors = [], []

        def hook(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["header"]["msg_type"] == "stream":
                texts.append(content["text"])
            elif message["header"]["msg_type"] == "error":
                errors.append(content["traceback"])

        client.execute_interactive(code, timeout=60, output_hook=hook)
        return "".join(texts), errors
    finally:
        client.stop_channels()


@pytest.fixture
def bare_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH on which this environment's python is not the first, as when it was never activated."""
    here = Path(sys.prefix)
    others = [p for p in os.environ["PATH"].split(os.pathsep) if here not in Path(p).parents]
    monkeypatch.setenv("PATH", os.pathsep.join(others))


@pytest.mark.usefixtures("bare_path")
def test_shipped_spec_starts_this_python_with_the_magics(tmp_path: Path) -> None:
    # Just as a wheel puts it: the directory, with argv[0] still "python".
    kernels = tmp_path / "kernels"
    kernels.mkdir()
    (kernels / "rayjup").symlink_to(rayjup_kernels.spec_dir())
    specs = KernelSpecManager(kernel_dirs=[str(kernels)])
    assert specs.get_kernel_spec("rayjup").display_name == "Python 3 (rayjup)"
    manager = KernelManager(kernel_name="rayjup", kernel_spec_manager=specs)
    manager.start_kernel()
    try:
        printed, errors = run_cell(manager, "import sys; print(sys.executable)\n%ray_init --help")
    finally:
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
    assert errors == []
    executable, help_text = printed.split("\n", 1)
    assert Path(executable) == Path(sys.executable)
    assert "--num-cpus" in help_text


def test_installing_names_the_python_in_full(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rayjup_kernels", "--prefix", str(tmp_path), "--name", "mine"],
        capture_output=True,
        text=True,
        check=True,
    )
    directory = tmp_path / "share" / "jupyter" / "kernels" / "mine"
    assert str(directory) in done.stdout
    spec = json.loads((directory / "kernel.json").read_text())
    assert spec["argv"][0] == sys.executable
    assert spec["argv"][-1] == "--ext=rayjup"
    assert {p.name for p in directory.iterdir()} == {p.name for p in rayjup_kernels.spec_dir().iterdir()}


def test_another_python_and_name_can_be_asked_for() -> None:
    spec = rayjup_kernels.kernel_json("/opt/other/bin/python", "On the cluster")
    assert (spec["argv"][0], spec["display_name"]) == ("/opt/other/bin/python", "On the cluster")
