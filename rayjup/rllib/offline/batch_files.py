"""Batches in files of JSON, one per line, and other sources of batches.

For data that older programs recorded, and for training loops of one's own; the algorithms read episodes
through `OfflineData`.
"""

from __future__ import annotations

import abc
import base64
import glob
import json
import os
import pickle
import time
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from rayjup.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from rayjup.rllib.utils import nested

_COMPRESSED = "BCJN"  # how RLlib's compressed columns begin (base64 of an LZ4 frame)


class InputReader(abc.ABC):
    """A source of batches."""

    @abc.abstractmethod
    def next(self) -> Any:
        """The next batch."""

    def tf_input_ops(self, queue_size: int = 1) -> Any:
        """Nothing: queues of TensorFlow graphs belong to the old stack."""
        raise TypeError("there are no TensorFlow graphs here: call next() for batches of arrays.")


class OutputWriter:
    """Where batches go."""

    def write(self, sample_batch: Any) -> None:
        """Take a batch."""
        raise TypeError(f"{type(self).__name__} must define write().")


class NoopOutput(OutputWriter):
    """Keeps nothing."""

    def write(self, sample_batch: Any) -> None:
        """Forget the batch."""


class IOContext:
    """What readers and writers are told: where logs go, the config, whose worker's they are."""

    def __init__(
        self,
        log_dir: str | None = None,
        config: Any = None,
        worker_index: int = 0,
        worker: Any = None,
    ) -> None:
        from rayjup.rllib.algorithms.algorithm_config import AlgorithmConfig

        self.log_dir = log_dir or os.getcwd()
        self.config = AlgorithmConfig() if config is None else config
        self.worker_index, self.worker = worker_index, worker

    def default_sampler_input(self) -> Any:
        """The worker's own sampler, where there is one."""
        return getattr(self.worker, "sampler", None)

    @property
    def input_config(self) -> dict[str, Any]:
        """``input_config`` of the config."""
        return self.config.get("input_config", {})

    @property
    def output_config(self) -> dict[str, Any]:
        """``output_config`` of the config."""
        return self.config.get("output_config", {})


class JsonWriter(OutputWriter):
    """Writes batches into files of a directory, a line each.

    Parameters
    ----------
    path
        Directory, made if need be.
    max_file_size
        Bytes after which a new file begins.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from rayjup.rllib import SampleBatch
    >>> from rayjup.rllib.offline import JsonReader, JsonWriter
    >>> directory = tempfile.mkdtemp()
    >>> JsonWriter(directory).write(SampleBatch({"obs": np.arange(3), "rewards": np.ones(3)}))
    >>> JsonReader(directory).next()["obs"]
    array([0, 1, 2])
    """

    def __init__(
        self,
        path: str,
        ioctx: IOContext | None = None,
        max_file_size: int = 64 * 1024 * 1024,
        compress_columns: Any = frozenset({"obs", "new_obs"}),
    ) -> None:
        self.path = Path(path).expanduser()
        self.path.mkdir(parents=True, exist_ok=True)
        self.index = 0 if ioctx is None else ioctx.worker_index
        self.max_file_size = max_file_size
        self._file: Path | None = None

    def write(self, sample_batch: Any) -> None:
        """Append the batch."""
        line = json.dumps(_packed(sample_batch), allow_nan=True) + "\n"
        if self._file is None or self._file.stat().st_size + len(line) > self.max_file_size:
            stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
            self._file = self.path / f"output-{stamp}_worker-{self.index}_{uuid.uuid4().hex[:8]}.json"
        with self._file.open("a") as file:
            file.write(line)


