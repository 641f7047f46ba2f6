"""Lines of tasks and actors as HTML and as text. Pure functions, whose cost is bounded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

Line = tuple[str, str, str]
"""Stream, origin, text."""

MAX_CHARACTERS = 64 * 1024  # of a block: all of it is sent whenever it changes
MAX_WIDTH = 2000  # of a line

_ESCAPE = re.compile(r"\x1b(?:\[([0-9;:]*)([A-Za-z])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

# Colours that can be read on white as well as on black.
_COLOURS = ("#7f7f7f", "#d14545", "#3c9a3c", "#b58900", "#4a7fd6", "#b455b4", "#2a9d9d", "#8f8f8f")

STYLE = """<style>
.rayjup-logs{font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:12px;
border-left:2px solid var(--jp-border-color1,rgba(128,128,128,.5));padding-left:.6em;margin:.2em 0}
.rayjup-logs summary{cursor:pointer;color:var(--jp-ui-font-color2,inherit)}
.rayjup-logs .rj-lines{display:flex;flex-direction:column-reverse;max-height:22em;overflow:auto}
.rayjup-logs pre{margin:0;font-size:12px;line-height:1.4;white-space:pre-wrap;background:transparent;
color:var(--jp-content-font-color1,inherit)}
.rayjup-logs .rj-from{opacity:.6}
.rayjup-logs .rj-err{border-left:3px solid #d9822b;padding-left:.4em;margin-left:-.1em}
.rayjup-logs .rj-more{opacity:.75}
</style>"""


def plain(text: str) -> str:
    """``text`` without colours and other control characters.

    Examples
    --------
    >>> plain("\\x1b[1;31mred\\x1b[0m")
    'red'
    """
    return _CONTROL.sub("", _ESCAPE.sub("", text))


def coloured(text: str) -> str:
    """``text`` as HTML, with the colours that escape sequences ask for.

    Examples
    --------
    >>> coloured("\\x1b[31m<red>\\x1b[0m!")
    '<span style="color:#d14545">&lt;red&gt;</span>!'
    """
    if "\x1b" not in text:
        return escape(_CONTROL.sub("", text))
    parts: list[str] = []
    colour, bold, position = "", False, 0

    def add(piece: str) -> None:
        piece = escape(_CONTROL.sub("", piece))
        style = ";".join(filter(None, (f"color:{colour}" if colour else "", "font-weight:600" * bold)))
        if piece:
            parts.append(f'<span style="{style}">{piece}</span>' if style else piece)

    for found in _ESCAPE.finditer(text):
        add(text[position : found.start()])
        position = found.end()
        if found[2] != "m":
            continue
        for code in re.split("[;:]", found[1] or "0"):
            number = int(code or 0)
            if number == 0:
                colour, bold = "", False
            elif number == 1:
                bold = True
            elif number in (22, 39):
                bold, colour = (False, colour) if number == 22 else (bold, "")
            elif 30 <= number <= 37 or 90 <= number <= 97:
                colour = _COLOURS[number % 10]
            elif number in (38, 48):
                break  # one of 256 or more colours: the rest of the sequence is its number
    add(text[position:])
    return "".join(parts)


def clipped(text: str) -> str:
    """What is shown of a line: what a terminal would show of it at last, and not too much of it."""
    text = text.rstrip("\r\n").rsplit("\r", 1)[-1]
    return text if len(text) <= MAX_WIDTH else f"{text[:MAX_WIDTH]} … ({len(text) - MAX_WIDTH:,} more)"


def newest(lines: Sequence[Line]) -> list[Line]:
    """As many of the last lines as fit."""
    room = MAX_CHARACTERS
    for index in range(len(lines) - 1, -1, -1):
        room -= len(lines[index][2]) + len(lines[index][1]) + 4
        if room < 0:
            return list(lines[index + 1 :])
    return list(lines)


def notes(shown: int, printed: int, dropped: int) -> list[str]:
    """What is to be said about lines that are not shown."""
    earlier = printed - dropped - shown
    said = []
    if earlier > 0:
        said.append(f"{earlier:,} earlier ones not shown")
    if dropped:
        said.append(f"{dropped:,} left out because they came too fast")
    return said


def summary(printed: int, sources: int) -> str:
    """``"12 lines of 3 processes"``."""
    text = f"{printed:,} line{'' if printed == 1 else 's'}"
    return f"{text} of {sources:,} process{'' if sources == 1 else 'es'}"


def as_text(lines: Sequence[Line], bars: Iterable[Line], about: str, said: list[str], where: str) -> str:
    """A block as text; of lines that are all shown, nothing but these."""
    out = [f"… {about}: {', '.join(said)}. All: %ray_logs, or {where}"] if said else []
    out += [f"({origin}) {plain(text)}" for _, origin, text in (*lines, *bars)]
    return "\n".join(out)


def as_html(lines: Sequence[Line], bars: Iterable[Line], about: str, said: list[str], where: str) -> str:
    """A block that can be folded."""
    head = f"{about} <span class='rj-more'>{escape('· ' + ', '.join(said)) if said else ''}</span>"
    more = f'<div class="rj-more">All: %ray_logs, or {escape(where)}</div>' if said else ""
    rows = "\n".join(
        f'<span class="rj-err" title="stderr">{_row(origin, text)}</span>'
        if stream == "stderr"
        else _row(origin, text)
        for stream, origin, text in (*lines, *bars)
    )
    return (
        f'{STYLE}<details class="rayjup-logs" open><summary>{head}</summary>'
        f'<div class="rj-lines"><pre>{rows}</pre></div>{more}</details>'
    )


def _row(origin: str, text: str) -> str:
    return f'<span class="rj-from">({escape(origin)})</span> {coloured(text)}'
