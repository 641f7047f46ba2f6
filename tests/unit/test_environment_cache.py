"""The cache of packages and environments: made once, never half, removed only when nobody uses it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rayjup.base.paths import cache_root
from rayjup.engine.node import environment_cache as cache


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYJUP_CACHE_DIR", str(tmp_path / "cache"))


def write(path: str) -> None:
    Path(path).write_text("content")


def fill(path: str) -> None:
    os.mkdir(path)
    Path(path, "file").write_text("content")


def test_an_entry_is_made_once() -> None:
    made = []
    path = f"{cache.packages_dir()}/a.zip"
    for _ in range(3):
        cache.obtain(path, lambda target: made.append(target) or write(target)).release()
    assert made == [f"{path}.part"]
    assert Path(path).read_text() == "content"
    directory = f"{cache.environments_dir()}/b"
    for _ in range(3):
        cache.obtain(directory, lambda target: made.append(target) or fill(target), directory=True).release()
    assert made[1:] == [directory]


def test_what_is_half_made_is_made_anew() -> None:
    directory = f"{cache.environments_dir()}/b"
    os.mkdir(directory)
    Path(directory, "junk").touch()  # left by somebody who died while making it
    cache.obtain(directory, fill, directory=True).release()
    assert sorted(os.listdir(directory)) == [".rayjup-complete", "file"]

    def fail(path: str) -> None:
        fill(path)
        raise OSError("no room")

    for making, kind in ((f"{cache.environments_dir()}/c", True), (f"{cache.packages_dir()}/c.zip", False)):
        with pytest.raises(OSError, match="no room"):
            cache.obtain(making, fail, directory=kind)
        assert not os.path.exists(making) and not os.path.exists(f"{making}.part")


def test_two_who_want_the_same_make_it_once() -> None:
    made = []
    path = f"{cache.environments_dir()}/slow"
    begun, go_on = threading.Event(), threading.Event()

    def slow(target: str) -> None:
        made.append(target)
        begun.set()
        assert go_on.wait(60)
        fill(target)

    held: list[cache.Held] = []
    threads = [
        threading.Thread(target=lambda: held.append(cache.obtain(path, slow, directory=True)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert len(made) == 1 and len(held) == 3
    for one in held:
        one.release()


def test_waiting_can_be_given_up() -> None:
    path = f"{cache.packages_dir()}/a.zip"
    begun, go_on = threading.Event(), threading.Event()

    def slow(target: str) -> None:
        begun.set()
        go_on.wait(60)
        write(target)

    thread = threading.Thread(target=lambda: cache.obtain(path, slow).release())
    thread.start()
    assert begun.wait(60)

    def check() -> None:
        raise cache.SetupStopped("the time is over")

    with pytest.raises(cache.SetupStopped, match="the time is over"):
        cache.obtain(path, write, check)
    go_on.set()
    thread.join(60)


def test_the_lock_of_a_process_that_was_killed_is_free() -> None:
    path = f"{cache.environments_dir()}/d"
    program = (
        "import sys, time, os\n"
        "from rayjup.engine.node import environment_cache as cache\n"
        "def make(path):\n"
        "    os.mkdir(path); open(path + '/half', 'w').close(); print('making', flush=True); time.sleep(60)\n"
        "cache.obtain(sys.argv[1], make, directory=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "making\n"
        other.kill()
    cache.obtain(path, fill, directory=True).release()
    assert sorted(os.listdir(path)) == [".rayjup-complete", "file"]


def test_trimming_removes_what_was_unused_longest() -> None:
    old = time.time() - 3600
    for number, name in enumerate(("a", "b", "c")):
        path = f"{cache.packages_dir()}/{name}.zip"
        cache.obtain(path, write).release()
        os.utime(f"{path}.lock", (old + number, old + number))
    kept = cache.obtain(f"{cache.packages_dir()}/a.zip", write)  # used again: now the newest
    assert cache.trim(2 * len("content")) == [f"{cache.packages_dir()}/b.zip"]
    os.utime(f"{kept.path}.lock", (old, old))
    assert cache.trim(0) == [f"{cache.packages_dir()}/c.zip"], "what is held stays"
    kept.release()
    assert cache.trim(0) == [kept.path]
    assert os.listdir(cache.packages_dir()) == []


def test_the_cache_must_be_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.stat(cache_root()).st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    monkeypatch.setenv("RAYJUP_CACHE_DIR", str(tmp_path / "open"))
    with pytest.raises(PermissionError, match="set RAYJUP_CACHE_DIR to a directory of your own"):
        cache_root()