class JsonReader(InputReader):
    """Reads batches from files of JSON: over and over, the files in a random order.

    Parameters
    ----------
    inputs
        A directory, a glob pattern, or a list of files.
    """

    def __init__(self, inputs: str | list[str], ioctx: IOContext | None = None) -> None:
        given = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
        found: list[Path] = []
        for item in given:
            path = Path(item).expanduser()
            if path.is_dir():
                found += sorted(path.glob("*.json"))
            else:
                found += [Path(name) for name in sorted(glob.glob(str(path)))]
        if not found:
            raise ValueError(f"no files of JSON at {inputs}: give a directory with them, or their names.")
        self.files = found
        seed = None if ioctx is None else ioctx.config.get("seed")
        self._rng = np.random.default_rng(seed)
        self._lines = self._endless()

    def _endless(self) -> Any:
        while True:
            empty = True
            for place in self._rng.permutation(len(self.files)):
                for batch in _batches_in(self.files[place]):
                    empty = False
                    yield batch
            if empty:
                raise ValueError(f"{len(self.files)} files without a batch, the first is {self.files[0]}.")

    def next(self) -> Any:
        """The next batch."""
        return next(self._lines)

    def read_all_files(self) -> Any:
        """All batches of all files, once; an iterator."""
        for file in self.files:
            yield from _batches_in(file)


class DatasetWriter(OutputWriter):
    """Writes batches as rows of Parquet or JSON files, through rayjup.data.

    ``output_config`` of the context says ``path``, ``format`` ("parquet" or "json") and
    ``max_num_samples_per_file``.
    """

    def __init__(
        self, ioctx: IOContext | None = None, compress_columns: Any = frozenset({"obs", "new_obs"})
    ) -> None:
        settings = (ioctx or IOContext()).output_config
        self.format = settings.get("format", "parquet")
        self.path = settings.get("path")
        self.most = settings.get("max_num_samples_per_file") or 100_000
        if self.format not in ("parquet", "json") or not self.path:
            raise ValueError("output_config must say a path, and 'parquet' or 'json' as the format.")
        self._waiting: list[SampleBatch] = []

    def write(self, sample_batch: Any) -> None:
        """Take a batch; files are written as soon as there are enough rows."""
        self._waiting.append(sample_batch)
        if sum(len(b) for b in self._waiting) >= self.most:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if not self._waiting:
            return
        import rayjup.data

        rows = [row for batch in self._waiting for row in batch.rows()]
        self._waiting = []
        dataset = rayjup.data.from_items([{k: _plain(v) for k, v in row.items()} for row in rows])
        getattr(dataset, f"write_{self.format}")(self.path)


class DatasetReader(InputReader):
    """Batches of a `Dataset` of rayjup.data, over and over.

    Parameters
    ----------
    ds
        Rows are steps.
    """

    def __init__(self, ds: Any, ioctx: IOContext | None = None) -> None:
        self.dataset = ds
        config = (ioctx or IOContext()).config
        self.batch_size = config.get("train_batch_size") or 1
        self.count = ds.count()
        self._batches = self._endless()

    def _endless(self) -> Any:
        if not self.count:
            raise ValueError("the dataset has no rows.")
        while True:
            for columns in self.dataset.iter_batches(batch_size=self.batch_size, batch_format="numpy"):
                yield SampleBatch({k: _stacked(v) for k, v in columns.items()})

    def next(self) -> Any:
        """The next batch."""
        return next(self._batches)


class ShuffledInput(InputReader):
    """Another reader's batches, out of a buffer of ``n`` of them in a random order."""

    def __init__(self, child: InputReader, n: int = 0, seed: int | None = None) -> None:
        self.child, self.n = child, n
        self._buffer: list[Any] = []
        self._rng = np.random.default_rng(seed)

    def next(self) -> Any:
        """A random one of the buffer; a new one takes its place."""
        if self.n <= 1:
            return self.child.next()
        while len(self._buffer) < self.n:
            self._buffer.append(self.child.next())
        place = int(self._rng.integers(self.n))
        found, self._buffer[place] = self._buffer[place], self.child.next()
        return found


