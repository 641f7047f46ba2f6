"""Where the files of runs lie: a local directory, or any filesystem of pyarrow or fsspec.

Paths and URIs are told apart here and nowhere else. The rest of the package holds a pyarrow filesystem and
a path on it.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyarrow import fs as pafs

DEFAULT_RESULTS_VARIABLES = ("RAY_AIR_LOCAL_CACHE_DIR", "TUNE_RESULT_DIR", "RAY_STORAGE")
CHUNK = 1 << 20


def default_storage_path() -> str:
    """Where runs are kept when ``storage_path`` is not given: ``~/ray_results``, or what the variables
    say."""
    for variable in DEFAULT_RESULTS_VARIABLES:
        if value := os.environ.get(variable):
            return value
    return os.path.join(os.path.expanduser("~"), "ray_results")


def is_uri(path: str) -> bool:
    """Whether ``path`` names a filesystem, too (``s3://…``), rather than being a local path."""
    scheme, found, _ = path.partition("://")
    return bool(found) and scheme.isidentifier()


def resolve(
    path: str | os.PathLike[str], filesystem: pafs.FileSystem | None = None
) -> tuple[pafs.FileSystem, str]:
    """Turn a path or URI into a pyarrow filesystem and the path on it.

    ``file://`` and plain paths mean the local filesystem; URIs are given to pyarrow, and those that it does
    not know to fsspec (``memory://``, ``gcs://``, ``abfs://`` …).

    Examples
    --------
    >>> from rayjup.runs.storage import resolve
    >>> filesystem, path = resolve("/tmp/results")
    >>> filesystem.type_name, path
    ('local', '/tmp/results')
    """
    from pyarrow import fs as pafs

    text = os.fspath(path)
    if filesystem is not None:
        if is_uri(text):
            raise ValueError(
                f"{text!r} is a URI, and a filesystem was given as well. "
                "With a filesystem the path must be one on that filesystem, without a scheme."
            )
        if not isinstance(filesystem, pafs.FileSystem):
            filesystem = pafs.PyFileSystem(pafs.FSSpecHandler(filesystem))
        if filesystem.type_name == "local":
            text = os.path.abspath(os.path.expanduser(text))
        return filesystem, text.rstrip("/") or "/"
    if not is_uri(text):
        local = os.path.abspath(os.path.expanduser(text))
        return pafs.LocalFileSystem(), local
    if text.startswith("file://"):
        return pafs.LocalFileSystem(), os.path.abspath(text[len("file://") :])
    try:
        known, on_it = pafs.FileSystem.from_uri(text)
        return known, on_it
    except (ValueError, NotImplementedError) as error:
        reason = error
    import fsspec

    try:
        found, on_it = fsspec.core.url_to_fs(text)
    except (ValueError, ImportError) as error:
        raise ValueError(
            f"no filesystem is known for {text!r}: pyarrow says {reason}; fsspec says {error}"
        ) from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(found)), str(on_it).rstrip("/")


def is_local(filesystem: pafs.FileSystem) -> bool:
    """Whether files on it can be opened by their path."""
    return filesystem.type_name == "local"


def exists(filesystem: pafs.FileSystem, path: str) -> bool:
    """Whether there is a file or a directory of that path."""
    from pyarrow import fs as pafs

    return filesystem.get_file_info(path).type != pafs.FileType.NotFound


def read_bytes(filesystem: pafs.FileSystem, path: str) -> bytes:
    """The whole file."""
    if is_local(filesystem):
        return Path(path).read_bytes()
    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.readall())


def write_bytes(filesystem: pafs.FileSystem, path: str, data: bytes) -> None:
    """Write a file whole or not at all (on local filesystems), making its directory."""
    if is_local(filesystem):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        partial = f"{path}.{uuid.uuid4().hex[:8]}.part"
        try:
            Path(partial).write_bytes(data)
            os.replace(partial, path)
        finally:
            Path(partial).unlink(missing_ok=True)
        return
    filesystem.create_dir(posixpath.dirname(path), recursive=True)
    with filesystem.open_output_stream(path) as stream:
        stream.write(data)


def upload(local: str, filesystem: pafs.FileSystem, path: str, *, move: bool = False) -> None:
    """Copy a local directory to ``path``; ``move`` renames where that is the same and cheaper."""
    if is_local(filesystem):
        if os.path.abspath(local) == os.path.abspath(path):
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if move and not os.path.exists(path):
            shutil.move(local, path)
        else:
            _copy(local, path)
        return
    from pyarrow import fs as pafs

    filesystem.create_dir(path, recursive=True)
    pafs.copy_files(local, path, destination_filesystem=filesystem, chunk_size=CHUNK)


def _copy(source: str, target: str) -> None:
    is_new = not os.path.exists(target)
    try:
        shutil.copytree(source, target, dirs_exist_ok=True)
    except shutil.Error as error:  # one line for each file; the first says it
        if is_new:  # a part of it is of no use, and takes what room is left
            shutil.rmtree(target, ignore_errors=True)
        file, _, why = error.args[0][0]
        raise OSError(
            f"{source} could not be copied to {target}: {os.path.relpath(file, source)}: {why}"
        ) from error


