"""Rules of the repository that no other tool checks."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 1000


def tracked(*patterns: str) -> list[Path]:
    out = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if out.returncode != 0:
        pytest.skip(f"not a git checkout, so there is no list of tracked files: {out.stderr.strip()}")
    return [ROOT / line for line in out.stdout.splitlines() if (ROOT / line).is_file()]


def imported_modules(path: Path) -> set[str]:
    """Top-level names of everything ``path`` imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_no_source_file_is_longer_than_1000_lines():
    sources = tracked("*.py", "*.ts", "*.tsx", "*.mjs")
    assert sources
    long = {str(p.relative_to(ROOT)): n for p in sources if (n := len(p.read_bytes().splitlines())) > LONGEST}
    assert not long, f"split these: {long}"


def test_only_engine_and_cluster_import_dask():
    # rayjup.util.dask runs the graphs of users' own Dask collections; the cluster does without it.
    allowed = (ROOT / "rayjup" / "engine", ROOT / "rayjup" / "cluster", ROOT / "rayjup" / "util" / "dask")
    sources = tracked("rayjup/*.py", "extension/*.py", "kernels/*.py")
    assert sources
    wrong = [
        str(p.relative_to(ROOT))
        for p in sources
        if not any(p.is_relative_to(a) for a in allowed) and imported_modules(p) & {"dask", "distributed"}
    ]
    assert not wrong


def test_every_folder_of_the_packages_is_a_package_and_says_what_it_holds():
    # The check of the layers passes over folders without __init__.py, and all that is below them.
    wrong = []
    for folder in {p.parent for p in tracked("rayjup/*.py", "extension/rayjup_lab/*.py", "kernels/*/*.py")}:
        init = folder / "__init__.py"
        if not init.is_file() or not ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))):
            wrong.append(str(init.relative_to(ROOT)))
    assert not wrong, "add these, each with a docstring"


def test_benchmark_and_conformance_tests_know_only_ray():
    sources = [ROOT / "benchmarks" / "core.py", *tracked("tests/conformance/test_*.py")]
    assert len(sources) > 1
    wrong = [str(p.relative_to(ROOT)) for p in sources if "rayjup" in imported_modules(p)]
    assert not wrong


def test_no_file_is_called_utils():
    public_in_ray = {
        ROOT / "rayjup" / name
        for name in (
            "serve/utils.py",
            "tune/utils/util.py",
            "util/helpers.py",
            "widgets/util.py",
        )
    }
    assert not [
        str(p.relative_to(ROOT))
        for p in tracked("*.py")
        if p.stem in {"utils", "util", "helpers", "misc"} and p not in public_in_ray
    ]


def test_lock_files_name_no_registry():
    locks = tracked("*package-lock.json", "*yarn.lock")
    wrong = [
        str(p.relative_to(ROOT)) for p in locks if re.search(r'"resolved":|resolved "http', p.read_text())
    ]
    assert not wrong, "remove the addresses (npm: omit-lockfile-registry-resolved=true in .npmrc)"


def test_notebooks_hold_no_outputs():
    import json

    notebooks = tracked("notebooks/*.ipynb")
    wrong = [
        f"{p.name}: cell {number}"
        for p in notebooks
        for number, cell in enumerate(json.loads(p.read_text(encoding="utf-8"))["cells"])
        if cell.get("outputs") or cell.get("execution_count")
    ]
    assert not wrong, "strip them (jupyter nbconvert --clear-output --inplace)"
