"""Small HTML templates: ``{{ name }}`` is replaced by a value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_FOLDER = Path(__file__).with_name("templates")
_PLACE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


class Template:
    """An HTML template of this package.

    Parameters
    ----------
    file
        Its name, as :meth:`list_templates` gives it.

    Raises
    ------
    FileNotFoundError
        There is no such template.

    Examples
    --------
    >>> from rayjup.widgets import Template
    >>> "<h3>Title</h3>" in Template("title_data.html.j2").render(title="Title", data="")
    True
    """

    def __init__(self, file: str) -> None:
        path = _FOLDER / file
        if not path.is_file():
            known = ", ".join(sorted(p.name for p in self.list_templates()))
            raise FileNotFoundError(f"there is no template {file!r}; there are: {known}")
        self.template = path.read_text(encoding="utf-8")

    def render(self, **kwargs: str | list[str]) -> str:
        """The template with each ``{{ name }}`` replaced; values are HTML, lists are put together."""

        def value(place: re.Match[str]) -> str:
            given = kwargs.get(place[1])
            if given is None:
                return place[0]
            return "".join(given) if isinstance(given, list) else str(given)

        return _PLACE.sub(value, self.template)

    @staticmethod
    def list_templates() -> Iterator[Path]:
        """The files of all templates."""
        return _FOLDER.glob("*.html.j2")
