"""LeRobot v3 datasets: Parquet files of states and actions, videos or images of cameras, metadata."""

from __future__ import annotations

import bisect
import io
import json
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from rayjup.data.datasource.paths import resolve, wrap
from rayjup.data.datasource.pieces import PiecesDatasource, need


class _Root:
    """One dataset: its description, its episodes, its tasks."""

    def __init__(self, root: str, filesystem: Any) -> None:
        self.filesystem, self.path = resolve(root, filesystem)
        self.info = json.loads(self.read("meta/info.json"))
        version = str(self.info.get("codebase_version", ""))
        if not version.startswith("v3"):
            raise ValueError(f"{root} is a LeRobot dataset of version {version or 'unknown'}; v3 is needed.")
        self.features: dict[str, dict[str, Any]] = self.info["features"]
        self.tasks = self._tasks()
        self.stats = self._optional("meta/stats.json", "{}")
        self.episodes = sorted(self._episodes(), key=lambda row: row["episode_index"])

    def read(self, name: str) -> bytes:
        with self.filesystem.open_input_stream(posixpath.join(self.path, name)) as stream:
            return stream.read()

    def table(self, name: str) -> pa.Table:
        from pyarrow import parquet

        return parquet.read_table(io.BytesIO(self.read(name)))

    def _optional(self, name: str, otherwise: str) -> str:
        try:
            return self.read(name).decode()
        except FileNotFoundError:
            return otherwise

    def _tasks(self) -> dict[int, str]:
        table = self.table("meta/tasks.parquet")
        names = [name for name in table.column_names if name != "task_index"]
        return dict(
            zip(
                table.column("task_index").to_pylist(),
                map(str, table.column(names[0]).to_pylist()),
                strict=True,
            )
        )

    def _episodes(self) -> Iterator[dict[str, Any]]:
        import pyarrow.fs as pafs

        selector = pafs.FileSelector(posixpath.join(self.path, "meta/episodes"), recursive=True)
        for info in self.filesystem.get_file_info(selector):
            if info.path.endswith(".parquet"):
                yield from self.table(posixpath.relpath(info.path, self.path)).to_pylist()

    def data_file(self, episode: dict[str, Any]) -> str:
        """The Parquet file with the rows of an episode."""
        return self.info["data_path"].format(
            chunk_index=episode["data/chunk_index"], file_index=episode["data/file_index"]
        )

    def video_file(self, episode: dict[str, Any], camera: str) -> str:
        """The video with the frames of an episode."""
        return self.info["video_path"].format(
            video_key=camera,
            chunk_index=episode[f"videos/{camera}/chunk_index"],
            file_index=episode[f"videos/{camera}/file_index"],
        )


