"""The text form of metrics."""

from __future__ import annotations

import pytest

from rayjup.util import metrics


@pytest.fixture(autouse=True)
def _no_metrics(monkeypatch):
    monkeypatch.setattr(metrics, "_series", {})


def test_counters_and_gauges_with_tags():
    counter = metrics.Counter("requests", description="how\nmany", tag_keys=("route",))
    counter.inc(2, tags={"route": 'a"b\\'})
    counter.inc(tags={"route": 'a"b\\'})
    metrics.Gauge("level").set(-1.5)
    assert metrics.prometheus_text().splitlines() == [
        "# HELP ray_level ",
        "# TYPE ray_level gauge",
        "ray_level -1.5",
        "# HELP ray_requests how\\nmany",
        "# TYPE ray_requests counter",
        'ray_requests{route="a\\"b\\\\"} 3.0',
    ]


def test_histograms_are_cumulative_and_limits_belong_to_their_bucket():
    histogram = metrics.Histogram("spread", boundaries=[1, 2], tag_keys=("k",))
    for value in (0.5, 1, 1.5, 9):
        histogram.observe(value, tags={"k": "v"})
    assert metrics.prometheus_text(prefix="").splitlines()[2:] == [
        'spread_bucket{k="v",le="1.0"} 2',
        'spread_bucket{k="v",le="2.0"} 3',
        'spread_bucket{k="v",le="+Inf"} 4',
        'spread_sum{k="v"} 12.0',
        'spread_count{k="v"} 4',
    ]


def test_metrics_of_one_name_are_one_metric():
    metrics.Counter("n").inc(1)
    metrics.Counter("n").inc(2)
    assert "ray_n 3.0" in metrics.prometheus_text()
    with pytest.raises(ValueError, match="another name"):
        metrics.Gauge("n")


def test_metrics_with_bad_names_are_not_shown():
    with pytest.warns(UserWarning):
        metrics.Counter("a-b").inc()
    assert metrics.prometheus_text() == ""


def test_prometheus_reads_it():
    parser = pytest.importorskip("prometheus_client.parser")
    metrics.Histogram("h", description="d", boundaries=[0.1]).observe(5)
    metrics.Counter("c", tag_keys=("k",)).inc(tags={"k": "new\nline"})
    families = {f.name: f for f in parser.text_string_to_metric_families(metrics.prometheus_text())}
    assert families["ray_h"].type == "histogram"
    assert [s.labels for s in families["ray_c"].samples] == [{"k": "new\nline"}]
