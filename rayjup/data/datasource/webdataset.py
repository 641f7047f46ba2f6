"""WebDataset: tar archives in which files of the same name and different extensions are one sample."""

from __future__ import annotations

import fnmatch
import io
import json
import pickle
import re
import tarfile
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.file_based import FileBasedDatasource
from rayjup.data.datasource.file_datasink import BlockBasedFileDatasink

_IMAGES = frozenset({"jpg", "jpeg", "png", "ppm", "pgm", "pbm", "pnm", "webp", "bmp", "gif", "tif", "tiff"})
_BLOCK_BYTES = 64 * 1024 * 1024


class WebDatasetDatasource(FileBasedDatasource):
    """Tar archives of samples; a row per sample, a column per extension, and ``__key__``.

    Parameters
    ----------
    paths
        Files, directories, URIs.
    decoder
        ``True`` decodes by extension, a text (``"rgb"``, ``"L"``, ``"pil"``) says how images come out,
        ``None`` leaves bytes; a function is given the sample, and a list of all of these is applied in order.
    fileselect
        Patterns, or a function, that choose files of the archive.
    filerename
        Pairs of regular expression and replacement, or a function, that rename them first.
    suffixes
        Patterns, or a function, that choose extensions.
    verbose_open
        Whether to log the archives that are opened.
    expand_json
        Whether the keys of a ``json`` file become columns.
    **file_based_datasource_kwargs
        As for ``FileBasedDatasource``.
    """

    _FILE_EXTENSIONS = ("tar", "tar.gz", "tgz")
    _NUM_THREADS_PER_TASK = 1

    def __init__(
        self,
        paths: str | list[str],
        decoder: Any = True,
        fileselect: Any = None,
        filerename: Any = None,
        suffixes: Any = None,
        verbose_open: bool = False,
        expand_json: bool = False,
        **file_based_datasource_kwargs: Any,
    ) -> None:
        super().__init__(paths, **file_based_datasource_kwargs)
        self._decoder, self._verbose, self._expand_json = decoder, verbose_open, expand_json
        self._select, self._rename, self._suffixes = fileselect, filerename, suffixes

    def _read_stream(self, f: Any, path: str) -> Iterator[pa.Table]:
        from rayjup.data.block.convert import rows_to_table

        if self._verbose:
            import logging

            logging.getLogger(__name__).info("opening %s", path)
        rows: list[dict[str, Any]] = []
        size = 0
        for sample in self._samples(f):
            size += sum(len(value) for value in sample.values() if isinstance(value, bytes))
            rows.append(self._decoded(sample))
            if size >= _BLOCK_BYTES:
                yield rows_to_table(rows)
                rows, size = [], 0
        if rows:
            yield rows_to_table(rows)

    def _samples(self, f: Any) -> Iterator[dict[str, Any]]:
        sample: dict[str, Any] = {}
        with tarfile.open(fileobj=_Seekless(f), mode="r|*") as archive:
            for member in archive:
                name = _renamed(member.name, self._rename)
                base = name.rpartition("/")[2]
                if not member.isfile() or base.startswith((".", "__")) or not _chosen(name, self._select):
                    continue
                key, suffix = _split(name)
                if not suffix or not _chosen(suffix, self._suffixes):
                    continue
                if sample and sample["__key__"] != key:
                    yield sample
                    sample = {}
                sample.setdefault("__key__", key)
                if suffix in sample:
                    raise ValueError(f"the sample {key!r} has two files with the extension {suffix!r}")
                file = archive.extractfile(member)
                assert file is not None
                sample[suffix] = file.read()
        if sample:
            yield sample

    def _decoded(self, sample: dict[str, Any]) -> dict[str, Any]:
        for step in self._decoder if isinstance(self._decoder, list) else [self._decoder]:
            if callable(step):
                sample = step(sample)
            elif step is True or isinstance(step, str):
                images = step if isinstance(step, str) else "rgb"
                sample = {name: _decode(name, value, images) for name, value in sample.items()}
        if self._expand_json and isinstance(sample.get("json"), (bytes, str, dict)):
            found = sample.pop("json")
            sample.update(found if isinstance(found, dict) else json.loads(found))
        return sample


class _Seekless(io.RawIOBase):
    """A stream of pyarrow for tarfile, which reads it from beginning to end."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size) if size >= 0 else self._file.read()


def _split(name: str) -> tuple[str, str]:
    """Key and extension: all that follows the first dot of the file's name."""
    directory, slash, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return directory + slash + stem, suffix.lower()


def _chosen(name: str, patterns: Any) -> bool:
    if patterns is None:
        return True
    if callable(patterns):
        return bool(patterns(name))
    if isinstance(patterns, str):
        patterns = [patterns]
    return any(
        fnmatch.fnmatch(name, pattern.lstrip(".") if "/" not in pattern else pattern) for pattern in patterns
    )


