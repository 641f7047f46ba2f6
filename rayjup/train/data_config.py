"""How data sets are divided among the workers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

TRAIN_DATASET_KEY = "train"


class DataConfig:
    """How the trainer's data sets get to the workers.

    Parameters
    ----------
    datasets_to_split
        ``"all"``, or the names of those of which every worker gets a share. Of the others each gets
        the whole.
    execution_options
        How the data sets are executed (`rayjup.data.ExecutionOptions`), for all or by name.
    enable_shard_locality
        Whether workers preferably get what lies on their node.

    Notes
    -----
    For another way of dividing, derive from it and override `configure`.
    """

    _train_cpus = _train_gpus = 0.0  # held by the workers

    def __init__(
        self,
        datasets_to_split: Literal["all"] | list[str] = "all",
        execution_options: Any = None,
        enable_shard_locality: bool = True,
    ) -> None:
        if datasets_to_split != "all" and not isinstance(datasets_to_split, (list, tuple)):
            raise TypeError(
                f"DataConfig: datasets_to_split must be 'all' or a list of names, not {datasets_to_split!r}"
            )
        self._datasets_to_split = datasets_to_split
        self._execution_options = execution_options
        self._enable_shard_locality = enable_shard_locality

    @property
    def datasets_to_split(self) -> Literal["all"] | list[str]:
        """Which data sets are divided."""
        return self._datasets_to_split

    def configure(
        self,
        datasets: Mapping[str, Any],
        world_size: int,
        worker_handles: list[Any] | None,
        worker_node_ids: list[str] | None,
        **kwargs: Any,
    ) -> list[dict[str, Any]]:
        """For each worker its share (or the whole) of each data set.

        A data set is anything with ``streaming_split`` (`rayjup.data.Dataset`), a function that makes one, or
        anything that can be pickled, which every worker then gets whole.
        """
        split = set(datasets) if self._datasets_to_split == "all" else set(self._datasets_to_split)
        unknown = split - set(datasets)
        if unknown:
            raise ValueError(
                f"DataConfig: datasets_to_split names {sorted(unknown)}, but the trainer has "
                f"{sorted(datasets)}"
            )
        shares: list[dict[str, Any]] = [{} for _ in range(world_size)]
        hints = worker_node_ids if self._enable_shard_locality else None
        for name, given in datasets.items():
            data = given() if _is_factory(given) else given
            data = self._with_options(name, data)
            if name in split and hasattr(data, "streaming_split"):
                parts = data.streaming_split(world_size, equal=True, locality_hints=hints)
            elif hasattr(data, "iterator"):
                parts = [data.iterator()] * world_size
            else:
                parts = [data] * world_size
            for share, part in zip(shares, parts, strict=True):
                share[name] = part
        return shares

    def set_train_total_resources(self, num_train_cpus: float, num_train_gpus: float) -> None:
        """What the workers hold: the data sets leave it to them, unless their options say otherwise."""
        self._train_cpus, self._train_gpus = num_train_cpus, num_train_gpus

    def _with_options(self, name: str, data: Any) -> Any:
        """The data set as it is executed for training; the one given stays as it is."""
        from rayjup.data import Dataset, ExecutionResources

        if not isinstance(data, Dataset):
            return data
        data = Dataset.copy(data, _deep_copy=True)
        options = self._execution_options
        if isinstance(options, Mapping):
            options = options.get(name)
        if options is None:
            options = copy.copy(data.context.execution_options)
            if options.is_resource_limits_default():
                excluded = options.exclude_resources
                options.exclude_resources = excluded.add(
                    ExecutionResources(cpu=self._train_cpus, gpu=self._train_gpus)
                )
        data.context.execution_options = options
        return data

    @staticmethod
    def default_ingest_options() -> Any:
        """The options with which data sets are executed for training."""
        from rayjup.data import ExecutionOptions

        return ExecutionOptions()


def _is_factory(given: Any) -> bool:
    return callable(given) and not hasattr(given, "streaming_split") and not hasattr(given, "iter_batches")
