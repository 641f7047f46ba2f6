"""Images, read and written by Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from rayjup.data.datasource.file_based import FileBasedDatasource
from rayjup.data.datasource.file_datasink import RowBasedFileDatasink


def pillow() -> Any:
    """``PIL.Image``, or an error that says how to get it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("Images need Pillow; install it with: pip install pillow") from error
    return Image


class ImageDatasource(FileBasedDatasource):
    """Image files; an array of height, width and channels per row, in column ``image``.

    Parameters
    ----------
    paths
        Files, directories, URIs.
    size
        Height and width to resize to.
    mode
        A mode of Pillow, such as ``"RGB"``, to convert to.
    **file_based_datasource_kwargs
        As for ``FileBasedDatasource``.
    """

    _FILE_EXTENSIONS = ("png", "jpg", "jpeg", "tif", "tiff", "bmp", "gif", "webp")
    _ENCODING_RATIO = 8.0

    def __init__(
        self,
        paths: str | list[str],
        size: tuple[int, int] | None = None,
        mode: str | None = None,
        **file_based_datasource_kwargs: Any,
    ) -> None:
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise ValueError(f"size={size!r} is not a pair of height and width, both positive.")
        super().__init__(paths, **file_based_datasource_kwargs)
        self._size, self._mode = size, mode
        pillow()

    def _read_stream(self, f: Any, path: str) -> Iterator[dict[str, np.ndarray]]:
        image_module = pillow()
        try:
            image = image_module.open(io.BytesIO(f.read()))
            if self._size is not None:
                height, width = self._size
                image = image.resize((width, height), resample=image_module.Resampling.BILINEAR)
            if self._mode is not None:
                image = image.convert(self._mode)
            yield {"image": np.asarray(image)[None]}
        except image_module.UnidentifiedImageError as error:
            raise ValueError(
                f"it is no image ({error}). If there are other files in the directory, give file_extensions."
            ) from error


class ImageDatasink(RowBasedFileDatasink):
    """Image files, one per row.

    Parameters
    ----------
    path
        The directory.
    column
        The column with the arrays.
    file_format
        A format of Pillow, such as ``"png"``.
    **file_datasink_kwargs
        As for ``RowBasedFileDatasink``.
    """

    def __init__(self, path: str, column: str, file_format: str = "png", **file_datasink_kwargs: Any) -> None:
        super().__init__(path, file_format=file_format, **file_datasink_kwargs)
        self._column, self._format = column, file_format
        pillow()

    def write_row_to_file(self, row: dict[str, Any], file: Any) -> None:
        """Write the image of a row."""
        if self._column not in row:
            raise ValueError(f"There is no column {self._column!r}; the columns are {', '.join(row)}.")
        buffer = io.BytesIO()
        kind = {"jpg": "JPEG", "tif": "TIFF"}.get(self._format.lower(), self._format)
        pillow().fromarray(np.asarray(row[self._column])).save(buffer, format=kind)
        file.write(buffer.getbuffer())