def download(filesystem: pafs.FileSystem, path: str, local: str) -> None:
    """Copy a directory to a local one."""
    os.makedirs(local, exist_ok=True)
    if is_local(filesystem):
        _copy(path, local)
        return
    from pyarrow import fs as pafs

    pafs.copy_files(path, local, source_filesystem=filesystem, chunk_size=CHUNK)


def delete(filesystem: pafs.FileSystem, path: str) -> None:
    """Remove a directory and what is in it; one that is not there is no error."""
    if is_local(filesystem):
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        filesystem.delete_dir(path)
    except FileNotFoundError:
        pass


class StorageContext:
    """Where one experiment is kept, and its trials in it.

    Parameters
    ----------
    storage_path
        Directory or URI that holds experiments; None for the default one.
    experiment_dir_name
        Name of the experiment's directory.
    storage_filesystem
        A pyarrow or fsspec filesystem on which ``storage_path`` is a path.
    trial_dir_name
        Name of the trial's directory, for the context of one trial.
    """

    def __init__(
        self,
        storage_path: str | os.PathLike[str] | None,
        experiment_dir_name: str,
        storage_filesystem: Any = None,
        trial_dir_name: str | None = None,
    ) -> None:
        filesystem, self.storage_fs_path = resolve(
            storage_path if storage_path is not None else default_storage_path(), storage_filesystem
        )
        # The local filesystem is made anew where it is needed: most processes never import pyarrow.
        self._filesystem: Any = None if is_local(filesystem) else filesystem
        self.experiment_dir_name = experiment_dir_name
        self.trial_dir_name = trial_dir_name
        self._staging: str | None = None

    def __repr__(self) -> str:
        return f"StorageContext({self.experiment_fs_path!r}, trial={self.trial_dir_name!r})"

    @property
    def storage_filesystem(self) -> pafs.FileSystem:
        """The filesystem of the experiment."""
        if self._filesystem is not None:
            return self._filesystem
        from pyarrow import fs as pafs

        return pafs.LocalFileSystem()

    @property
    def is_local(self) -> bool:
        """Whether the experiment lies in a local directory."""
        return self._filesystem is None

    @property
    def experiment_fs_path(self) -> str:
        """Path of the experiment on the filesystem."""
        return posixpath.join(self.storage_fs_path, self.experiment_dir_name)

    @property
    def experiment_local_path(self) -> str:
        """Where the driver writes: the experiment itself if it is local, a staging directory otherwise."""
        if self.is_local:
            return self.experiment_fs_path
        if self._staging is None:
            base = os.path.join(tempfile.gettempdir(), "rayjup_results")
            self._staging = os.path.join(base, f"{self.experiment_dir_name}-{uuid.uuid4().hex[:8]}")
            os.makedirs(self._staging, exist_ok=True)
        return self._staging

    @property
    def trial_fs_path(self) -> str:
        """Path of the trial on the filesystem."""
        return posixpath.join(self.experiment_fs_path, self._trial())

    @property
    def trial_local_path(self) -> str:
        """Where the driver writes the trial's files."""
        return os.path.join(self.experiment_local_path, self._trial())

    def checkpoint_fs_path(self, index: int) -> str:
        """Path of the trial's checkpoint of that number."""
        return posixpath.join(self.trial_fs_path, checkpoint_dir_name(index))

    def for_trial(self, trial_dir_name: str) -> StorageContext:
        """The same place, for one trial."""
        self.experiment_local_path  # noqa: B018 - all trials share the staging directory
        context: StorageContext = object.__new__(StorageContext)
        context.__dict__.update(self.__dict__)
        context.trial_dir_name = trial_dir_name
        return context

    def check(self) -> None:
        """Raise if nothing can be written there, before any work is done."""
        marker = posixpath.join(self.experiment_fs_path, ".validate_storage_marker")
        try:
            write_bytes(self.storage_filesystem, marker, b"")
        except OSError as error:
            raise RuntimeError(
                f"storage_path {self.storage_fs_path!r} can't be written: {error}. Give RunConfig a "
                f"storage_path "
                "that the driver and all nodes can write."
            ) from error

    def sync_up(self) -> None:
        """Bring what the driver has written to the filesystem, if that is not where it was written."""
        if not self.is_local:
            upload(self.experiment_local_path, self.storage_filesystem, self.experiment_fs_path)

    def discard_staging(self) -> None:
        """Remove the staging directory, once everything has been brought up."""
        if self._staging is not None:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging = None

    def _trial(self) -> str:
        if self.trial_dir_name is None:
            raise RuntimeError(f"{self!r} is the context of an experiment: it has no trial")
        return self.trial_dir_name


def checkpoint_dir_name(index: int) -> str:
    """The name of a checkpoint's directory."""
    return f"checkpoint_{index:06d}"
