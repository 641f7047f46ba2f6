"""Functions that read files: one per format.

Besides the arguments of its own each takes those of read tasks (``rayjup.data.read_options``):
``override_num_blocks``, ``concurrency``, ``num_cpus``, ``num_gpus``, ``memory``, ``resources``, …
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rayjup.data.datasource.partitioning import Partitioning, PartitionStyle, PathPartitionFilter
from rayjup.data.read_options import read, split_options

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset
    from rayjup.data.datasource.file_based import FileShuffleConfig

    Shuffle = Literal["files"] | FileShuffleConfig | None

_HIVE = Partitioning(PartitionStyle.HIVE)


def read_csv(
    paths: str | list[str],
    *,
    filesystem: Any = None,
    arrow_open_stream_args: dict[str, Any] | None = None,
    partition_filter: PathPartitionFilter | None = None,
    partitioning: Partitioning | None = _HIVE,
    include_paths: bool = False,
    ignore_missing_paths: bool = False,
    shuffle: Shuffle = None,
    file_extensions: Sequence[str] | None = None,
    **arrow_csv_args: Any,
) -> Dataset:
    """Rows of CSV files.

    Parameters
    ----------
    paths
        Files, directories, patterns, or URIs of them.
    filesystem
        A filesystem of pyarrow or fsspec; by default the paths decide.
    arrow_open_stream_args
        For ``FileSystem.open_input_stream``, such as ``{"compression": "gzip"}``.
    partition_filter
        Which files to read, by the values in their paths.
    partitioning
        How paths hold values that become columns: ``column=value`` by default.
    include_paths
        Whether to add a column ``path``.
    ignore_missing_paths
        Whether to pass over paths that do not exist.
    shuffle
        ``"files"`` or a ``FileShuffleConfig``: the files in random order.
    file_extensions
        Which files of a directory to read.
    **arrow_csv_args
        ``read_options``, ``parse_options``, ``convert_options`` of ``pyarrow.csv``; options of read tasks.

    Examples
    --------
    >>> import rayjup
    >>> rayjup.data.read_csv("example://iris.csv").count()
    150
    """
    from rayjup.data.datasource.csv import CSVDatasource

    options, arguments = split_options(arrow_csv_args)
    source = CSVDatasource(
        paths,
        arguments,
        filesystem=filesystem,
        open_stream_args=arrow_open_stream_args,
        partition_filter=partition_filter,
        partitioning=partitioning,
        include_paths=include_paths,
        ignore_missing_paths=ignore_missing_paths,
        shuffle=shuffle,
        file_extensions=file_extensions,
    )
    return read(source, options, "read_csv")


def read_json(
    paths: str | list[str],
    *,
    lines: bool = False,
    filesystem: Any = None,
    arrow_open_stream_args: dict[str, Any] | None = None,
    partition_filter: PathPartitionFilter | None = None,
    partitioning: Partitioning | None = _HIVE,
    include_paths: bool = False,
    ignore_missing_paths: bool = False,
    shuffle: Shuffle = None,
    file_extensions: Sequence[str] | None = None,
    **arrow_json_args: Any,
) -> Dataset:
    """Rows of JSON files: an object per line, an array of objects, or one object.

    Parameters
    ----------
    paths
        Files, directories, patterns, or URIs of them.
    lines
        Whether there is one object per line for certain.
    filesystem, arrow_open_stream_args, partition_filter, partitioning, include_paths
        As for ``read_csv``.
    ignore_missing_paths, shuffle, file_extensions
        As for ``read_csv``.
    **arrow_json_args
        ``read_options`` and ``parse_options`` of ``pyarrow.json``, and options of read tasks.
    """
    from rayjup.data.datasource.json import JSONDatasource

    options, arguments = split_options(arrow_json_args)
    source = JSONDatasource(
        paths,
        is_jsonl=lines,
        arrow_json_args=arguments,
        filesystem=filesystem,
        open_stream_args=arrow_open_stream_args,
        partition_filter=partition_filter,
        partitioning=partitioning,
        include_paths=include_paths,
        ignore_missing_paths=ignore_missing_paths,
        shuffle=shuffle,
        file_extensions=file_extensions,
    )
    return read(source, options, "read_json")


def read_text(
    paths: str | list[str],
    *,
    encoding: str = "utf-8",
    drop_empty_lines: bool = True,
    filesystem: Any = None,
    arrow_open_stream_args: dict[str, Any] | None = None,
    partition_filter: PathPartitionFilter | None = None,
    partitioning: Partitioning | None = None,
    include_paths: bool = False,
    ignore_missing_paths: bool = False,
    shuffle: Shuffle = None,
    file_extensions: Sequence[str] | None = None,
    **options: Any,
) -> Dataset:
    """Lines of text files, in column ``text``.

    Parameters
    ----------
    paths
        Files, directories, patterns, or URIs of them.
    encoding
        How text is encoded.
    drop_empty_lines
        Whether to leave out lines with nothing but white space.
    filesystem, arrow_open_stream_args, partition_filter, partitioning, include_paths
        As for ``read_csv``.
    ignore_missing_paths, shuffle, file_extensions
        As for ``read_csv``.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.plain_files import TextDatasource

    source = TextDatasource(
        paths,
        drop_empty_lines=drop_empty_lines,
        encoding=encoding,
        filesystem=filesystem,
        open_stream_args=arrow_open_stream_args,
        partition_filter=partition_filter,
        partitioning=partitioning,
        include_paths=include_paths,
        ignore_missing_paths=ignore_missing_paths,
        shuffle=shuffle,
        file_extensions=file_extensions,
    )
    return read(source, options, "read_text")


