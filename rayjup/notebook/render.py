"""A cluster snapshot as HTML and as text.

Pure functions of the snapshot (the dict of ``ClusterView.snapshot()``): no clock, no front end.
They run once per update of a live display, so their cost is bounded: at most ``MAX_ROWS`` rows of
each table are formatted however many there are.

Colours come from JupyterLab's CSS variables, with fallbacks that read on light and dark
backgrounds alike. Where a viewer strips the style sheet, plain tables with numbers remain.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import chain, islice
from typing import Any

Row = Mapping[str, Any]

MAX_ROWS = 20
_GPU_ROWS = 2  # more GPUs of a node than this are a strip instead of rows
_NAME_WIDTH = 36  # characters of a name in the text form

STYLE = """<style>
.rayjup-cluster{font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;line-height:1.5;
color:var(--jp-ui-font-color1,inherit);max-width:60em}
.rayjup-cluster table{color:inherit;font-size:inherit;border-collapse:collapse;
margin:.3em 0 .7em;width:100%;table-layout:fixed}
.rayjup-cluster th,.rayjup-cluster td{text-align:right;padding:.15em .6em;white-space:nowrap;overflow:hidden;
text-overflow:ellipsis;background:transparent;border:0;
border-bottom:1px solid var(--jp-border-color2,rgba(128,128,128,.3))}
.rayjup-cluster th{font-weight:600;color:var(--jp-ui-font-color2,inherit)}
.rayjup-cluster th:first-child,.rayjup-cluster td:first-child{text-align:left;width:30%}
.rayjup-cluster th.rj-left,.rayjup-cluster td.rj-left{text-align:left}
.rayjup-cluster .rj-table th:first-child,.rayjup-cluster .rj-table td:first-child{width:auto}
.rayjup-cluster .rj-soft{color:var(--jp-ui-font-color2,inherit);opacity:.85}
.rayjup-cluster .rj-bad{color:var(--jp-error-color1,#d32f2f)}
.rayjup-cluster .rj-bar{height:5px;border-radius:3px;overflow:hidden;
background:var(--jp-layout-color3,rgba(128,128,128,.25))}
.rayjup-cluster .rj-bar div{height:5px;background:var(--jp-brand-color1,#1976d2)}
.rayjup-cluster .rj-bar .rj-high{background:var(--jp-warn-color1,#f57c00)}
.rayjup-cluster .rj-bar .rj-full{background:var(--jp-error-color1,#d32f2f)}
.rayjup-cluster .rj-strip{display:flex;flex-wrap:wrap;gap:.6em;align-items:flex-end}
.rayjup-cluster .rj-gpu{display:inline-flex;flex-direction:column;align-items:center;line-height:1.2}
.rayjup-cluster .rj-load{display:flex;align-items:flex-end;width:1.4em;height:1.6em;border-radius:2px;
background:var(--jp-layout-color3,rgba(128,128,128,.25))}
.rayjup-cluster .rj-load i{display:block;width:100%;border-radius:2px;
background:var(--jp-brand-color1,#1976d2)}
.rayjup-cluster .rj-load .rj-high{background:var(--jp-warn-color1,#f57c00)}
.rayjup-cluster .rj-load .rj-full{background:var(--jp-error-color1,#d32f2f)}
</style>"""


def render_html(snapshot: Row, *, status: str = "", stamp: bool = False) -> str:
    """The snapshot as one self-contained HTML fragment.

    Parameters
    ----------
    snapshot : mapping
        What ``ClusterView.snapshot()`` returned.
    status : str
        What to say beside the name ("stopped", "unreachable"); empty while the cluster runs.
    stamp : bool
        Add the time the snapshot was taken: for an output that is no longer updated.
    """
    parts = [STYLE, '<div class="rayjup-cluster">', _header_html(snapshot, status)]
    parts.append(_nodes_html(snapshot.get("nodes") or []))
    parts.append(_tasks_html(snapshot.get("tasks") or []))
    parts.append(_actors_html(snapshot.get("actors") or []))
    waiting = demand_text(snapshot.get("demand") or [])
    if waiting:
        parts.append(f'<div class="rj-soft">Waiting for resources: {escape(waiting)}</div>')
    if stamp:
        parts.append(f'<div class="rj-soft">Snapshot of {clock(snapshot)}</div>')
    parts.append("</div>")
    return "".join(parts)


def render_text(snapshot: Row, *, status: str = "", stamp: bool = False) -> str:
    """The snapshot as plain text; parameters as in `render_html`."""
    lines = [f"rayjup cluster {clip(snapshot.get('name'))}: {_summary(snapshot, status)}"]
    nodes, more = _capped(snapshot.get("nodes") or [])
    for node in nodes:
        lines.append(
            f"  {_node_title(node)}: CPU {_cpu_text(node)}; memory "
            f"{_pair(node.get('mem_used'), node.get('mem_total'))}; objects {_store_text(node)}"
        )
        lines += [f"    {_gpu_title(gpu)}: {_gpu_text(gpu)}" for gpu in node.get("gpus") or []]
    lines += _more_line(more, "nodes")
    tasks, more = _capped_tasks(snapshot.get("tasks") or [])
    if tasks:
        rows = [[clip(t.get("name")), *(str(_int(t.get(key))) for key in _TASK_COUNTS)] for t in tasks]
        lines += _table(["task", *_TASK_COUNTS], rows)
        lines += _more_line(more, "task names")
    else:
        lines.append("  No tasks yet.")
    actors, more = _capped_actors(snapshot.get("actors") or [])
    if actors:
        rows = [[clip(_actor_title(actor)), *_actor_cells(actor)] for actor in actors]
        lines += _table(["actor", *_ACTOR_HEADS], rows)
        lines += _more_line(more, "actors")
    else:
        lines.append("  No actors.")
    waiting = demand_text(snapshot.get("demand") or [])
    if waiting:
        lines.append(f"  Waiting for resources: {waiting}")
    if stamp:
        lines.append(f"  Snapshot of {clock(snapshot)}")
    return "\n".join(lines)


def demand_text(demand: Iterable[Row]) -> str:
    """``3 × {CPU: 1}, 1 × {GPU: 2}`` for the requests nobody can serve yet."""
    shown, more = _capped(list(demand), cap=5)
    texts = []
    for entry in shown:
        shape = ", ".join(f"{clip(k)}: {_num(v)}" for k, v in (entry.get("resources") or {}).items())
        texts.append(f"{_int(entry.get('count'))} × {{{shape}}}")
    return ", ".join(texts) + (f" … and {more} more" if more else "")


# ---------------------------------------------------------------- parts of the HTML form


def _header_html(snapshot: Row, status: str) -> str:
    bad = ' class="rj-bad"' if status else ' class="rj-soft"'
    name = escape(str(snapshot.get("name") or "?"))
    return (
        f'<div style="overflow:hidden;text-overflow:ellipsis;white-space:nowrap" title="{name}">'
        f"<b>rayjup cluster {name}</b> <span{bad}>{escape(_summary(snapshot, status))}</span></div>"
    )


def _nodes_html(nodes: Sequence[Row]) -> str:
    shown, more = _capped(nodes)
    if not shown:
        return '<div class="rj-soft">No nodes have joined yet.</div>'
    body = []
    for node in shown:
        title = escape(_node_title(node))
        tip = escape(f"{node.get('node_id', '')} on {node.get('host', '')}")
        if not node.get("alive", True):
            body.append(f'<tr><td title="{tip}">{title}</td><td class="rj-bad" colspan="3">gone</td></tr>')
            continue
        store = bar_html(_store_text(node), _ratio(node.get("store_used"), node.get("store_capacity")))
        body.append(
            f'<tr><td title="{tip}">{title}</td>'
            f"<td>{bar_html(_cpu_text(node), _number(node.get('cpu_percent')) / 100)}</td>"
            f"<td>{_share(node.get('mem_used'), node.get('mem_total'))}</td>"
            f"<td>{store}</td></tr>"
        )
        gpus = node.get("gpus") or []
        if len(gpus) > _GPU_ROWS:
            body.append(f'<tr><td colspan="4">{_gpu_strip(gpus)}</td></tr>')
            continue
        for gpu in gpus:
            gpu_name = escape(_gpu_title(gpu))
            used, total = gpu.get("mem_used"), gpu.get("mem_total")
            load = _number(gpu.get("utilization"))
            busy = bar_html(f"{load:.0f} %", load / 100)
            body.append(
                f'<tr><td title="{gpu_name}">↳ {gpu_name}</td><td>{busy}</td>'
                f"<td>{_share(used, total)}</td><td>{escape(_temperature(gpu))}</td></tr>"
            )
    return _table_html(("node", "CPU", "memory", "object store"), body, more, "nodes")


def _gpu_strip(gpus: Sequence[Row]) -> str:
    """Many GPUs side by side: load as the height of a bar, memory as its text, all else in its title."""
    cells = []
    for gpu in gpus:
        load = min(max(_number(gpu.get("utilization")), 0.0), 100.0)
        share = _ratio(gpu.get("mem_used"), gpu.get("mem_total"))
        tip = escape(f"{_gpu_title(gpu)}: {_gpu_text(gpu)}")
        level = "rj-full" if share > 0.95 else "rj-high" if share > 0.8 else ""
        cells.append(
            f'<span class="rj-gpu" title="{tip}"><span class="rj-load"><i class="{level}" '
            f'style="height:{load:.0f}%"></i></span>{_int(gpu.get("index"))}'
            f"<small>{share * 100:.0f} %</small></span>"
        )
    return f'<div class="rj-strip"><small>GPUs: load, memory</small>{"".join(cells)}</div>'


def _tasks_html(tasks: Sequence[Row]) -> str:
    shown, more = _capped_tasks(tasks)
    if not shown:
        return '<div class="rj-soft">No tasks yet: call a remote function and it shows up here.</div>'
    body = []
    for task in shown:
        name = escape(str(task.get("name") or "?"))
        failed = _int(task.get("failed"))
        counts = "".join(f"<td>{_int(task.get(key)):,}</td>" for key in _TASK_COUNTS[:3])
        bad = ' class="rj-bad"' if failed else ""
        body.append(f'<tr><td title="{name}">{name}</td>{counts}<td{bad}>{failed:,}</td></tr>')
    return _table_html(("task", *_TASK_COUNTS), body, more, "task names")


def _actors_html(actors: Sequence[Row]) -> str:
    shown, more = _capped_actors(actors)
    if not shown:
        return '<div class="rj-soft">No actors.</div>'
    body = []
    for actor in shown:
        title = escape(_actor_title(actor))
        state, pid, pending = (escape(cell) for cell in _actor_cells(actor))
        bad = ' class="rj-bad"' if actor.get("state") == "DEAD" else ""
        tip = escape(f"{actor.get('actor_id', '')} on node {actor.get('node_id', '')}")
        cells = f"<td{bad}>{state}</td><td>{pid}</td><td>{pending}</td>"
        body.append(f'<tr><td title="{title} {tip}">{title}</td>{cells}</tr>')
    return _table_html(("actor", *_ACTOR_HEADS), body, more, "actors")


def _table_html(heads: Iterable[str], body: list[str], more: int, noun: str) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    rest = f'<div class="rj-soft">… and {more:,} more {noun}</div>' if more else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{rest}"


def bar_html(text: str, share: float) -> str:
    """The text over a bar that is filled to ``share``."""
    share = min(max(share, 0.0), 1.0)
    level = ' class="rj-full"' if share > 0.95 else ' class="rj-high"' if share > 0.8 else ""
    text = escape(text)
    bar = f'<div class="rj-bar"><div{level} style="width:{share * 100:.0f}%"></div></div>'
    return f'<span title="{text}">{text}</span>{bar}'


def _share(used: Any, total: Any) -> str:
    return bar_html(_pair(used, total), _ratio(used, total))


# ---------------------------------------------------------------- values as text

_TASK_COUNTS = ("pending", "running", "finished", "failed")
_ACTOR_HEADS = ("state", "pid", "pending calls")


def _summary(snapshot: Row, status: str) -> str:
    nodes = [node for node in snapshot.get("nodes") or [] if node.get("alive", True)]
    total = snapshot.get("resources_total") or {}
    free = snapshot.get("resources_available") or {}
    parts = [status] if status else []
    parts.append(f"{len(nodes):,} node{'' if len(nodes) == 1 else 's'}")
    for key in ("CPU", "GPU"):
        if total.get(key):
            used = _number(total[key]) - _number(free.get(key, 0))
            parts.append(f"{_num(used)} of {_num(total[key])} {key}s in use")
    parts.append(f"up {_uptime(_number(snapshot.get('uptime_s')))}")
    return " · ".join(parts)


def _node_title(node: Row) -> str:
    title = str(node.get("name") or node.get("host") or node.get("node_id") or "?")
    return clip(title, 60) + (" (head)" if node.get("is_head") else "")


def _cpu_text(node: Row) -> str:
    total = _number((node.get("resources_total") or {}).get("CPU"))
    used = total - _number((node.get("resources_available") or {}).get("CPU"))
    return f"{_num(used)} of {_num(total)}, load {_number(node.get('cpu_percent')):.0f} %"


def _store_text(node: Row) -> str:
    used = _pair(node.get("store_used"), node.get("store_capacity"))
    text = f"{used} ({_int(node.get('store_objects')):,})"
    if not _number(node.get("store_spilled")):
        return text
    on_disk = bytes_text(_number(node["store_spilled"]))
    return f"{text}, {on_disk} on disk ({_int(node.get('store_spilled_objects')):,})"


def _gpu_title(gpu: Row) -> str:
    return f"GPU {_int(gpu.get('index'))} {clip(gpu.get('name') or '', 50)}".rstrip()


def _gpu_text(gpu: Row) -> str:
    load = f"{_number(gpu.get('utilization')):.0f} %"
    text = f"{load}; memory {_pair(gpu.get('mem_used'), gpu.get('mem_total'))}"
    return f"{text}; {_temperature(gpu)}" if _temperature(gpu) else text


def _temperature(gpu: Row) -> str:
    degrees = gpu.get("temperature")
    return "" if degrees is None else f"{_number(degrees):.0f} °C"


def _actor_title(actor: Row) -> str:
    kind = str(actor.get("class_name") or "?")
    return f"{kind} '{actor['name']}'" if actor.get("name") else kind


def _actor_cells(actor: Row) -> list[str]:
    state = str(actor.get("state") or "?")
    pid = "" if actor.get("pid") is None else str(_int(actor["pid"]))
    return [_STATES.get(state, state), pid, str(_int(actor.get("pending")))]


_STATES = {"PENDING_CREATION": "starting", "ALIVE": "alive", "RESTARTING": "restarting", "DEAD": "dead"}


def _pair(used: Any, total: Any) -> str:
    return f"{bytes_text(_number(used))} of {bytes_text(_number(total))}"


def bytes_text(count: float) -> str:
    """``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable: the last unit always returns")


def _uptime(seconds: float) -> str:
    # Coarse on purpose: a text that changed every second would make every update a change.
    if seconds < 60:
        return "less than a minute"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"


def clock(snapshot: Row) -> str:
    """When the snapshot was taken."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(_number(snapshot.get("time"))))


def _number(value: Any) -> float:
    return float(value) if value is not None else 0.0


def _int(value: Any) -> int:
    return int(value) if value is not None else 0


def _num(value: Any) -> str:
    return f"{_number(value):.2f}".rstrip("0").rstrip(".")


def number_text(value: Any) -> str:
    """A number with four significant digits."""
    return f"{_number(value):.4g}"


def _ratio(used: Any, total: Any) -> float:
    whole = _number(total)
    return _number(used) / whole if whole > 0 else 0.0


def clip(text: Any, width: int = _NAME_WIDTH) -> str:
    """The text on one line of at most ``width`` characters."""
    text = str(text if text is not None else "?").replace("\n", " ")
    return text if len(text) <= width else text[: width - 1] + "…"


# ---------------------------------------------------------------- tables


def _capped(rows: Sequence[Row], cap: int = MAX_ROWS) -> tuple[list[Row], int]:
    """The first ``cap`` rows and how many are left."""
    return list(rows[:cap]), max(0, len(rows) - cap)


def _capped_tasks(tasks: Sequence[Row]) -> tuple[list[Row], int]:
    """As `_capped`, with what is at work or has failed first."""
    # The conditions are written out in generators: with a function call per row, 10 000 rows
    # would cost twice as much, and this is all that a long table costs.
    first = (t for t in tasks if t["running"] or t["pending"] or t["failed"])
    others = (t for t in tasks if not (t["running"] or t["pending"] or t["failed"]))
    return _first_then(first, others, len(tasks))


def _capped_actors(actors: Sequence[Row]) -> tuple[list[Row], int]:
    """As `_capped`, with the dead last."""
    first = (actor for actor in actors if actor["state"] != "DEAD")
    others = (actor for actor in actors if actor["state"] == "DEAD")
    return _first_then(first, others, len(actors))


def _first_then(first: Iterable[Row], others: Iterable[Row], count: int) -> tuple[list[Row], int]:
    shown = list(islice(chain(first, others), MAX_ROWS))
    return shown, count - len(shown)


def _more_line(more: int, noun: str) -> list[str]:
    return [f"  … and {more:,} more {noun}"] if more else []


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a text table: first column left, the others right aligned."""
    widths = [max(len(head), *(len(row[i]) for row in rows)) for i, head in enumerate(heads)]
    lines = []
    for row in (heads, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  " + "  ".join(cells).rstrip())
    return lines
