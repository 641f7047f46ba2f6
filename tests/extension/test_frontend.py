"""The TypeScript side: it compiles, its unit tests pass, and the lock file names no registry."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path

import pytest

EXTENSION = Path(__file__).resolve().parents[2] / "extension"
TSC = EXTENSION / "node_modules" / "typescript" / "bin" / "tsc"


@pytest.fixture
def jp_server_cleanup() -> None:
    """No server here, so none to clean up."""


def test_unit_tests_of_the_panel(node: str, tmp_path: Path) -> None:
    if not TSC.is_file():
        pytest.skip("the TypeScript compiler is missing: run `npm ci` in extension/")
    # What `npm test` does, into a directory of its own.
    built = tmp_path / "built"
    compiled = subprocess.run(
        [node, str(TSC), "-p", "tsconfig.test.json", "--outDir", str(built)],
        cwd=EXTENSION,
        capture_output=True,
        text=True,
        check=False,
    )
    assert compiled.returncode == 0, compiled.stdout
    tests = sorted(str(path) for path in (built / "test").glob("*.test.js"))
    assert tests
    done = subprocess.run(
        [node, "--test", *tests], cwd=built, capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.returncode == 0, done.stdout[-6000:]


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
