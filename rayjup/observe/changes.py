"""What has changed between two JSON-able documents, and how to make one from the other.

A change is an object with up to three keys: ``set`` (new values by key), ``change`` (changes by key) and
``drop`` (keys that are gone). Lists whose rows have an identifying column are told row by row, and then
have ``rows``, the identifying column, and ``order``, where the order has changed; other lists are replaced.
"""

from __future__ import annotations

from typing import Any

IDENTIFYING = ("key", "node_id", "actor_id", "trial_id", "run_id", "id", "index", "name")
"""Columns by which rows are known, the first that all rows have with different values."""

Change = dict[str, Any]


def between(old: Any, new: Any) -> Change | None:
    """What has to be done to ``old`` to have ``new``; None when they are equal.

    Both have to be objects, or both lists of rows.

    Examples
    --------
    >>> from rayjup.observe.changes import between
    >>> between({"a": 1, "b": [{"id": 1, "x": 2}]}, {"a": 1, "b": [{"id": 1, "x": 3}]})
    {'change': {'b': {'rows': 'id', 'change': {'1': {'set': {'x': 3}}}}}}
    """
    if old == new:
        return None
    if isinstance(old, dict):
        return _of_objects(old, new)
    column = _column(old, new)
    assert column is not None, "only rows with an identifying column can be compared"
    before = {str(row[column]): row for row in old}
    after = {str(row[column]): row for row in new}
    change = _of_objects(before, after)
    kept = [key for key in before if key in after] + [key for key in after if key not in before]
    if kept != list(after):
        change["order"] = list(after)
    return {"rows": column, **change}


def _of_objects(old: dict[str, Any], new: dict[str, Any]) -> Change:
    values: dict[str, Any] = {}
    changes: dict[str, Change] = {}
    for key, value in new.items():
        if key not in old:
            values[key] = value
            continue
        was = old[key]
        if was == value and type(was) is type(value):
            continue
        if isinstance(was, dict) and isinstance(value, dict):
            changes[key] = _of_objects(was, value)
        elif isinstance(was, list) and isinstance(value, list) and _column(was, value) is not None:
            found = between(was, value)
            if found is not None:
                changes[key] = found
        else:
            values[key] = value
    gone = [key for key in old if key not in new]
    whole = {"set": values, "change": changes, "drop": gone}
    return {name: part for name, part in whole.items() if part}


def _column(old: list[Any], new: list[Any]) -> str | None:
    if not old or not new or not all(isinstance(row, dict) for row in (*old, *new)):
        return None
    for column in IDENTIFYING:
        if column in new[0] and all(_unique(rows, column) for rows in (old, new)):
            return column
    return None


def _unique(rows: list[dict[str, Any]], column: str) -> bool:
    values = {str(row[column]) for row in rows if row.get(column) is not None}
    return len(values) == len(rows)


def applied(old: Any, change: Change) -> Any:
    """``old`` with a change made to it; ``old`` itself stays as it was.

    Examples
    --------
    >>> from rayjup.observe.changes import applied
    >>> applied({"a": 1, "b": 2}, {"set": {"a": 5}, "drop": ["b"]})
    {'a': 5}
    """
    column = change.get("rows")
    table = {str(row[column]): row for row in old} if column is not None else dict(old)
    for key in change.get("drop", ()):
        del table[key]
    for key, part in change.get("change", {}).items():
        table[key] = applied(table[key], part)
    table.update(change.get("set", {}))
    if column is None:
        return table
    return [table[key] for key in change.get("order", table)]
