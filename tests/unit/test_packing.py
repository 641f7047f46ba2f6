"""Packages of directories: what goes in, that they are the same for the same files, and their limits."""

from __future__ import annotations

import os
import threading
import zipfile
from pathlib import Path

import pytest

from rayjup.base.runtime_env import RuntimeEnv
from rayjup.core import packing
from rayjup.core.environments import Environments
from rayjup.engine.node import environment_cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYJUP_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def names(path: Path, excludes: list[str] | None = None, inside: str = "") -> list[str]:
    return [e.name for e in packing.entries_of(str(path), excludes or [], inside)]


def make(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_what_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(
        tmp_path / "job",
        {
            "main.py": "",
            "a.log": "",
            "data/big.bin": "",
            "data/keep.bin": "",
            "sub/.gitignore": "/only_here\n",
            "sub/only_here": "",
            "other/only_here": "",
            "venv/bin/python": "",
            "sub/__pycache__/x.pyc": "",
            ".gitignore": "*.log\n",
            ".rayignore": "data/*\n!data/keep.bin\n",
            "notes.md": "",
        },
    )
    (root / "empty").mkdir()
    found = names(root, ["*.md"])
    assert found == [
        ".gitignore",
        ".rayignore",
        "data/",
        "data/keep.bin",
        "empty/",
        "main.py",
        "other/",
        "other/only_here",
        "sub/",
        "sub/.gitignore",
    ]
    assert "a.log" in names(root, ["!a.log"]), "the option has the last word"
    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    assert "a.log" in names(root) and "data/big.bin" not in names(root)
    monkeypatch.setenv("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "")
    assert "venv/bin/python" in names(root)
    assert names(root, ["*"], "top/") == []
    assert names(root / "main.py") == ["main.py"]


def test_links(tmp_path: Path) -> None:
    root = make(tmp_path / "job", {"sub/a.py": "1"})
    outside = make(tmp_path / "outside", {"b.py": "2"})
    (root / "loop").symlink_to(root)
    (root / "sub" / "up").symlink_to(root)
    (root / "out").symlink_to(outside)
    (root / "nothing").symlink_to(tmp_path / "nothing")
    assert names(root) == ["out/", "out/b.py", "sub/", "sub/a.py"]


def test_the_same_files_are_the_same_package(tmp_path: Path, cache: Path) -> None:
    uris = []
    for place in ("one", "two"):
        root = make(tmp_path / place, {"a.py": "1", "b/c.py": "2"})
        os.chmod(root / "a.py", 0o600 if place == "one" else 0o644)
        uri, held = packing.pack(packing.entries_of(str(root), []))
        held.release()
        uris.append(uri)
    assert uris[0] == uris[1]
    assert len(list((cache / "packages").glob("*.zip"))) == 1
    (tmp_path / "two" / "a.py").write_text("x")
    uri, held = packing.pack(packing.entries_of(str(tmp_path / "two"), []))
    assert uri != uris[0]
    with zipfile.ZipFile(held.path) as archive:
        assert archive.read("a.py") == b"x" and archive.read("b/c.py") == b"2"
    held.release()
    assert oct((cache).stat().st_mode & 0o777) == "0o700"


def test_a_program_stays_one(tmp_path: Path, cache: Path) -> None:
    root = make(tmp_path / "job", {"run.sh": "#!/bin/sh\n"})
    plain, held = packing.pack(packing.entries_of(str(root), []))
    held.release()
    os.chmod(root / "run.sh", 0o755)
    changed, held = packing.pack(packing.entries_of(str(root), []))
    assert changed != plain
    with zipfile.ZipFile(held.path) as archive:
        assert archive.getinfo("run.sh").external_attr >> 16 & 0o111
    held.release()


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "job", {"large.bin": "x" * 3_000_000, "small": ""})
    monkeypatch.setenv("RAYJUP_PACKAGE_LIMIT_MB", "2")
    with pytest.raises(ValueError) as raised:
        packing.entries_of(str(root), [])
    assert "has 3 MiB in 2 files, and packages may have 2 MiB. The largest: large.bin (3 MiB)" in str(
        raised.value
    )
    assert names(root, ["large.bin"]) == ["small"]


def test_a_directory_is_read_again_only_when_it_has_changed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make(tmp_path / "job", {"a.py": "1"})
    packed = []
    real = packing.pack
    monkeypatch.setattr(packing, "pack", lambda entries: packed.append(1) or real(entries))
    environments = Environments()
    given = RuntimeEnv(working_dir=str(root))
    first = environments.key(given)
    assert environments.key(given) == first and len(packed) == 1
    (root / "a.py").write_text("22")
    assert environments.key(given) != first and len(packed) == 2
    environments.close()


def test_modules_hooks_and_archives(tmp_path: Path, cache: Path) -> None:
    package = make(tmp_path / "mine", {"__init__.py": ""})
    archive = tmp_path / "job.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.py", "1")
    wheel = tmp_path / "w-1-py3-none-any.whl"
    wheel.write_bytes(archive.read_bytes())
    environments = Environments({"env_vars": {"A": "1"}})

    def hook() -> None:
        pass

    resolved = environments.resolve(
        RuntimeEnv(
            working_dir=str(archive), py_modules=[str(package), str(wheel)], worker_process_setup_hook=hook
        )
    )
    zipped, kept = (environment_cache.packages_dir() + "/" + uri[6:] for uri in resolved["py_modules"])
    assert zipfile.ZipFile(zipped).namelist() == ["mine/__init__.py"]
    assert kept.endswith("_w-1-py3-none-any.whl")
    assert resolved["worker_process_setup_hook"].endswith(".pkl")
    assert (
        Path(environment_cache.packages_dir(), resolved["working_dir"][6:]).read_bytes()
        == archive.read_bytes()
    )
    assert environment_cache.trim(0) == [], "the driver holds what it has packed"
    lock = threading.Lock()
    with pytest.raises(TypeError, match="cannot be sent to other processes"):
        environments.resolve(RuntimeEnv(worker_process_setup_hook=lambda: lock))
    environments.close()
