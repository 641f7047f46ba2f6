"""Every example in a docstring is run, on a cluster of its own or in none, and prints what it says."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("rayjup", "extension/rayjup_lab", "kernels/rayjup_kernels")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples() -> Iterator[str]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text()
            if ">>> " in text:
                parts = path.relative_to((ROOT / package).parent).with_suffix("").parts
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Examples write files where they are, and may leave a connection to the next one."""
    monkeypatch.chdir(tmp_path)
    yield
    import rayjup

    rayjup.shutdown()


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    found = 0
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        if not test.examples:
            continue
        found += 1
        lines: list[str] = []
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        runner.run(test, out=lines.append)
        assert not runner.failures, "".join(lines)
    assert found, f"{name} has examples that doctest does not find"
