"""Datasets: rayjup or Ray Data, and the bare peer (Polars, torch) beside it in the same run.

``python benchmarks/data.py --engine rayjup|ray [--out data.json] [--only TEXT] [--quick]``; then
``python benchmarks/data_report.py --ray ray.json --rayjup rayjup.json --out results/data.md``.
Each line is the shortest of the repeats, in seconds, on a running cluster.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LINES: list[tuple[str, Callable[[Any], Any], Callable[[Any], Any] | None, str]] = []


def line(name: str, peer: Callable[[Any], Any] | None = None, peer_name: str = "Polars") -> Any:
    """Register a line; ``peer`` does the same without an engine."""

    def register(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
        LINES.append((name, fn, peer, peer_name))
        return fn

    return register


class Setting:
    """The engine, and files of the sizes wanted."""

    def __init__(self, ray: Any, folder: str, scale: float) -> None:
        self.ray, self.data, self.folder, self.scale = ray, ray.data, folder, scale
        self.n10, self.n5, self.n1 = int(10e6 * scale), int(5e6 * scale), int(1e6 * scale)
        rng = np.random.default_rng(0)
        self.parquet = f"{folder}/ten.parquet"
        keys = rng.integers(0, 1000, self.n10)
        table = pa.table({"k": keys, "v": rng.random(self.n10), "w": rng.integers(0, 1 << 40, self.n10)})
        pq.write_table(table, self.parquet, row_group_size=1 << 20)
        self.right = f"{folder}/right.parquet"
        pq.write_table(pa.table({"k": np.arange(1000), "name": rng.random(1000)}), self.right)
        self.array = rng.random((self.n1, 8)).astype(np.float32)
        self.small = f"{folder}/small"
        os.mkdir(self.small)
        for i in range(int(10_000 * scale)):
            Path(self.small, f"{i:05}.txt").write_text(f"line {i}\nanother\n", encoding="utf-8")


def polars() -> Any:
    import polars as pl

    return pl


@line("range 10 M, map_batches, sum", lambda s: int((np.arange(s.n10) * 2).sum()), "numpy")
def range_sum(s: Setting) -> None:
    total = s.data.range(s.n10).map_batches(lambda b: {"id": b["id"] * 2}).sum("id")
    assert total == s.n10 * (s.n10 - 1), total


def _rows(s: Setting) -> int:
    rows = ({"x": r["id"] + 1} for r in ({"id": i} for i in range(s.n1)))
    return sum(1 for r in rows if r["x"] % 2 == 0)


@line("1 M rows, map and filter", _rows, "Python loop")
def map_filter(s: Setting) -> None:
    ds = s.data.range(s.n1).map(lambda r: {"x": r["id"] + 1}).filter(lambda r: r["x"] % 2 == 0)
    assert ds.count() == s.n1 // 2


def _write(s: Setting) -> None:
    polars().DataFrame({"id": np.arange(s.n5)}).write_parquet(f"{s.folder}/peer.parquet")


@line("write 5 M rows as Parquet", _write)
def write(s: Setting) -> None:
    folder = f"{s.folder}/written"
    s.data.range(s.n5).write_parquet(folder)
    shutil.rmtree(folder)


@line(
    "10 M rows Parquet, groupby mean",
    lambda s: (
        polars().scan_parquet(s.parquet).group_by("k").agg(polars().col("v").mean()).sort("k").collect()
    ),
)
def groupby(s: Setting) -> None:
    assert len(s.data.read_parquet(s.parquet).groupby("k").mean("v").take_all()) == 1000


@line("10 M rows Parquet, sort", lambda s: polars().scan_parquet(s.parquet).sort("w").collect())
def sort(s: Setting) -> None:
    s.data.read_parquet(s.parquet).sort("w").materialize()


@line(
    "10 M rows Parquet, join with 1000 rows",
    lambda s: (
        polars()
        .scan_parquet(s.parquet)
        .join(polars().scan_parquet(s.right), on="k", maintain_order="left")
        .collect()
    ),
)
def join(s: Setting) -> None:
    left, right = s.data.read_parquet(s.parquet), s.data.read_parquet(s.right)
    left.join(right, "inner", 4, on=("k",)).materialize()


@line(
    "10 M rows Parquet, random_shuffle",
    lambda s: polars().read_parquet(s.parquet).sample(fraction=1.0, shuffle=True, seed=1),
)
def random_shuffle(s: Setting) -> None:
    s.data.read_parquet(s.parquet).random_shuffle(seed=1).materialize()


def _loader(s: Setting, size: int) -> int:
    import torch

    data = torch.utils.data.TensorDataset(torch.from_numpy(s.array))
    return sum(len(b) for (b,) in torch.utils.data.DataLoader(data, batch_size=size, num_workers=0))


def _array(s: Setting) -> Any:
    return s.data.from_numpy(s.array)


@line("iter_batches(1024) over 1 M x 8", lambda s: _loader(s, 1024), "torch DataLoader")
def iter_batches(s: Setting) -> None:
    assert sum(len(b["data"]) for b in _array(s).iter_batches(batch_size=1024)) == s.n1


@line("iter_torch_batches(4096) over 1 M x 8", lambda s: _loader(s, 4096), "torch DataLoader")
def iter_torch(s: Setting) -> None:
    assert sum(len(b["data"]) for b in _array(s).iter_torch_batches(batch_size=4096)) == s.n1


@line("pipeline of 14 operators, 1 M rows")
def pipeline(s: Setting) -> None:
    ds = s.data.range(s.n1)
    for _ in range(12):
        ds = ds.map_batches(lambda b: {"id": b["id"] + 1})
    assert ds.sum("id") == s.n1 * (s.n1 - 1) // 2 + 12 * s.n1


def _files(s: Setting) -> int:
    return sum(len(p.read_text(encoding="utf-8").splitlines()) for p in Path(s.small).iterdir())


@line("10 000 small text files", _files, "Python loop")
def small_files(s: Setting) -> None:
    assert s.data.read_text(s.small).count() == 2 * int(10_000 * s.scale)


class Model:
    """Takes a while per batch."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        x = np.asarray(batch["id"], dtype=np.float64)
        for _ in range(600):
            x = np.sin(x)
        return {"y": x}


