"""A dashboard for Grafana, as JSON, that shows what ``/metrics`` tells."""

from __future__ import annotations

from typing import Any

_WIDTH, _HEIGHT = 12, 8
# Title, unit as Grafana names it, and what is drawn with its legend.
_PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Nodes",
        "short",
        (("ray_cluster_active_nodes", "up"), ("ray_cluster_failed_nodes", "left")),
    ),
    ("Processors", "percent", (("ray_node_cpu_utilization", "{{NodeName}}"),)),
    ("Memory", "bytes", (("ray_node_mem_used", "{{NodeName}}"),)),
    (
        "Object store",
        "bytes",
        (
            ("ray_object_store_used_memory", "{{NodeName}}"),
            ("rayjup_object_store_spilled_bytes", "{{NodeName}}, on disk"),
        ),
    ),
    ("GPUs busy", "percent", (("ray_node_gpus_utilization", "{{NodeName}} {{GpuIndex}}"),)),
    ("GPU memory", "decmbytes", (("ray_node_gram_used", "{{NodeName}} {{GpuIndex}}"),)),
    (
        "Resources in use",
        "percentunit",
        (
            (
                'sum by (Name) (ray_resources{State="USED"}) / sum by (Name) (ray_resources)',
                "{{Name}}",
            ),
        ),
    ),
    ("Tasks", "short", (('sum by (State) (ray_tasks{State!="FINISHED"})', "{{State}}"),)),
    (
        "Tasks finished per second",
        "short",
        (('sum by (Name) (rate(ray_tasks{State="FINISHED"}[1m]))', "{{Name}}"),),
    ),
    ("Actors", "short", (("sum by (Name, State) (ray_actors)", "{{Name}} {{State}}"),)),
    ("Processes", "short", (("ray_node_workers", "{{NodeName}}"),)),
    ("Drivers", "short", (("ray_running_jobs", "connected"),)),
)


def board() -> dict[str, Any]:
    """The dashboard; import it in Grafana and choose the data source.

    Examples
    --------
    >>> from rayjup.dashboard.grafana import board
    >>> board()["title"]
    'rayjup'
    """
    panels = []
    for index, (title, unit, drawn) in enumerate(_PANELS):
        targets = [
            {"refId": chr(ord("A") + number), "expr": expression, "legendFormat": legend}
            for number, (expression, legend) in enumerate(drawn)
        ]
        place = {
            "h": _HEIGHT,
            "w": _WIDTH,
            "x": index % 2 * _WIDTH,
            "y": index // 2 * _HEIGHT,
        }
        panels.append(
            {
                "id": index + 1,
                "title": title,
                "type": "timeseries",
                "datasource": {"type": "prometheus", "uid": "${source}"},
                "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                "gridPos": place,
                "targets": targets,
            }
        )
    source = {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"}
    return {
        "uid": "rayjup",
        "title": "rayjup",
        "tags": ["rayjup"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    }
