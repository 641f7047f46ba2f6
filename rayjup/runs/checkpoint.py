"""A checkpoint: a directory on some filesystem."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import posixpath
import shutil
import tarfile
import tempfile
import uuid
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rayjup.runs import storage

if TYPE_CHECKING:
    from pyarrow import fs as pafs

METADATA_FILE = ".metadata.json"
DICT_FILE = "dict_checkpoint.pkl"


class Checkpoint:
    """A directory with what a run needs to go on, on the local or any other filesystem.

    It is a reference: making or pickling one copies no files.

    Parameters
    ----------
    path
        Path or URI of the directory.
    filesystem
        The pyarrow (or fsspec) filesystem on which ``path`` is a path. Found from the URI when not given.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from rayjup.runs.checkpoint import Checkpoint
    >>> directory = tempfile.mkdtemp()
    >>> _ = pathlib.Path(directory, "weights.txt").write_text("1 2 3")
    >>> checkpoint = Checkpoint.from_directory(directory)
    >>> with checkpoint.as_directory() as there:
    ...     pathlib.Path(there, "weights.txt").read_text()
    '1 2 3'
    """

    path: str
    filesystem: pafs.FileSystem

    def __init__(
        self, path: str | os.PathLike[str] | None = None, filesystem: pafs.FileSystem | None = None
    ) -> None:
        if path is None:
            raise TypeError(
                f"{type(self).__name__} needs the path of a directory; "
                f"a dictionary is given to {type(self).__name__}.from_dict(...)"
            )
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(
                f"path of {type(self).__name__} must be a string or a path, not {type(path).__name__}"
            )
        found, on_it = storage.resolve(path, filesystem)
        self.filesystem, self.path = found, on_it
        self._dict: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(filesystem={self.filesystem.type_name}, path={self.path})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Checkpoint) and self.path == other.path and self.filesystem == other.filesystem
        )

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.path))

    def __getattr__(self, name: str) -> Any:
        # A checkpoint made of a dictionary gets a directory when somebody asks for it.
        if name in ("path", "filesystem") and self.__dict__.get("_dict") is not None:
            self._write_dict()
            return self.__dict__[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if state.get("_dict") is not None:
            # The directory of a dictionary goes with this process; the dictionary travels instead.
            state.pop("path", None)
            state.pop("filesystem", None)
            state.pop("_finalizer", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    # ------------------------------------------------------------ directories

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """A checkpoint of what is in a local directory; nothing is copied."""
        return cls(path)

    def to_directory(self, path: str | os.PathLike[str] | None = None) -> str:
        """Copy the checkpoint into a local directory (a new temporary one by default) and return its path."""
        local = os.fspath(path) if path is not None else self._temporary()
        os.makedirs(local, exist_ok=True)
        if self._dict is not None and "path" not in self.__dict__:
            _write_pickle(self._dict, local)
            return os.path.abspath(local)
        storage.download(self.filesystem, self.path, local)
        return os.path.abspath(local)

    @contextlib.contextmanager
    def as_directory(self) -> Iterator[str]:
        """The checkpoint as a local directory: in place if it is local, else a copy that is removed at the
        end.

        Must not be written to.
        """
        if self._dict is not None or storage.is_local(self.filesystem):
            yield self.path
            return
        local = self.to_directory()
        try:
            yield local
        finally:
            shutil.rmtree(local, ignore_errors=True)

    # ------------------------------------------------------------ metadata

    def get_metadata(self) -> dict[str, Any]:
        """What was stored with `set_metadata`; empty when there is nothing."""
        file = posixpath.join(self.path, METADATA_FILE)
        if not storage.exists(self.filesystem, file):
            return {}
        found: dict[str, Any] = json.loads(storage.read_bytes(self.filesystem, file))
        return found

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        """Store a dictionary (of what JSON can say) with the checkpoint, in place of what was there."""
        storage.write_bytes(
            self.filesystem, posixpath.join(self.path, METADATA_FILE), json.dumps(metadata).encode()
        )

    def update_metadata(self, metadata: dict[str, Any]) -> None:
        """Add to the metadata, replacing equal keys."""
        self.set_metadata({**self.get_metadata(), **metadata})

    # ------------------------------------------------------------ the older vocabulary

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Checkpoint:
        """A checkpoint of a dictionary (older API; today: write files and use `from_directory`).

        Examples
        --------
        >>> from rayjup.runs.checkpoint import Checkpoint
        >>> Checkpoint.from_dict({"epoch": 3}).to_dict()
        {'epoch': 3}
        """
        if not isinstance(data, dict):
            raise TypeError(f"{cls.__name__}.from_dict() needs a dictionary, not {type(data).__name__}")
        checkpoint: Checkpoint = object.__new__(cls)
        checkpoint._dict = data
        return checkpoint

    def to_dict(self) -> dict[str, Any]:
        """The dictionary of `from_dict`; for any other checkpoint its files, by name (older API)."""
        if self._dict is not None:
            return dict(self._dict)
        with self.as_directory() as local:
            file = os.path.join(local, DICT_FILE)
            if os.path.exists(file):
                with open(file, "rb") as stream:
                    found: dict[str, Any] = pickle.load(stream)
                return found
            content: dict[str, Any] = {}
            for folder, _, names in os.walk(local):
                for name in sorted(names):
                    with open(os.path.join(folder, name), "rb") as stream:
                        content[os.path.relpath(os.path.join(folder, name), local)] = stream.read()
            return content

    @classmethod
    def from_bytes(cls, data: bytes) -> Checkpoint:
        """The checkpoint that `to_bytes` packed (older API)."""
        local = tempfile.mkdtemp(prefix="checkpoint_")
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            archive.extractall(local, filter="data")
        checkpoint = cls(local)
        checkpoint._owns(local)
        return checkpoint

    def to_bytes(self) -> bytes:
        """All files in one string of bytes (older API)."""
        buffer = io.BytesIO()
        with self.as_directory() as local, tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(local, arcname=".")
        return buffer.getvalue()

    @classmethod
    def from_uri(cls, uri: str) -> Checkpoint:
        """A checkpoint that lies at a URI (older API)."""
        return cls(uri)

    def to_uri(self, uri: str) -> str:
        """Copy the checkpoint to a URI and return that (older API)."""
        filesystem, path = storage.resolve(uri)
        with self.as_directory() as local:
            storage.upload(local, filesystem, path)
        return uri

    @property
    def uri(self) -> str:
        """The checkpoint's address as a URI (older API)."""
        scheme = self.filesystem.type_name
        return f"file://{self.path}" if scheme == "local" else f"{scheme.rpartition('::')[2]}://{self.path}"

    def get_preprocessor(self) -> Any:
        """The preprocessor stored with the checkpoint, or None (older API)."""
        if self._dict is not None:
            return self._dict.get("_preprocessor")
        with self.as_directory() as local:
            for name in ("preprocessor.pkl", DICT_FILE):
                file = os.path.join(local, name)
                if os.path.exists(file):
                    with open(file, "rb") as stream:
                        found = pickle.load(stream)
                    return found.get("_preprocessor") if name == DICT_FILE else found
        return None

    def set_preprocessor(self, preprocessor: Any) -> None:
        """Store a preprocessor with the checkpoint (older API)."""
        import cloudpickle

        if self._dict is not None:
            self._dict["_preprocessor"] = preprocessor
            return
        file = posixpath.join(self.path, "preprocessor.pkl")
        storage.write_bytes(self.filesystem, file, cloudpickle.dumps(preprocessor))

    # ------------------------------------------------------------ inside

    def _write_dict(self) -> None:
        assert self._dict is not None
        local = tempfile.mkdtemp(prefix="checkpoint_")
        _write_pickle(self._dict, local)
        self.filesystem, self.path = storage.resolve(local)
        self._owns(local)

    def _owns(self, local: str) -> None:
        self._finalizer = weakref.finalize(self, shutil.rmtree, local, ignore_errors=True)

    def _temporary(self) -> str:
        return os.path.join(tempfile.gettempdir(), f"checkpoint_tmp_{uuid.uuid4().hex}")


