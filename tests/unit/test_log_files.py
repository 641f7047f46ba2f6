"""Pieces of log files."""

from pathlib import Path

import pytest

from rayjup.engine.node import log_files


@pytest.fixture
def logs(tmp_path: Path) -> str:
    directory = tmp_path / "logs"
    (directory / "old").mkdir(parents=True)
    (directory / "a.out").write_bytes(b"".join(b"line %d\n" % i for i in range(30_000)))
    (directory / "old" / "b.err").write_bytes(b"no line break")
    (tmp_path / "secret").write_text("x")
    return str(directory)


def test_names(logs: str):
    assert log_files.names(logs, "*") == ["a.out", "old/b.err"]
    assert log_files.names(logs, "*.err") == ["old/b.err"]


@pytest.mark.parametrize("lines", [0, 1, 3, 29_999, 30_000, 50_000])
def test_the_last_lines(logs: str, lines: int):
    found = log_files.piece(logs, "a.out", lines=lines)
    assert found["data"].splitlines() == [b"line %d" % i for i in range(max(0, 30_000 - lines), 30_000)]
    assert found["next"] == found["size"]


def test_a_last_line_without_an_end(logs: str):
    assert log_files.piece(logs, "old/b.err", lines=1)["data"] == b"no line break"


def test_parts_and_large_files(logs: str, monkeypatch: pytest.MonkeyPatch):
    assert log_files.piece(logs, "a.out", start=5, end=8)["data"] == b"0\nl"
    monkeypatch.setattr(log_files, "PIECE", 10)
    found = log_files.piece(logs, "a.out", start=7)
    assert (found["data"], found["next"]) == (b"line 1\nlin", 17)


def test_nothing_outside(logs: str, tmp_path: Path):
    (Path(logs) / "link").symlink_to(tmp_path / "secret")
    for name in ("../secret", "link", str(tmp_path / "secret")):
        assert "outside" in log_files.answer(logs, "log_read", {"name": name})["error"]
    assert log_files.answer(logs, "log_read", {"name": "none"}) == {"missing": True}
    assert log_files.answer(logs, "log_read", {"name": "old"}) == {"missing": True}
