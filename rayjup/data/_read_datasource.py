"""A dataset of a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayjup.data._dataset_transform import remote_of
from rayjup.data.logical.sources import Read

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset
    from rayjup.data.datasource.datasource import Datasource


def read_datasource(
    datasource: Datasource,
    *,
    parallelism: int = -1,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    memory: float | None = None,
    concurrency: int | None = None,
    compute: Any = None,
    override_num_blocks: int | None = None,
    ray_remote_args: dict[str, Any] | None = None,
    read_args: dict[str, Any] | None = None,
    **remote_args: Any,
) -> Dataset:
    """A dataset of a source of one's own.

    Parameters
    ----------
    datasource : Datasource
    concurrency : int, optional
        So many read tasks at a time.
    override_num_blocks, parallelism : int, optional
        In how many parts to read; otherwise as the size suggests.
    num_cpus, num_gpus, memory, ray_remote_args, **remote_args
        What each read task asks for.
    """
    from rayjup.data.dataset import Dataset

    count = (
        override_num_blocks if override_num_blocks is not None else parallelism if parallelism > 0 else None
    )
    if count is not None and count < 1:
        raise ValueError(f"override_num_blocks={count} must be at least 1.")
    if concurrency is None and compute is not None:
        concurrency = getattr(compute, "size", None)
    remote = remote_of(num_cpus, num_gpus, memory, remote_args, ray_remote_args)
    return Dataset(Read(datasource, count, None, remote, concurrency))