class MixedInput(InputReader):
    """Batches of several readers, each as often as its share.

    Parameters
    ----------
    dist
        Shares by reader, or by the path of files for `JsonReader`.
    """

    def __init__(self, dist: dict[Any, float], ioctx: IOContext | None = None) -> None:
        if not dist or abs(sum(dist.values()) - 1.0) > 1e-6:
            raise ValueError(f"the shares of MixedInput must add up to 1, not {sum(dist.values()):g}.")
        self.readers = [r if isinstance(r, InputReader) else JsonReader(r, ioctx) for r in dist]
        self.shares = list(dist.values())
        self._rng = np.random.default_rng(None if ioctx is None else ioctx.config.get("seed"))

    def next(self) -> Any:
        """A batch of one of the readers."""
        return self.readers[int(self._rng.choice(len(self.readers), p=self.shares))].next()


def get_dataset_and_shards(config: Any, num_workers: int = 0) -> tuple[Any, list[Any]]:
    """The `Dataset` that ``input_config`` describes, and its parts for the workers.

    ``input_config`` has ``format`` ("parquet" or "json") and ``paths``, or a ``loader_fn``.
    """
    import rayjup.data

    settings = config.get("input_config", {})
    loader, form = settings.get("loader_fn"), settings.get("format")
    if loader is not None:
        dataset = loader()
    elif form in ("parquet", "json"):
        dataset = getattr(rayjup.data, f"read_{form}")(settings["paths"])
    else:
        raise ValueError("input_config must say a loader_fn, or paths and 'parquet' or 'json' as the format.")
    if num_workers <= 1:
        return dataset, [dataset] if num_workers == 0 else [None, dataset]
    return dataset, [None, *dataset.repartition(num_workers).split(num_workers, equal=False)]


def get_offline_io_resource_bundles(config: Any) -> list[dict[str, float]]:
    """Resources that reading recorded data needs besides the runners' own."""
    settings = config.get("input_config", {}) or {}
    parallel = int(settings.get("parallelism", 0) or 0)
    return [{"CPU": float(settings.get("num_cpus_per_read_task", 1))} for _ in range(parallel)]


def _packed(batch: Any) -> dict[str, Any]:
    if isinstance(batch, MultiAgentBatch):
        parts = {m: _packed(b) for m, b in batch.policy_batches.items()}
        return {"type": "MultiAgentBatch", "count": batch.count, "policy_batches": parts}
    return {"type": "SampleBatch", **{k: _plain(v) for k, v in batch.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _batches_in(file: Path) -> Any:
    with file.open() as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield _unpacked(json.loads(line))
            except json.JSONDecodeError:
                warnings.warn(f"{file}, line {number} is no JSON: left out.", RuntimeWarning, stacklevel=2)


def _unpacked(data: dict[str, Any]) -> Any:
    kind = data.pop("type", "SampleBatch").lower()
    if kind == "multiagentbatch":
        parts = {m: _unpacked(b) for m, b in data["policy_batches"].items()}
        return MultiAgentBatch(parts, data["count"])
    return SampleBatch({k: _column(v) for k, v in data.items()})


def _column(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _column(v) for k, v in value.items()}
    if isinstance(value, str) and value.startswith(_COMPRESSED):
        try:
            import lz4.frame  # type: ignore[import-not-found]
        except ImportError:
            raise ImportError("compressed columns need a package: pip install lz4") from None
        value = pickle.loads(lz4.frame.decompress(base64.b64decode(value)))
    if isinstance(value, list) and value and isinstance(value[0], str) and value[0].startswith(_COMPRESSED):
        value = [_column(v) for v in value]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        if value[0] and all(set(v) == set(value[0]) for v in value):
            return nested.stack([{k: np.asarray(x) for k, x in v.items()} for v in value])
        return np.asarray(value, object)
    return np.asarray(value)


def _stacked(column: Any) -> Any:
    return np.stack(list(column)) if getattr(column, "dtype", np.dtype(int)).kind == "O" else column