class LeRobotDatasource(PiecesDatasource):
    """Frames of episodes, with what the cameras saw.

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
        How far a frame may be from the time of its row; half a frame by default.
    delta_timestamps
        By feature, seconds relative to a row: the feature's values at these times, stacked.
    delta_tolerance_s
        How far such a value may be from its time.
    """

    def __init__(
        self,
        root: Any,
        *,
        episodes: list[int] | None = None,
        read_granularity: Literal["file", "episode"] = "file",
        filesystem: Any = None,
        storage_options: dict[str, Any] | None = None,
        frame_tolerance_s: float | None = None,
        delta_timestamps: dict[str, list[float]] | None = None,
        delta_tolerance_s: float = 1e-4,
    ) -> None:
        if read_granularity not in ("file", "episode"):
            raise ValueError(f"read_granularity={read_granularity!r} is neither 'file' nor 'episode'.")
        roots = [root] if not isinstance(root, (list, tuple)) else list(root)
        if storage_options and filesystem is None:
            import fsspec

            filesystem = wrap(fsspec.filesystem(str(roots[0]).partition("://")[0], **storage_options))
        self._roots = [_Root(str(one), filesystem) for one in roots]
        self._granularity, self._tolerance = read_granularity, frame_tolerance_s
        self._deltas, self._delta_tolerance = dict(delta_timestamps or {}), delta_tolerance_s
        self._chosen = None if episodes is None else set(episodes)
        for feature in self._deltas:
            if any(feature not in one.features for one in self._roots):
                raise ValueError(f"delta_timestamps names {feature!r}, which is no feature of the dataset.")

    @property
    def meta(self) -> Any:
        """The description of the dataset (of each, where there are several)."""
        infos = [one.info for one in self._roots]
        return infos[0] if len(infos) == 1 else infos

    def get_name(self) -> str:
        """For plans."""
        return "LeRobot"

    def default_num_blocks(self) -> int:
        """As many as there are pieces."""
        return max(1, len(self.pieces(1)))

    def pieces(self, parallelism: int) -> Sequence[tuple[int, list[dict[str, Any]]]]:
        """Number of the dataset, and episodes that are read together."""
        groups: dict[tuple[int, Any], list[dict[str, Any]]] = {}
        for number, one in enumerate(self._roots):
            for episode in one.episodes:
                if self._chosen is None or episode["episode_index"] in self._chosen:
                    by_file = self._granularity == "file"
                    kind = one.data_file(episode) if by_file else episode["episode_index"]
                    groups.setdefault((number, kind), []).append(episode)
        return [(number, found) for (number, _), found in groups.items()]

    def piece_rows(self, piece: tuple[int, list[dict[str, Any]]]) -> int | None:
        """As the metadata says."""
        return sum(episode["length"] for episode in piece[1])

    def estimate_inmemory_data_size(self) -> int | None:
        """By the shapes of the features."""
        total = 0
        for number, episodes in self.pieces(1):
            features = self._roots[number].features.values()
            row = sum(
                int(np.prod(f.get("shape") or [1])) * (1 if f["dtype"] in ("video", "image") else 8)
                for f in features
            )
            total += row * sum(episode["length"] for episode in episodes)
        return total

    def read_piece(self, piece: tuple[int, list[dict[str, Any]]]) -> Iterator[Any]:
        """The rows of the episodes, one block each."""
        number, episodes = piece
        one = self._roots[number]
        opened: dict[str, pa.Table] = {}
        for episode in episodes:
            file = one.data_file(episode)
            if file not in opened:
                opened = {file: one.table(file)}
            whole = opened[file]
            index = whole.column("episode_index").to_numpy()
            yield self._block(number, one, episode, whole.filter(pa.array(index == episode["episode_index"])))

    def _block(self, number: int, one: _Root, episode: dict[str, Any], rows: pa.Table) -> dict[str, Any]:
        from rayjup.data.block.convert import column_to_numpy

        out: dict[str, Any] = {}
        for name in rows.column_names:
            kind = one.features.get(name, {}).get("dtype")
            column = rows.column(name)
            out[name] = self._images(column) if kind == "image" else column_to_numpy(column)
        times = rows.column("timestamp").to_numpy()
        for camera, feature in one.features.items():
            if feature["dtype"] == "video":
                out[camera] = self._frames(one, episode, camera, times)
        for name, deltas in self._deltas.items():
            out[name], out[f"{name}_is_pad"] = self._windows(np.asarray(out[name]), times, deltas)
        out["task"] = [one.tasks[index] for index in rows.column("task_index").to_pylist()]
        out["dataset_index"] = np.full(rows.num_rows, number, dtype=np.int32)
        out["stats"] = pa.array([one.stats] * rows.num_rows).dictionary_encode()
        return out

    @staticmethod
    def _images(column: pa.ChunkedArray) -> list[np.ndarray]:
        from rayjup.data.datasource.image import pillow

        return [np.asarray(pillow().open(io.BytesIO(value["bytes"]))) for value in column.to_pylist()]

    def _frames(self, one: _Root, episode: dict[str, Any], camera: str, times: np.ndarray) -> np.ndarray:
        """The frame at the time of each row; times of an episode begin where it lies in the video."""
        av = need("av", "Videos of LeRobot datasets")
        begin = float(episode[f"videos/{camera}/from_timestamp"])
        tolerance = self._tolerance if self._tolerance is not None else 0.5 / float(one.info["fps"])
        wanted = times + begin
        stamps: list[float] = []
        images: list[np.ndarray] = []
        with av.open(io.BytesIO(one.read(one.video_file(episode, camera)))) as container:
            stream = container.streams.video[0]
            container.seek(int(begin / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.time >= wanted[0] - 2 * tolerance:
                    stamps.append(frame.time)
                    images.append(frame.to_ndarray(format="rgb24"))
                if frame.time > wanted[-1] + tolerance:
                    break
        found = np.array([_nearest(stamps, time) for time in wanted])
        late = np.abs(np.asarray(stamps)[found] - wanted)
        if late.max() > tolerance:
            row = int(late.argmax())
            raise ValueError(
                f"Camera {camera!r} has no frame within {tolerance:.4f} s of row {row} of episode "
                f"{episode['episode_index']}: the nearest is {late[row]:.4f} s away. Give frame_tolerance_s."
            )
        return np.stack([images[place] for place in found])

    def _windows(
        self, values: np.ndarray, times: np.ndarray, deltas: list[float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values at other times of the episode (its nearest end beyond it), and which lie beyond it."""
        stamps = times.tolist()
        places = np.empty((len(times), len(deltas)), dtype=int)
        padded = np.zeros((len(times), len(deltas)), dtype=bool)
        for place, delta in enumerate(deltas):
            for row, time in enumerate(stamps):
                found = _nearest(stamps, time + delta)
                outside = not stamps[0] - 1e-9 <= time + delta <= stamps[-1] + 1e-9
                if not outside and abs(stamps[found] - time - delta) > self._delta_tolerance:
                    raise ValueError(f"There is no row at {delta} s from row {row}: use multiples of 1/fps.")
                places[row, place], padded[row, place] = found, outside
        return values[places], padded


def _nearest(stamps: list[float], time: float) -> int:
    place = bisect.bisect_left(stamps, time)
    if place == 0:
        return 0
    if place == len(stamps):
        return place - 1
    return place if stamps[place] - time < time - stamps[place - 1] else place - 1