def read_binary_files(
    paths: str | list[str],
    *,
    include_paths: bool = False,
    filesystem: Any = None,
    arrow_open_stream_args: dict[str, Any] | None = None,
    partition_filter: PathPartitionFilter | None = None,
    partitioning: Partitioning | None = None,
    ignore_missing_paths: bool = False,
    shuffle: Shuffle = None,
    file_extensions: Sequence[str] | None = None,
    **options: Any,
) -> Dataset:
    """Whole files, a row each, in column ``bytes``.

    Parameters
    ----------
    paths
        Files, directories, patterns, or URIs of them.
    include_paths, filesystem, arrow_open_stream_args, partition_filter, partitioning
        As for ``read_csv``.
    ignore_missing_paths, shuffle, file_extensions
        As for ``read_csv``.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.plain_files import BinaryDatasource

    source = BinaryDatasource(
        paths,
        filesystem=filesystem,
        open_stream_args=arrow_open_stream_args,
        partition_filter=partition_filter,
        partitioning=partitioning,
        include_paths=include_paths,
        ignore_missing_paths=ignore_missing_paths,
        shuffle=shuffle,
        file_extensions=file_extensions,
    )
    return read(source, options, "read_binary_files")


def read_numpy(
    paths: str | list[str],
    *,
    filesystem: Any = None,
    arrow_open_stream_args: dict[str, Any] | None = None,
    partition_filter: PathPartitionFilter | None = None,
    partitioning: Partitioning | None = None,
    include_paths: bool = False,
    ignore_missing_paths: bool = False,
    shuffle: Shuffle = None,
    file_extensions: Sequence[str] | None = ("npy",),
    **numpy_load_args: Any,
) -> Dataset:
    """Rows of ``.npy`` files, in column ``data``.

    Parameters
    ----------
    paths
        Files, directories, patterns, or URIs of them.
    filesystem, arrow_open_stream_args, partition_filter, partitioning, include_paths
        As for ``read_csv``.
    ignore_missing_paths, shuffle, file_extensions
        As for ``read_csv``.
    **numpy_load_args
        For ``numpy.load``, and options of read tasks.
    """
    from rayjup.data.datasource.plain_files import NumpyDatasource

    options, arguments = split_options(numpy_load_args)
    source = NumpyDatasource(
        paths,
        arguments,
        filesystem=filesystem,
        open_stream_args=arrow_open_stream_args,
        partition_filter=partition_filter,
        partitioning=partitioning,
        include_paths=include_paths,
        ignore_missing_paths=ignore_missing_paths,
        shuffle=shuffle,
        file_extensions=file_extensions,
    )
    return read(source, options, "read_numpy")


def read_images(
    paths: str | list[str],
    *,
    filesystem: Any = None,
    arrow_open_file_args: dict[str, Any] | None = None,
    partition_filter: PathPartitionFilter | None = None,
    partitioning: Partitioning | None = None,
    size: tuple[int, int] | None = None,
    mode: str | None = None,
    include_paths: bool = False,
    ignore_missing_paths: bool = False,
    shuffle: Shuffle = None,
    file_extensions: Sequence[str] | None = None,
    **options: Any,
) -> Dataset:
    """Images as arrays of height, width and channels, in column ``image``.

    Parameters
    ----------
    paths
        Files, directories, patterns, or URIs of them.
    size
        Height and width to resize to.
    mode
        A mode of Pillow, such as ``"RGB"`` or ``"L"``, to convert to.
    filesystem, arrow_open_file_args, partition_filter, partitioning, include_paths
        As for ``read_csv``.
    ignore_missing_paths, shuffle, file_extensions
        As for ``read_csv``.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.image import ImageDatasource

    source = ImageDatasource(
        paths,
        size=size,
        mode=mode,
        filesystem=filesystem,
        open_stream_args=arrow_open_file_args,
        partition_filter=partition_filter,
        partitioning=partitioning,
        include_paths=include_paths,
        ignore_missing_paths=ignore_missing_paths,
        shuffle=shuffle,
        file_extensions=file_extensions,
    )
    return read(source, options, "read_images")


