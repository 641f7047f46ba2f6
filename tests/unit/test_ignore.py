"""Patterns as in .gitignore, compared with git itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayjup.base.ignore import Rules, ignored


@pytest.mark.parametrize(
    ("pattern", "path", "is_dir", "expected"),
    [
        ("*.log", "a.log", False, True),
        ("*.log", "deep/er/a.log", False, True),
        ("*.log", "a.logs", False, False),
        ("/a.log", "a.log", False, True),
        ("/a.log", "b/a.log", False, False),
        ("build/", "build", True, True),
        ("build/", "build", False, False),
        ("a/b", "a/b", False, True),
        ("a/b", "c/a/b", False, False),
        ("**/b", "c/a/b", False, True),
        ("a/**", "a/b/c", False, True),
        ("a/**", "a", True, False),
        ("a/**/b", "a/b", False, True),
        ("a/**/b", "a/x/y/b", False, True),
        ("a?c", "abc", False, True),
        ("a?c", "a/c", False, False),
        ("[ab].txt", "b.txt", False, True),
        ("[!ab].txt", "b.txt", False, False),
        ("[a-c]x", "bx", False, True),
        ("[", "[", False, False),
        ("\\#a", "#a", False, True),
        ("# a", "# a", False, False),
        ("\\!a", "!a", False, True),
        ("a b ", "a b", False, True),
        ("a.b", "axb", False, False),
        ("", "", False, False),
    ],
)
def test_one_pattern(pattern: str, path: str, is_dir: bool, expected: bool) -> None:
    assert ignored([Rules([pattern])], path, is_dir) is expected


def test_the_last_pattern_decides() -> None:
    rules = [Rules(["*.log", "!keep.log"]), Rules(["/keep.log"], "sub/")]
    assert ignored(rules, "a.log", False)
    assert not ignored(rules, "keep.log", False)
    assert ignored(rules, "sub/keep.log", False), "the file further down has the last word"
    assert not ignored(rules, "other/keep.log", False)


_NAME = st.sampled_from(["a", "b", "ab", "a.b", "c"])
_PIECE = st.sampled_from(["a", "b", "*", "?", "**", "a*", "*b", "[ab]", "[!a]", "a.b", "c"])
_PATTERN = st.builds(
    lambda negated, anchored, pieces, directory: negated + anchored + "/".join(pieces) + directory,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(_PIECE, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)


@pytest.mark.skipif(shutil.which("git") is None, reason="compares with git, which is not installed here")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    patterns=st.lists(_PATTERN, min_size=1, max_size=4),
    paths=st.lists(st.lists(_NAME, min_size=1, max_size=3), min_size=1, max_size=8),
)
def test_as_git(patterns: list[str], paths: list[list[str]], tmp_path: Path) -> None:
    """A path is ignored when git says so; git looks at the directories above it first."""
    root = tmp_path / "repository"
    if not root.exists():
        root.mkdir()
        subprocess.run(["git", "init", "-q", str(root)], check=True)
    (root / ".gitignore").write_text("\n".join(patterns) + "\n")
    names = sorted({"/".join(path) for path in paths})
    asked = subprocess.run(
        ["git", "-c", "core.excludesFile=/dev/null", "check-ignore", "--no-index", "--stdin"],
        cwd=root,
        input="\n".join(names),
        capture_output=True,
        text=True,
    )
    assert asked.returncode in (0, 1), asked.stderr
    theirs = set(asked.stdout.split())
    rules = [Rules(patterns)]

    def ours(name: str) -> bool:
        parts = name.split("/")
        above = any(ignored(rules, "/".join(parts[:i]), True) for i in range(1, len(parts)))
        return above or ignored(rules, name, False)

    assert {name for name in names if ours(name)} == theirs