def _one_process(s: Setting) -> None:
    model = Model()
    for start in range(0, s.n1, 8192):
        model({"id": np.arange(start, min(s.n1, start + 8192))})


def _part(bounds: tuple[int, int]) -> None:
    model = Model()
    for start in range(*bounds, 8192):
        model({"id": np.arange(start, min(bounds[1], start + 8192))})


def _two_processes(s: Setting) -> None:
    """What two cores give to processes that share nothing, started with their pool as ours are."""
    half = s.n1 // 2
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        pool.map(_part, [(0, half), (half, s.n1)])


@line("the same again", _two_processes, "two bare processes")
@line("class with concurrency=2, 1 M rows", _one_process, "one process")
def class_udf(s: Setting) -> None:
    s.data.range(s.n1, override_num_blocks=16).map_batches(
        Model, concurrency=2, batch_size=8192
    ).materialize()


def measure(fn: Callable[[Any], Any], setting: Setting, repeats: int) -> list[float]:
    """Seconds of each repeat; long lines are not repeated."""
    out: list[float] = []
    for _ in range(repeats):
        if sum(out) > 5:
            break
        began = time.perf_counter()
        fn(setting)
        out.append(time.perf_counter() - began)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=["rayjup", "ray"], default="rayjup")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--skip", default="nothing")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.engine == "ray":
        import ray
        import ray.data
    else:
        import rayjup as ray
        import rayjup.data
    ray.init(num_cpus=os.cpu_count())
    ray.data.DataContext.get_current().enable_progress_bars = False
    folder = tempfile.mkdtemp(prefix="rayjup-bench-")
    results = []
    load = [os.getloadavg()[0]]
    try:
        setting = Setting(ray, folder, 0.1 if options.quick else 1.0)
        # A cold cluster is not what is measured: its processes have imported what they need.
        warm = ray.data.range(1000, override_num_blocks=8).map_batches(lambda b: b, num_cpus=1)
        warm.groupby("id").count().take_all()
        warm.map(lambda r: r).sum("id")
        for name, fn, peer, peer_name in LINES:
            if options.only.lower() not in name.lower() or options.skip in name:
                continue
            bare = measure(peer, setting, options.repeats) if peer and options.engine == "rayjup" else []
            try:
                values, error = measure(fn, setting, options.repeats), ""
            except Exception as problem:  # noqa: BLE001 - the line is reported as failed
                values, error = [], f"{type(problem).__name__}: {problem}"[:200]
            text = f"{min(values):8.3f} s" if values else error
            beside = f"{peer_name} {min(bare):.3f} s" if bare else ""
            print(f"{name:<42} {text}   {beside}", flush=True)
            results.append({"name": name, "values": values, "error": error, "peer": peer_name, "bare": bare})
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    if options.out:
        document = {
            "engine": options.engine,
            "version": ray.__version__,
            "load": [*load, os.getloadavg()[0]],
            "date": datetime.date.today().isoformat(),
            "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "system": sys.platform},
            "lines": results,
        }
        options.out.write_text(json.dumps(document, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
