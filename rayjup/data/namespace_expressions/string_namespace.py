"""Functions for text: ``expr.str``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pyarrow.compute as pc

from rayjup.data.datatype import DataType
from rayjup.data.expressions.compute import compute

if TYPE_CHECKING:
    from rayjup.data.expressions.nodes import Expr, PyArrowComputeUDFExpr

_TEXT, _TEXTS = DataType.string(), DataType.list(DataType.string())
_NUMBER, _TRUTH = DataType.int32(), DataType.bool()


class _StringNamespace:
    """Functions for text.

    Further arguments are those of the function of ``pyarrow.compute``, such as ``ignore_case=True``.
    """

    def __init__(self, expr: Expr) -> None:
        self._expr = expr

    def len(self) -> PyArrowComputeUDFExpr:
        """How many characters it has."""
        return compute(self._expr, pc.utf8_length, returns=_NUMBER)

    def byte_len(self) -> PyArrowComputeUDFExpr:
        """How many bytes it takes in UTF-8."""
        return compute(self._expr, pc.binary_length, returns=_NUMBER)

    def upper(self) -> PyArrowComputeUDFExpr:
        """In capital letters."""
        return compute(self._expr, pc.utf8_upper, returns=_TEXT)

    def lower(self) -> PyArrowComputeUDFExpr:
        """In small letters."""
        return compute(self._expr, pc.utf8_lower, returns=_TEXT)

    def capitalize(self) -> PyArrowComputeUDFExpr:
        """With a capital first letter."""
        return compute(self._expr, pc.utf8_capitalize, returns=_TEXT)

    def title(self) -> PyArrowComputeUDFExpr:
        """Every word with a capital first letter."""
        return compute(self._expr, pc.utf8_title, returns=_TEXT)

    def swapcase(self) -> PyArrowComputeUDFExpr:
        """Capital and small letters exchanged."""
        return compute(self._expr, pc.utf8_swapcase, returns=_TEXT)

    def is_alpha(self) -> PyArrowComputeUDFExpr:
        """Whether all characters are letters."""
        return compute(self._expr, pc.utf8_is_alpha, returns=_TRUTH)

    def is_alnum(self) -> PyArrowComputeUDFExpr:
        """Whether all characters are letters or digits."""
        return compute(self._expr, pc.utf8_is_alnum, returns=_TRUTH)

    def is_digit(self) -> PyArrowComputeUDFExpr:
        """Whether all characters are digits."""
        return compute(self._expr, pc.utf8_is_digit, returns=_TRUTH)

    def is_decimal(self) -> PyArrowComputeUDFExpr:
        """Whether all characters are decimal digits."""
        return compute(self._expr, pc.utf8_is_decimal, returns=_TRUTH)

    def is_numeric(self) -> PyArrowComputeUDFExpr:
        """Whether all characters are numeric."""
        return compute(self._expr, pc.utf8_is_numeric, returns=_TRUTH)

    def is_space(self) -> PyArrowComputeUDFExpr:
        """Whether all characters are white space."""
        return compute(self._expr, pc.utf8_is_space, returns=_TRUTH)

    def is_lower(self) -> PyArrowComputeUDFExpr:
        """Whether all letters are small."""
        return compute(self._expr, pc.utf8_is_lower, returns=_TRUTH)

    def is_upper(self) -> PyArrowComputeUDFExpr:
        """Whether all letters are capital."""
        return compute(self._expr, pc.utf8_is_upper, returns=_TRUTH)

    def is_title(self) -> PyArrowComputeUDFExpr:
        """Whether every word has a capital first letter."""
        return compute(self._expr, pc.utf8_is_title, returns=_TRUTH)

    def is_printable(self) -> PyArrowComputeUDFExpr:
        """Whether all characters can be printed."""
        return compute(self._expr, pc.utf8_is_printable, returns=_TRUTH)

    def is_ascii(self) -> PyArrowComputeUDFExpr:
        """Whether all characters are ASCII."""
        return compute(self._expr, pc.string_is_ascii, returns=_TRUTH)

    def reverse(self) -> PyArrowComputeUDFExpr:
        """Backwards."""
        return compute(self._expr, pc.utf8_reverse, returns=_TEXT)

    def starts_with(self, pattern: str, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """Whether it starts with this text."""
        return compute(self._expr, pc.starts_with, pattern, *args, returns=_TRUTH, **kwargs)

    def ends_with(self, pattern: str, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """Whether it ends with this text."""
        return compute(self._expr, pc.ends_with, pattern, *args, returns=_TRUTH, **kwargs)

    def contains(self, pattern: str, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """Whether it contains this text."""
        return compute(self._expr, pc.match_substring, pattern, *args, returns=_TRUTH, **kwargs)

    def match(self, pattern: str, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """Whether it matches a LIKE pattern of SQL."""
        return compute(self._expr, pc.match_like, pattern, *args, returns=_TRUTH, **kwargs)

    def match_regex(self, pattern: str, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """Whether a part of it matches a regular expression."""
        return compute(self._expr, pc.match_substring_regex, pattern, *args, returns=_TRUTH, **kwargs)

    def find(self, pattern: str, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """Where this text begins, in bytes; -1 where it does not occur."""
        return compute(self._expr, pc.find_substring, pattern, *args, returns=_NUMBER, **kwargs)

    def find_regex(self, pattern: str, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """Where the first match of a regular expression begins, in bytes; or -1."""
        return compute(self._expr, pc.find_substring_regex, pattern, *args, returns=_NUMBER, **kwargs)

    def count(self, pattern: str, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """How often this text occurs."""
        return compute(self._expr, pc.count_substring, pattern, *args, returns=_NUMBER, **kwargs)

    def count_regex(self, pattern: str, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """How often a regular expression matches."""
        return compute(self._expr, pc.count_substring_regex, pattern, *args, returns=_NUMBER, **kwargs)

    def split(self, pattern: str, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """Cut at each occurrence of this text."""
        return compute(self._expr, pc.split_pattern, pattern, *args, returns=_TEXTS, **kwargs)

    def split_regex(self, pattern: str, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """Cut at each match of a regular expression."""
        return compute(self._expr, pc.split_pattern_regex, pattern, *args, returns=_TEXTS, **kwargs)

    def extract(self, pattern: str, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """The named groups of a regular expression, as a record; null where it does not match."""
        return compute(self._expr, pc.extract_regex, pattern, *args, **kwargs)

    def split_whitespace(self, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """Cut at white space."""
        return compute(self._expr, pc.utf8_split_whitespace, *args, returns=_TEXTS, **kwargs)

    def slice(self, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """The characters from ``start`` to ``stop``, by ``step``."""
        return compute(self._expr, pc.utf8_slice_codeunits, *args, returns=_TEXT, **kwargs)

    def replace(self, pattern: str, replacement: str, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """Each occurrence of a text replaced by another."""
        return compute(self._expr, pc.replace_substring, pattern, replacement, *args, returns=_TEXT, **kwargs)

    def replace_regex(
        self, pattern: str, replacement: str, *args: Any, **kwargs: Any
    ) -> PyArrowComputeUDFExpr:
        r"""Each match of a regular expression replaced; ``\1`` is its first group."""
        return compute(
            self._expr, pc.replace_substring_regex, pattern, replacement, *args, returns=_TEXT, **kwargs
        )

    def replace_slice(
        self, start: int, stop: int, replacement: str, *args: Any, **kwargs: Any
    ) -> PyArrowComputeUDFExpr:
        """The characters from ``start`` to ``stop`` replaced."""
        return compute(
            self._expr, pc.utf8_replace_slice, start, stop, replacement, *args, returns=_TEXT, **kwargs
        )

    def repeat(self, n: int, *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """The text ``n`` times."""
        return compute(self._expr, pc.binary_repeat, n, *args, returns=_TEXT, **kwargs)

    def center(self, width: int, padding: str = " ", *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """Padded on both sides to a width."""
        return compute(self._expr, pc.utf8_center, width, padding, *args, returns=_TEXT, **kwargs)

    def lpad(self, width: int, padding: str = " ", *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """Padded on the left to a width."""
        return compute(self._expr, pc.utf8_lpad, width, padding, *args, returns=_TEXT, **kwargs)

    def rpad(self, width: int, padding: str = " ", *args: Any, **kwargs: Any) -> PyArrowComputeUDFExpr:
        """Padded on the right to a width."""
        return compute(self._expr, pc.utf8_rpad, width, padding, *args, returns=_TEXT, **kwargs)

    def strip(self, characters: str | None = None) -> PyArrowComputeUDFExpr:
        """Without these characters (white space by default) at both ends."""
        if characters is None:
            return compute(self._expr, pc.utf8_trim_whitespace, returns=_TEXT)
        return compute(self._expr, pc.utf8_trim, characters, returns=_TEXT)

    def lstrip(self, characters: str | None = None) -> PyArrowComputeUDFExpr:
        """Without these characters (white space by default) at its start."""
        if characters is None:
            return compute(self._expr, pc.utf8_ltrim_whitespace, returns=_TEXT)
        return compute(self._expr, pc.utf8_ltrim, characters, returns=_TEXT)

    def rstrip(self, characters: str | None = None) -> PyArrowComputeUDFExpr:
        """Without these characters (white space by default) at its end."""
        if characters is None:
            return compute(self._expr, pc.utf8_rtrim_whitespace, returns=_TEXT)
        return compute(self._expr, pc.utf8_rtrim, characters, returns=_TEXT)

    def pad(
        self, width: int, fillchar: str = " ", side: Literal["left", "right", "both"] = "right"
    ) -> PyArrowComputeUDFExpr:
        """Padded to a width, on one side or on both."""
        pads = {"left": pc.utf8_lpad, "right": pc.utf8_rpad, "both": pc.utf8_center}
        if side not in pads:
            raise ValueError(f"side={side!r} is not one of 'left', 'right', 'both'.")
        return compute(self._expr, pads[side], width, fillchar, returns=_TEXT)
