"""The TypeScript side: it compiles, its unit tests pass, and the lock file names no registry."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path

import pytest

EXTENSION = Path(__file__).resolve().parents[2] / "extension"
PACKAGES = EXTENSION / "node_modules"
TSC = PACKAGES / "typescript" / "bin" / "tsc"
JEST = PACKAGES / "jest" / "bin" / "jest.js"


@pytest.fixture
def jp_server_cleanup() -> None:
    """No server here, so none to clean up."""


def test_the_panel_in_a_page_with_a_fake_server(node: str, tmp_path: Path) -> None:
    """What ``npm test`` does, into a directory of its own: types are checked while the tests run."""
    for program in (TSC, JEST):
        if not program.is_file():
            pytest.skip(f"{program.name} is missing: run `npm ci` in extension/")
    environment = {**os.environ, "RAYJUP_TEST_BUILD": str(tmp_path / "built")}
    command = [node, str(TSC), "-p", "tsconfig.test.json"]
    with subprocess.Popen(command, cwd=EXTENSION, stdout=subprocess.PIPE, text=True) as checking:
        for step in (["test/build.cjs"], [str(JEST), "--config", "test/jest.config.cjs", "--ci"]):
            done = subprocess.run(
                [node, *step], cwd=EXTENSION, capture_output=True, text=True, check=False, env=environment
            )
            assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
        said, _ = checking.communicate()
    assert checking.returncode == 0, said
    assert "Tests:" in done.stderr and "failed" not in done.stderr


def test_the_lock_file_is_complete_and_names_no_registry() -> None:
    lock = json.loads((EXTENSION / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert [
        name for name, entry in packages.items() if "integrity" not in entry and "link" not in entry
    ] == []
    manifest = json.loads((EXTENSION / "package.json").read_text(encoding="utf-8"))
    for kind in ("dependencies", "devDependencies"):
        assert lock["packages"][""][kind] == manifest[kind]


def test_one_version_everywhere() -> None:
    import rayjup_lab

    manifest = json.loads((EXTENSION / "package.json").read_text(encoding="utf-8"))
    assert manifest["version"] == rayjup_lab.__version__


def test_the_built_panel_is_small_and_has_its_settings() -> None:
    built = EXTENSION / "rayjup_lab" / "labextension"
    if not built.is_dir():
        pytest.skip("the panel is not built: run `npm run build:prod` in extension/")
    size = sum(len(gzip.compress(path.read_bytes())) for path in (built / "static").glob("*.js"))
    assert 10_000 < size < 200_000
    settings = json.loads((built / "schemas" / "@rayjup" / "lab" / "plugin.json").read_text(encoding="utf-8"))
    assert settings["properties"]["statusBar"]["default"] is True