def read_orc(
    paths: str | list[str],
    *,
    columns: list[str] | None = None,
    filesystem: Any = None,
    partition_filter: PathPartitionFilter | None = None,
    partitioning: Partitioning | None = None,
    include_paths: bool = False,
    ignore_missing_paths: bool = False,
    shuffle: Shuffle = None,
    file_extensions: Sequence[str] | None = ("orc",),
    **options: Any,
) -> Dataset:
    """Rows of ORC files.

    Parameters
    ----------
    paths
        Files, directories, patterns, or URIs of them.
    columns
        The columns to read.
    filesystem, partition_filter, partitioning, include_paths
        As for ``read_csv``.
    ignore_missing_paths, shuffle, file_extensions
        As for ``read_csv``.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.orc import ORCDatasource

    source = ORCDatasource(
        paths,
        columns,
        filesystem=filesystem,
        partition_filter=partition_filter,
        partitioning=partitioning,
        include_paths=include_paths,
        ignore_missing_paths=ignore_missing_paths,
        shuffle=shuffle,
        file_extensions=file_extensions,
    )
    return read(source, options, "read_orc")


def read_avro(
    paths: str | list[str],
    *,
    filesystem: Any = None,
    arrow_open_stream_args: dict[str, Any] | None = None,
    partition_filter: PathPartitionFilter | None = None,
    partitioning: Partitioning | None = None,
    include_paths: bool = False,
    ignore_missing_paths: bool = False,
    shuffle: Shuffle = None,
    file_extensions: Sequence[str] | None = None,
    **options: Any,
) -> Dataset:
    """Records of Avro files.

    Parameters
    ----------
    paths
        Files, directories, patterns, or URIs of them.
    filesystem, arrow_open_stream_args, partition_filter, partitioning, include_paths
        As for ``read_csv``.
    ignore_missing_paths, shuffle, file_extensions
        As for ``read_csv``.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.avro import AvroDatasource

    source = AvroDatasource(
        paths,
        filesystem=filesystem,
        open_stream_args=arrow_open_stream_args,
        partition_filter=partition_filter,
        partitioning=partitioning,
        include_paths=include_paths,
        ignore_missing_paths=ignore_missing_paths,
        shuffle=shuffle,
        file_extensions=file_extensions,
    )
    return read(source, options, "read_avro")


def read_tfrecords(
    paths: str | list[str],
    *,
    filesystem: Any = None,
    arrow_open_stream_args: dict[str, Any] | None = None,
    partition_filter: PathPartitionFilter | None = None,
    include_paths: bool = False,
    ignore_missing_paths: bool = False,
    tf_schema: Any = None,
    shuffle: Shuffle = None,
    file_extensions: Sequence[str] | None = None,
    tfx_read_options: Any = None,
    **options: Any,
) -> Dataset:
    """Records (``tf.train.Example``) of TFRecord files; a column per feature. TensorFlow is not needed.

    Parameters
    ----------
    paths
        Files, directories, patterns, or URIs of them.
    tf_schema
        A ``Schema`` message of TensorFlow Metadata: types of features that have no values.
    tfx_read_options
        Taken for the sake of existing programs; nothing here needs it.
    filesystem, arrow_open_stream_args, partition_filter, include_paths
        As for ``read_csv``.
    ignore_missing_paths, shuffle, file_extensions
        As for ``read_csv``.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.tfrecords import TFRecordDatasource

    source = TFRecordDatasource(
        paths,
        tf_schema,
        filesystem=filesystem,
        open_stream_args=arrow_open_stream_args,
        partition_filter=partition_filter,
        include_paths=include_paths,
        ignore_missing_paths=ignore_missing_paths,
        shuffle=shuffle,
        file_extensions=file_extensions,
    )
    return read(source, options, "read_tfrecords")


def read_webdataset(
    paths: str | list[str],
    *,
    filesystem: Any = None,
    arrow_open_stream_args: dict[str, Any] | None = None,
    partition_filter: PathPartitionFilter | None = None,
    decoder: bool | str | Callable[..., Any] | list[Any] | None = True,
    fileselect: list[str] | Callable[..., Any] | None = None,
    filerename: list[Any] | Callable[..., Any] | None = None,
    suffixes: list[str] | Callable[..., Any] | None = None,
    verbose_open: bool = False,
    shuffle: Shuffle = None,
    include_paths: bool = False,
    ignore_missing_paths: bool = False,
    file_extensions: Sequence[str] | None = None,
    expand_json: bool = False,
    **options: Any,
) -> Dataset:
    """Samples of tar archives as WebDataset makes them: a column per extension, and ``__key__``.

    Parameters
    ----------
    paths
        Files, directories, patterns, or URIs of them.
    decoder
        ``True`` decodes by extension, a text (``"rgb"``, ``"pil"``) says how images come out, ``None`` leaves
        bytes; a function is given the sample, and a list of all of these is applied in order.
    fileselect, suffixes
        Patterns, or a function, that choose files of the archive, or extensions.
    filerename
        Pairs of regular expression and replacement, or a function, that rename them first.
    verbose_open
        Whether to log the archives that are opened.
    expand_json
        Whether the keys of a ``json`` file become columns.
    filesystem, arrow_open_stream_args, partition_filter, include_paths
        As for ``read_csv``.
    ignore_missing_paths, shuffle, file_extensions
        As for ``read_csv``.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.webdataset import WebDatasetDatasource

    source = WebDatasetDatasource(
        paths,
        decoder=decoder,
        fileselect=fileselect,
        filerename=filerename,
        suffixes=suffixes,
        verbose_open=verbose_open,
        expand_json=expand_json,
        filesystem=filesystem,
        open_stream_args=arrow_open_stream_args,
        partition_filter=partition_filter,
        include_paths=include_paths,
        ignore_missing_paths=ignore_missing_paths,
        shuffle=shuffle,
        file_extensions=file_extensions,
    )
    return read(source, options, "read_webdataset")