def _renamed(name: str, rules: Any) -> str:
    if rules is None:
        return name
    if callable(rules):
        return rules(name)
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _decode(name: str, value: Any, images: str) -> Any:
    """A value by the last part of its extension."""
    if name.startswith("__") or not isinstance(value, bytes):
        return value
    kind = name.rpartition(".")[2]
    if kind in ("txt", "text", "transcript"):
        return value.decode()
    if kind in ("cls", "cls2", "class", "count", "index", "inx", "id"):
        return int(value)
    if kind in ("json", "jsn"):
        return json.loads(value)
    if kind == "npy":
        return np.load(io.BytesIO(value))
    if kind in ("pickle", "pkl", "pyd"):
        return pickle.loads(value)
    if kind in ("pt", "pth"):
        import torch

        return torch.load(io.BytesIO(value), weights_only=True)
    if kind in ("mp", "msg", "msgpack"):
        import msgpack

        return msgpack.unpackb(value)
    if kind in _IMAGES:
        return _decode_image(value, images)
    return value


def _decode_image(value: bytes, images: str) -> Any:
    from rayjup.data.datasource.image import pillow

    image = pillow().open(io.BytesIO(value))
    if images.lower() == "pil":
        return image
    mode = {"rgb": "RGB", "rgb8": "RGB", "l": "L", "l8": "L", "rgba": "RGBA"}.get(images.lower())
    return np.asarray(image if mode is None else image.convert(mode))


class WebDatasetDatasink(BlockBasedFileDatasink):
    """Tar archives with a sample per row; the column's name is the extension.

    Parameters
    ----------
    path
        The directory.
    encoder
        ``True`` encodes by extension, a function is given the sample, a list is applied in order; ``None``
        takes bytes and text as they are.
    **file_datasink_kwargs
        As for ``BlockBasedFileDatasink``.
    """

    def __init__(self, path: str, encoder: Any = True, **file_datasink_kwargs: Any) -> None:
        super().__init__(
            path, file_format=file_datasink_kwargs.pop("file_format", "tar"), **file_datasink_kwargs
        )
        self._encoder = encoder

    def write_block_to_file(self, block: BlockAccessor, file: Any) -> None:
        """Write a block."""
        with tarfile.open(fileobj=_Counting(file), mode="w|") as archive:
            for row in block.iter_rows(public_row_format=False):
                sample = dict(row)
                for step in self._encoder if isinstance(self._encoder, list) else [self._encoder]:
                    if callable(step):
                        sample = step(sample)
                    elif step is True or isinstance(step, str):
                        sample = {name: _encode(name, value) for name, value in sample.items()}
                key = sample.pop("__key__", None) or uuid.uuid4().hex
                for name, value in sample.items():
                    if name.startswith("__") or value is None:
                        continue
                    data = value.encode() if isinstance(value, str) else value
                    if not isinstance(data, (bytes, bytearray)):
                        raise ValueError(
                            f"Column {name!r} of sample {key!r} is a {type(value).__name__}; without an "
                            "encoder for it, an archive takes bytes and text."
                        )
                    info = tarfile.TarInfo(f"{key}.{name}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))


class _Counting(io.RawIOBase):
    """An output stream of pyarrow for tarfile."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._file.write(bytes(data))
        return len(data)


def _encode(name: str, value: Any) -> Any:
    """A value by the last part of its column's name."""
    if name.startswith("__") or value is None or isinstance(value, (bytes, bytearray)):
        return value
    encoder = _ENCODERS.get(name.rpartition(".")[2])
    if encoder is not None:
        return encoder(value)
    return value if isinstance(value, str) else str(value)


def _save(function: Callable[..., Any], value: Any) -> bytes:
    buffer = io.BytesIO()
    function(buffer, value)
    return buffer.getvalue()


def _as_image(kind: str, value: Any) -> bytes:
    from rayjup.data.datasource.image import pillow

    image = pillow().fromarray(np.asarray(value)) if not hasattr(value, "save") else value
    buffer = io.BytesIO()
    image.save(buffer, format={"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind))
    return buffer.getvalue()


def _as_json(value: Any) -> str:
    from rayjup.data.datasource.json import as_json

    return json.dumps(value, default=as_json)


def _torch_save(buffer: io.BytesIO, value: Any) -> None:
    import torch

    torch.save(value, buffer)


_ENCODERS: dict[str, Callable[[Any], Any]] = {
    "json": _as_json,
    "jsn": _as_json,
    "npy": partial(_save, np.save),
    "pickle": pickle.dumps,
    "pkl": pickle.dumps,
    "pyd": pickle.dumps,
    "pt": partial(_save, _torch_save),
    "pth": partial(_save, _torch_save),
    **{kind: partial(_as_image, kind) for kind in _IMAGES},
}
