"""Which files of a directory are left out: patterns as in ``.gitignore``.

The rules are those of gitignore(5): the last pattern that matches decides, ``!`` takes back, a slash
anchors, a slash at the end means directories only, ``**`` crosses directories. What lies in an ignored
directory stays ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line, compiled. ``regex`` matches paths relative to where the line was written."""

    regex: re.Pattern[str]
    negated: bool
    directories_only: bool


class Rules:
    """The patterns of one place (a file, or an option), in order.

    Parameters
    ----------
    lines
        As in a file ``.gitignore``.
    base
        The directory they are relative to, itself relative to the root: "" or ``"a/b/"``.
    """

    def __init__(self, lines: Iterable[str], base: str = "") -> None:
        self.base = base
        self.patterns = [pattern for line in lines if (pattern := _parse(line)) is not None]

    def decide(self, path: str, is_dir: bool) -> bool | None:
        """True: left out; False: taken back; None: no pattern matches ``path`` (relative to the root)."""
        if not path.startswith(self.base):
            return None
        inner = path[len(self.base) :]
        for pattern in reversed(self.patterns):
            if (is_dir or not pattern.directories_only) and pattern.regex.fullmatch(inner):
                return not pattern.negated
        return None


def _parse(line: str) -> Pattern | None:
    line = line.rstrip("\n").rstrip("\r")
    while line.endswith(" ") and not line.endswith("\\ "):
        line = line[:-1]
    if not line or line.startswith("#"):
        return None
    negated = line.startswith("!")
    if negated:
        line = line[1:]
    directories_only = line.endswith("/")
    if directories_only:
        line = line[:-1]
    anchored = "/" in line
    line = line.removeprefix("/")
    if not line:
        return None
    try:
        regex = re.compile(("" if anchored else "(?:.*/)?") + _translate(line), re.DOTALL)
    except re.error:
        return None  # such as an open bracket: git matches nothing with it either
    return Pattern(regex, negated, directories_only)


def _translate(glob: str) -> str:
    out = []
    position = 0
    while position < len(glob):
        char = glob[position]
        if char == "*":
            end = position
            while end < len(glob) and glob[end] == "*":
                end += 1
            whole = (position == 0 or glob[position - 1] == "/") and (end == len(glob) or glob[end] == "/")
            if end - position == 2 and whole:
                if end == len(glob):
                    out.append(".+" if position else ".*")
                else:  # "**/": any number of directories, also none
                    out.append("(?:.*/)?")
                    end += 1
            else:
                out.append("[^/]*")
            position = end
        elif char == "?":
            out.append("[^/]")
            position += 1
        elif char == "[":
            piece, position = _bracket(glob, position)
            out.append(piece)
        else:
            if char == "\\" and position + 1 < len(glob):
                position += 1
                char = glob[position]
            out.append(re.escape(char))
            position += 1
    return "".join(out)


def _bracket(glob: str, start: int) -> tuple[str, int]:
    """The class of characters that begins at ``start``, and where it ends."""
    position = start + 1
    inverted = glob[position : position + 1] in ("!", "^")
    if inverted:
        position += 1
    end = glob.find("]", position + 1)
    if end < 0:
        raise re.error("unterminated character set")
    body = re.sub(r"([\\\[\]^&~|])", r"\\\1", glob[position:end])
    # git never lets a class match the slash between directories
    return (f"(?!/)[{'^' if inverted else ''}{body}]", end + 1)


def ignored(rules: Iterable[Rules], path: str, is_dir: bool) -> bool:
    """Whether a path is left out, by the last of the ``rules`` that says something about it."""
    for place in reversed(list(rules)):
        decision = place.decide(path, is_dir)
        if decision is not None:
            return decision
    return False