def _write_pickle(data: dict[str, Any], local: str) -> None:
    import cloudpickle

    with open(os.path.join(local, DICT_FILE), "wb") as stream:
        cloudpickle.dump(data, stream)


def persist(
    checkpoint: Checkpoint, filesystem: pafs.FileSystem, path: str, *, move: bool = False
) -> Checkpoint:
    """Copy a checkpoint to its place in a run's storage and return the one that lies there.

    ``move``: a local directory may be renamed, since nobody needs it any more. A checkpoint of a subclass
    stays one.
    """
    if checkpoint._dict is not None and "path" not in checkpoint.__dict__:
        import cloudpickle

        data = cloudpickle.dumps(checkpoint._dict)
        storage.write_bytes(filesystem, posixpath.join(path, DICT_FILE), data)
    elif checkpoint.path != path or checkpoint.filesystem != filesystem:
        if storage.is_local(checkpoint.filesystem):
            storage.upload(checkpoint.path, filesystem, path, move=move and checkpoint._dict is None)
        elif storage.is_local(filesystem):
            storage.download(checkpoint.filesystem, checkpoint.path, path)
        else:
            with checkpoint.as_directory() as local:
                storage.upload(local, filesystem, path)
    kept: Checkpoint = object.__new__(type(checkpoint))
    kept.__dict__.update(checkpoint.__dict__)
    kept.__dict__.pop("_finalizer", None)
    kept._dict = None
    kept.filesystem, kept.path = filesystem, path
    return kept
