"""A table of the references to objects in a cluster, as text."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

_UNITS = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3}
_GROUPS = {"NODE_ADDRESS": "ip", "STACK_TRACE": "call_site"}
_SORTS = {"PID": "pid", "OBJECT_SIZE": "object_size", "REFERENCE_TYPE": "reference_type"}
_COLUMNS = ("ip", "pid", "type", "call_site", "task_status", "object_size", "reference_type", "object_id")
_HEADS = ("address", "pid", "process", "call site", "status", "size", "reference", "object")


def _chosen(what: str, value: str, known: dict[str, Any]) -> Any:
    if value not in known:
        raise ValueError(f"memory_summary({what}={value!r}) is not known: choose among {', '.join(known)}.")
    return known[value]


def table(
    rows: list[Any], group_by: str, sort_by: str, units: str, num_entries: int | None, stats_only: bool
) -> str:
    """The references grouped and sorted, the largest first, and the sums of each group and of all.

    Raises
    ------
    ValueError
        For an unknown unit, group or order.
    """
    unit = _chosen("units", units, _UNITS)
    group = _chosen("group_by", group_by, _GROUPS)
    order = _chosen("sort_by", sort_by, _SORTS)
    groups: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        groups[str(getattr(row, group))].append(row)

    def size(nbytes: int) -> str:
        return "?" if nbytes < 0 else f"{nbytes / unit:,.{0 if unit == 1 else 3}f} {units}"

    def sums(of: list[Any]) -> str:
        largest = {row.object_id: max(row.object_size, 0) for row in of}  # one object may have many refs
        return f"{len(of)} references to {len(largest)} objects, {size(sum(largest.values()))} in all"

    lines = []
    for name, members in sorted(groups.items()):
        lines.append(f"{name}: {sums(members)}")
        if stats_only:
            continue
        members.sort(key=lambda row: getattr(row, order) or 0, reverse=order == "object_size")
        shown = members[:num_entries] if num_entries is not None and num_entries >= 0 else members
        cells = [
            tuple(
                size(row.object_size) if column == "object_size" else str(getattr(row, column))
                for column in _COLUMNS
            )
            for row in shown
        ]
        widths = [max(map(len, column)) for column in zip(_HEADS, *cells, strict=True)]
        for row_cells in (_HEADS, *cells):
            padded = (cell.ljust(width) for cell, width in zip(row_cells, widths, strict=True))
            lines.append("  " + "  ".join(padded).rstrip())
        if len(shown) < len(members):
            lines.append(f"  … and {len(members) - len(shown)} more")
        lines.append("")
    return "\n".join([*lines, f"All: {sums(rows)}"]) + "\n"