def read_audio(
    paths: str | list[str],
    *,
    filesystem: Any = None,
    arrow_open_stream_args: dict[str, Any] | None = None,
    partition_filter: PathPartitionFilter | None = None,
    partitioning: Partitioning | None = None,
    include_paths: bool = False,
    ignore_missing_paths: bool = False,
    file_extensions: Sequence[str] | None = None,
    shuffle: Shuffle = None,
    **options: Any,
) -> Dataset:
    """Audio files, decoded by soundfile: ``amplitude`` (channels and samples) and ``sample_rate``.

    Parameters
    ----------
    paths
        Files, directories, patterns, or URIs of them.
    filesystem, arrow_open_stream_args, partition_filter, partitioning, include_paths
        As for ``read_csv``.
    ignore_missing_paths, file_extensions, shuffle
        As for ``read_csv``.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.media import AudioDatasource

    source = AudioDatasource(
        paths,
        filesystem=filesystem,
        open_stream_args=arrow_open_stream_args,
        partition_filter=partition_filter,
        partitioning=partitioning,
        include_paths=include_paths,
        ignore_missing_paths=ignore_missing_paths,
        shuffle=shuffle,
        file_extensions=file_extensions,
    )
    return read(source, options, "read_audio")


def read_videos(
    paths: str | list[str],
    *,
    filesystem: Any = None,
    arrow_open_stream_args: dict[str, Any] | None = None,
    partition_filter: PathPartitionFilter | None = None,
    partitioning: Partitioning | None = None,
    include_paths: bool = False,
    include_timestamps: bool = False,
    fps: int | None = None,
    resize: tuple[int, int] | None = None,
    ignore_missing_paths: bool = False,
    file_extensions: Sequence[str] | None = None,
    shuffle: Shuffle = None,
    **options: Any,
) -> Dataset:
    """Frames of video files, decoded by PyAV: ``frame`` and ``frame_index``.

    Parameters
    ----------
    paths
        Files, directories, patterns, or URIs of them.
    include_timestamps
        Whether to add ``frame_timestamp``: beginning and end in seconds.
    fps
        Take so many frames per second instead of all.
    resize
        Height and width of the frames.
    filesystem, arrow_open_stream_args, partition_filter, partitioning, include_paths
        As for ``read_csv``.
    ignore_missing_paths, file_extensions, shuffle
        As for ``read_csv``.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.media import VideoDatasource

    source = VideoDatasource(
        paths,
        include_timestamps=include_timestamps,
        fps=fps,
        resize=resize,
        filesystem=filesystem,
        open_stream_args=arrow_open_stream_args,
        partition_filter=partition_filter,
        partitioning=partitioning,
        include_paths=include_paths,
        ignore_missing_paths=ignore_missing_paths,
        shuffle=shuffle,
        file_extensions=file_extensions,
    )
    return read(source, options, "read_videos")
