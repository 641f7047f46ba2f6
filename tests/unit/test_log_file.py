"""Log files that are put aside when they are full."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rayjup.engine.executor.log_file import LogFile
from rayjup.engine.node.log_files import piece


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], LogFile]]:
    opened: list[int] = []

    def make(most: str, kept: str) -> LogFile:
        monkeypatch.setenv("RAY_ROTATION_MAX_BYTES", most)
        monkeypatch.setenv("RAY_ROTATION_BACKUP_COUNT", kept)
        opened.append(os.open(tmp_path / "a.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        return LogFile(opened[-1])

    yield make
    for fd in opened:
        os.close(fd)


def fill(file: LogFile, count: int) -> int:
    """Lines of ten bytes; how often a new file was begun."""
    return sum(file.turn(file.write(b"line %04d\n" % i)) for i in range(count))


@pytest.mark.parametrize(
    ("most", "kept", "turns", "lines"),
    [
        ("100", "2", 5, {"a.out": 2, "a.out.1": 10, "a.out.2": 10}),
        ("100", "0", 5, {"a.out": 2}),
        ("0", "2", 0, {"a.out": 52}),
        ("nonsense", "2", 0, {"a.out": 52}),
    ],
)
def test_full_files_are_put_aside(
    log: Callable[[str, str], LogFile],
    tmp_path: Path,
    most: str,
    kept: str,
    turns: int,
    lines: dict[str, int],
) -> None:
    assert fill(log(most, kept), 52) == turns
    assert {path.name: len(path.read_text().splitlines()) for path in tmp_path.iterdir()} == lines
    assert (tmp_path / "a.out").read_text().splitlines()[-1] == "line 0051"
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())


def test_who_follows_a_file_goes_on_in_the_new_one(
    log: Callable[[str, str], LogFile], tmp_path: Path
) -> None:
    file = log("100", "1")
    fill(file, 9)
    before = piece(str(tmp_path), "a.out", start=0)
    assert before["next"] == 90
    fill(file, 3)
    after = piece(str(tmp_path), "a.out", start=before["next"])
    assert after["data"] == b"line 0001\nline 0002\n" and after["next"] == 20
