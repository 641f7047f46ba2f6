"""What the magics have in common: reading their line, ``--help``, values of options, completion.

A value may be the name of a variable with a dollar sign in front (``--num-cpus $n``). IPython's own
expansion is switched off for these magics, because it would take the braces of JSON for its own.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument

HELP = argument("-h", "--help", action="store_true", help="show this text and do nothing")

CELL_MAGICS = {"ray_remote", "ray_map"}
"""Those that run the cell below them."""

_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{unit}b": size for unit, size in _UNITS.items() if unit not in ("", "b")}
_UNITS |= {f"{unit}ib": 2 ** (10 * power) for power, unit in enumerate("kmgt", 1)}


def parse(magic: Callable[..., Any], line: str, variables: Mapping[str, Any] | None = None) -> Any:
    """The parsed options of ``magic``; None after ``--help``, which is printed.

    Parameters
    ----------
    magic
        The magic's function, which ``magic_arguments`` gave its parser.
    line
        What was typed behind its name. Quotes are those of a shell.
    variables
        Where ``$name`` is looked up.

    Raises
    ------
    UsageError
        The line is not what the magic takes.
    """
    parser = magic.parser  # type: ignore[attr-defined]
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"the line {line!r} cannot be split into words: {error}") from error
    options = parser.parse_args([expanded(word, variables or {}) for word in words])
    if options.help:
        text = parser.format_help().replace("::\n\n", "", 1).rstrip()
        if parser.prog in CELL_MAGICS:
            text = text.replace(f"%{parser.prog}", f"%%{parser.prog}", 1)
        print(text)  # noqa: T201
        return None
    return options


def expanded(word: str, variables: Mapping[str, Any]) -> str:
    """A word, or the value of the variable that it names with a dollar sign."""
    match = re.fullmatch(r"\$([A-Za-z_]\w*)", word)
    if match is None:
        return word
    if match[1] not in variables:
        raise UsageError(f"there is no variable {match[1]!r} in this notebook (for the word {word!r})")
    return str(variables[match[1]])


def byte_count(text: str) -> int:
    """``"2GB"``, ``"512 MiB"`` or ``"1e9"`` as a number of bytes.

    Examples
    --------
    >>> byte_count("1.5 GiB")
    1610612736
    """
    match = re.fullmatch(r"([0-9][0-9.]*(?:e[0-9]+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise ValueError(
            f"{text!r} is no amount of memory: give bytes, or a number with KB, MB, GB, KiB, MiB or GiB"
        )
    return int(float(match[1]) * _UNITS[match[2]])


def amounts(text: str, variables: Mapping[str, Any]) -> dict[str, float]:
    """``"license=2,special=0.5"``, JSON, or the name of a dict as names and numbers."""
    return {name: float(value) for name, value in mapping(text, variables, "license=2,special=1").items()}


def mapping(text: str, variables: Mapping[str, Any], example: str) -> dict[str, Any]:
    """``"a=1,b=2"``, JSON, the name of a dict of the notebook or of a JSON file as a dict."""
    value: Any = None
    if text.isidentifier() and isinstance(variables.get(text), Mapping):
        return dict(variables[text])
    if text.lstrip().startswith("{"):
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            try:
                value = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                value = None
    elif "=" in text:
        pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
        if all(equals and key.strip() for key, equals, _ in pairs):
            value = {key.strip(): word.strip() for key, _, word in pairs}
    elif os.path.isfile(text):
        with open(text, encoding="utf-8") as file:
            value = json.load(file)
    if not isinstance(value, dict):
        raise ValueError(
            f"{text!r} is neither a list such as {example}, nor JSON, nor the name of a dict of this "
            "notebook, nor a JSON file"
        )
    return value


def span(text: str) -> tuple[int, int]:
    """``"1:8"`` as the least and the most number of nodes."""
    match = re.fullmatch(r"(\d+):(\d+)", text.strip())
    if match is None or int(match[1]) > int(match[2]) or int(match[2]) < 1:
        raise ValueError(f"{text!r} is no range of nodes: write MIN:MAX, such as 1:8")
    return int(match[1]), int(match[2])


def names(text: str | None) -> list[str]:
    """``"a, b"`` as names of variables."""
    found = [name.strip() for name in (text or "").split(",") if name.strip()]
    wrong = [name for name in found if not name.isidentifier()]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no name of a variable: write --out a,b")
    return found
