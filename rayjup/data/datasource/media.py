"""Audio and video files, decoded by soundfile and PyAV."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from rayjup.data.datasource.file_based import FileBasedDatasource

AUDIO_EXTENSIONS = [
    *("mp3", "wav", "aac", "flac", "ogg", "m4a", "wma", "alac", "aiff"),
    *("pcm", "amr", "opus", "ra", "rm", "au", "mid", "midi", "caf"),
]
VIDEO_EXTENSIONS = [
    *("mp4", "mkv", "mov", "avi", "wmv", "flv", "webm", "m4v", "3gp", "mpeg", "mpg", "ts"),
    *("ogv", "rm", "rmvb", "vob", "asf", "f4v", "m2ts", "mts", "divx", "xvid", "mxf"),
]


class AudioDatasource(FileBasedDatasource):
    """Audio files; columns ``amplitude`` (channels × samples) and ``sample_rate``."""

    _FILE_EXTENSIONS = tuple(AUDIO_EXTENSIONS)
    _ENCODING_RATIO = 4.0

    def _read_stream(self, f: Any, path: str) -> Iterator[dict[str, Any]]:
        try:
            import soundfile
        except ImportError as error:
            raise ImportError("Audio files need soundfile; install it with: pip install soundfile") from error
        amplitude, rate = soundfile.read(io.BytesIO(f.read()), always_2d=True, dtype="float32")
        yield {"amplitude": amplitude.T[None], "sample_rate": np.array([rate])}


class VideoDatasource(FileBasedDatasource):
    """Video files; a row per frame: ``frame`` (height × width × 3), ``frame_index``, and more on request.

    Parameters
    ----------
    paths
        Files, directories, URIs.
    include_timestamps
        Whether to add ``frame_timestamp``: beginning and end in seconds.
    fps
        Take so many frames per second instead of all.
    resize
        Height and width of the frames.
    **file_based_datasource_kwargs
        As for ``FileBasedDatasource``.
    """

    _FILE_EXTENSIONS = tuple(VIDEO_EXTENSIONS)
    _NUM_THREADS_PER_TASK = 1
    _ENCODING_RATIO = 50.0

    def __init__(
        self,
        paths: str | list[str],
        include_timestamps: bool = False,
        fps: int | None = None,
        resize: tuple[int, int] | None = None,
        **file_based_datasource_kwargs: Any,
    ) -> None:
        super().__init__(paths, **file_based_datasource_kwargs)
        self._timestamps, self._fps, self._resize = include_timestamps, fps, resize

    def _read_stream(self, f: Any, path: str) -> Iterator[dict[str, Any]]:
        try:
            import av
        except ImportError as error:
            raise ImportError("Video files need PyAV; install it with: pip install av") from error
        frames: list[np.ndarray] = []
        indices: list[int] = []
        times: list[list[float]] = []
        with av.open(io.BytesIO(f.read())) as container:
            stream = container.streams.video[0]
            length = float(1 / stream.average_rate) if stream.average_rate else 0.0
            due = 0.0
            for index, frame in enumerate(container.decode(stream)):
                begin = float(frame.time) if frame.time is not None else index * length
                if self._fps is not None:
                    if begin + 1e-9 < due:
                        continue
                    due += 1 / self._fps
                if self._resize is not None:
                    height, width = self._resize
                    frame = frame.reformat(width=width, height=height)
                frames.append(frame.to_ndarray(format="rgb24"))
                indices.append(index)
                times.append([begin, begin + length])
                if sum(one.nbytes for one in frames[-1:]) * len(frames) > 64 * 1024 * 1024:
                    yield self._batch(frames, indices, times)
                    frames, indices, times = [], [], []
        if frames:
            yield self._batch(frames, indices, times)

    def _batch(
        self, frames: list[np.ndarray], indices: list[int], times: list[list[float]]
    ) -> dict[str, Any]:
        batch: dict[str, Any] = {"frame": np.stack(frames), "frame_index": np.array(indices)}
        if self._timestamps:
            batch["frame_timestamp"] = np.array(times)
        return batch
