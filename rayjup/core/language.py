"""Languages that Ray's workers are written in; here that is Python."""

from __future__ import annotations

import enum
from typing import NoReturn


class Language(enum.Enum):
    """The language of a function or actor. Only ``PYTHON`` runs here."""

    PYTHON = 0
    JAVA = 1
    CPP = 2


def refuse(what: str, language: Language) -> NoReturn:
    """Say that ``what`` is not written in Python."""
    names = {Language.JAVA: "Java", Language.CPP: "C++"}
    raise RuntimeError(
        f"{what} is {names.get(language, language.name)} code, and rayjup runs Python only: there are no "
        "workers of other languages. Call it from a Python function (through a binding, or in a "
        "subprocess), and make that function remote."
    )
