"""Checks: numbers a notebook verifies about itself, and the table that sums them up.

Every check is an output of its cell in three forms: HTML, text, and ``CHECK_MIME``, a dict for
programs (`notebooks/execute.py` builds its summary and exit code from it). A failed check doesn't
stop the notebook, so that the summary at its end tells everything; `Checks.summary` raises then.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import display

CHECK_MIME = "application/vnd.rayjup.check+json"
SUMMARY_MIME = "application/vnd.rayjup.checks+json"


@dataclass(frozen=True, slots=True)
class Check:
    """One verified statement. ``seconds``: since the cell began or the check before it."""

    name: str
    passed: bool
    seconds: float
    detail: str = ""


class Checks:
    """A list of checks; an instance is called as ``check(name, condition)``.

    Examples
    --------
    >>> check = Checks()
    >>> check("two and two", 2 + 2 == 4)  # doctest: +SKIP
    ✓ two and two  0.00 s
    True
    """

    def __init__(self) -> None:
        self.results: list[Check] = []
        self._mark = time.perf_counter()
        shell = get_ipython()
        if shell is not None:
            # Time spent by the reader between two cells is no part of a check.
            shell.events.register("pre_run_cell", self._cell_begins)

    def _cell_begins(self, *_: Any) -> None:
        self._mark = time.perf_counter()

    def __call__(self, name: str, condition: Any, detail: str = "") -> bool:
        """Record whether ``condition`` holds and show it.

        Parameters
        ----------
        name : str
            The statement that is checked.
        condition : object
            Its truth value decides; an array's must be unambiguous (``(a == b).all()``).
        detail : str
            Numbers worth seeing beside it.
        """
        now = time.perf_counter()
        passed = bool(condition)  # first: an ambiguous array raises before anything is recorded
        result = Check(name, passed, now - self._mark, detail)
        self._mark = now
        self.results.append(result)
        display(_Shown(_line_text(result), _line_html(result), CHECK_MIME, asdict(result)))
        return passed

    def summary(self) -> None:
        """Show the table of all checks.

        Raises
        ------
        AssertionError
            When a check failed; names them.
        """
        rows = [asdict(result) for result in self.results]
        display(_Shown(_table_text(self.results), _table_html(self.results), SUMMARY_MIME, {"checks": rows}))
        failed = [result.name for result in self.results if not result.passed]
        if failed:
            raise AssertionError(
                f"{len(failed)} of {len(rows)} checks failed: {'; '.join(failed)}. "
                "Look at the cells marked ✗ above."
            )


class _Shown:
    """An output in three forms."""

    def __init__(self, text: str, html: str, mime: str, data: dict[str, Any]) -> None:
        self._bundle = {"text/plain": text, "text/html": html, mime: data}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self._bundle

    def __repr__(self) -> str:
        return str(self._bundle["text/plain"])


def _sign(result: Check) -> str:
    return "✓" if result.passed else "✗"


def _line_text(result: Check) -> str:
    detail = f" ({result.detail})" if result.detail else ""
    return f"{_sign(result)} {result.name}{detail}  {result.seconds:.2f} s"


def _line_html(result: Check) -> str:
    detail = f' <span style="opacity:.75">({escape(result.detail)})</span>' if result.detail else ""
    return (
        f"<div>{_sign_html(result)} {escape(result.name)}{detail} <small>{result.seconds:.2f} s</small></div>"
    )


def _sign_html(result: Check) -> str:
    colour = "var(--jp-success-color1,#2e7d32)" if result.passed else "var(--jp-error-color1,#d32f2f)"
    return f'<b style="color:{colour}">{_sign(result)}</b>'


def _totals(results: list[Check]) -> str:
    passed = sum(result.passed for result in results)
    return f"{passed} of {len(results)} checks passed in {sum(result.seconds for result in results):.1f} s"


def _table_text(results: list[Check]) -> str:
    width = max([len(result.name) for result in results], default=0)
    lines = [f"{_sign(r)} {r.name.ljust(width)}  {r.seconds:7.2f} s  {r.detail}".rstrip() for r in results]
    return "\n".join([*lines, _totals(results)])


def _table_html(results: list[Check]) -> str:
    rows = "".join(
        f'<tr><td>{_sign_html(r)}</td><td style="text-align:left">{escape(r.name)}</td>'
        f'<td>{r.seconds:.2f} s</td><td style="text-align:left">{escape(r.detail)}</td></tr>'
        for r in results
    )
    left = ' style="text-align:left"'
    head = f"<tr><th></th><th{left}>check</th><th>time</th><th{left}>detail</th></tr>"
    table = f'<table style="color:inherit"><thead>{head}</thead><tbody>{rows}</tbody></table>'
    return f"{table}<div>{escape(_totals(results))}</div>"
