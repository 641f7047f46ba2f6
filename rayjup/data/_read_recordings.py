"""Functions that read recordings of robots and arrays of science."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from rayjup.data.read_options import read

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset
    from rayjup.data.datasource.file_based import FileShuffleConfig
    from rayjup.data.datasource.mcap import TimeRange
    from rayjup.data.datasource.partitioning import Partitioning, PathPartitionFilter


def read_mcap(
    paths: str | list[str],
    *,
    topics: list[str] | set[str] | None = None,
    time_range: tuple[int, int] | TimeRange | None = None,
    message_types: list[str] | set[str] | None = None,
    include_metadata: bool = True,
    filesystem: Any = None,
    partition_filter: PathPartitionFilter | None = None,
    partitioning: Partitioning | None = None,
    include_paths: bool = False,
    ignore_missing_paths: bool = False,
    shuffle: Literal["files"] | FileShuffleConfig | None = None,
    file_extensions: Sequence[str] | None = None,
    **options: Any,
) -> Dataset:
    """Messages of MCAP files, a row each.

    Parameters
    ----------
    paths
        Files, directories, patterns, or URIs of them.
    topics, message_types
        Which messages; all by default.
    time_range
        When they were logged, in nanoseconds.
    include_metadata
        Whether to add columns about channel and schema.
    filesystem, partition_filter, partitioning, include_paths
        As for ``read_csv``.
    ignore_missing_paths, shuffle, file_extensions
        As for ``read_csv``.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.mcap import MCAPDatasource

    source = MCAPDatasource(
        paths,
        topics,
        time_range,
        message_types,
        include_metadata,
        filesystem=filesystem,
        partition_filter=partition_filter,
        partitioning=partitioning,
        include_paths=include_paths,
        ignore_missing_paths=ignore_missing_paths,
        shuffle=shuffle,
        file_extensions=file_extensions,
    )
    return read(source, options, "read_mcap")


def read_lerobot(
    root: str | list[str],
    *,
    episodes: list[int] | None = None,
    read_granularity: Literal["file", "episode"] = "file",
    filesystem: Any = None,
    frame_tolerance_s: float | None = None,
    delta_timestamps: dict[str, list[float]] | None = None,
    delta_tolerance_s: float = 1e-4,
    storage_options: dict[str, Any] | None = None,
    **options: Any,
) -> Dataset:
    """Frames of a LeRobot v3 dataset, with what the cameras saw.

    Parameters
    ----------
    root
        The dataset, or several.
    episodes
        Which episodes; all by default.
    read_granularity
        Whether a task reads the episodes of a file, or one.
    filesystem, storage_options
        A filesystem of pyarrow or fsspec, or the options for one.
    frame_tolerance_s
        How far a frame may be from the time of its row.
    delta_timestamps
        By feature, seconds relative to a row: the feature's values at these times, stacked.
    delta_tolerance_s
        How far such a value may be from its time.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.lerobot import LeRobotDatasource

    source = LeRobotDatasource(
        root,
        episodes=episodes,
        read_granularity=read_granularity,
        filesystem=filesystem,
        storage_options=storage_options,
        frame_tolerance_s=frame_tolerance_s,
        delta_timestamps=delta_timestamps,
        delta_tolerance_s=delta_tolerance_s,
    )
    return read(source, options, "read_lerobot")


def read_zarr(
    path: str,
    *,
    filesystem: Any = None,
    chunk_shapes: dict[str, list[int]] | list[int] | None = None,
    array_paths: list[str] | None = None,
    allow_full_metadata_scan: bool = False,
    align_axis_0: bool = False,
    overlap: int = 0,
    **options: Any,
) -> Dataset:
    """Arrays of a Zarr store: a row per chunk, or per slice along the first axis.

    Parameters
    ----------
    path
        The store: a path or a URI.
    filesystem
        A filesystem of fsspec.
    chunk_shapes
        Other shapes than the stored ones, for all arrays or by their paths.
    array_paths
        Which arrays; all by default.
    allow_full_metadata_scan
        Taken for the sake of existing programs; ``zarr`` itself finds out what a store holds.
    align_axis_0
        Whether a row is a slice along the first axis of all arrays, instead of a chunk of one.
    overlap
        By how many elements such slices reach into the next.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.zarr import ZarrDatasource

    source = ZarrDatasource(path, filesystem, chunk_shapes, array_paths, align_axis_0, overlap)
    return read(source, options, "read_zarr")
