"""Progress bars that tasks print: the newest state of each instead of a line for every state."""

from __future__ import annotations

import re
from collections import OrderedDict

from rayjup.notebook.logs_render import Line, clipped

_BARS = 50

# As `rayjup.experimental.tqdm_ray` and the package tqdm write them.
_BAR = re.compile(
    r"(?P<front>.*?)(?:\d+%\s?\|.*\|\s*)?\d[\d.]*[kMGT]?(?:/\d[\d.]*[kMGT]?)?(?:\s?\S+)? \[.*/\S+.*\]\s*"
)


class Bars:
    """The bars of one block."""

    def __init__(self) -> None:
        self._lines: OrderedDict[tuple[str, str], Line] = OrderedDict()
        self.replaced = 0

    def take(self, stream: str, title: str, line: str) -> bool:
        """Whether it is the state of a bar, which is then kept."""
        if not line.endswith("]"):
            return False
        text = clipped(line)
        found = _BAR.fullmatch(text)
        if found is None:
            return False
        key = (title, found["front"].strip())
        self.replaced += key in self._lines
        self._lines[key] = (stream, title, text)
        if len(self._lines) > _BARS:
            self._lines.popitem(last=False)
        return True

    def lines(self) -> list[Line]:
        """The bars, in the order in which they have appeared."""
        return list(self._lines.values())
