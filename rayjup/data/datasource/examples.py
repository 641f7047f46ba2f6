"""The samples behind ``example://``: made on this machine, from scikit-learn's data or from nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.base.paths import cache_root


def _sklearn(name: str) -> Any:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            f"example://{name} is made from scikit-learn's data; install it with: pip install scikit-learn"
        ) from error
    return datasets


def _iris() -> pa.Table:
    data = _sklearn("iris.csv").load_iris()
    columns = {
        name: data.data[:, place]
        for place, name in enumerate(("sepal.length", "sepal.width", "petal.length", "petal.width"))
    }
    return pa.table({**columns, "variety": [data.target_names[label].capitalize() for label in data.target]})


def _breast_cancer() -> pa.Table:
    data = _sklearn("breast_cancer.csv").load_breast_cancer()
    columns = {str(name): data.data[:, place] for place, name in enumerate(data.feature_names)}
    return pa.table({**columns, "target": data.target})


def _digits() -> pa.Table:
    from rayjup.data.extensions import ArrowTensorArray

    data = _sklearn("digits.parquet").load_digits()
    images = ArrowTensorArray.from_numpy(data.images.astype(np.uint8))
    return pa.table({"image": images, "label": data.target})


def _csv(table: pa.Table, path: Path) -> None:
    from pyarrow import csv

    csv.write_csv(table, path)


def _parquet(table: pa.Table, path: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(table, path)


def _json(table: pa.Table, path: Path) -> None:
    import json

    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()), encoding="utf-8")


_TABLES: dict[str, Callable[[], pa.Table]] = {
    "iris": _iris,
    "breast_cancer": _breast_cancer,
    "digits": _digits,
}
_WRITERS = {"csv": _csv, "parquet": _parquet, "json": _json}
_KINDS = {"iris": ("csv", "parquet", "json"), "breast_cancer": ("csv", "parquet"), "digits": ("parquet",)}


def example_path(name: str) -> str:
    """The path of a sample such as ``iris.csv``; it is made when it is first asked for.

    Parameters
    ----------
    name
        The whole URI, or what follows ``example://``.
    """
    name = name.removeprefix("example://").strip("/")
    stem, _, kind = name.partition(".")
    if kind not in _KINDS.get(stem, ()):
        known = ", ".join(f"{known_stem}.{k}" for known_stem, kinds in _KINDS.items() for k in kinds)
        raise FileNotFoundError(f"There is no sample example://{name}; there are {known}.")
    folder = Path(cache_root()) / "examples"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{stem}.{kind}"
    if not path.exists():
        unfinished = folder / f".{stem}.{os.getpid()}.{kind}"
        _WRITERS[kind](_TABLES[stem](), unfinished)
        os.replace(unfinished, path)  # in one step, for whoever reads at the same time
    return str(path)
