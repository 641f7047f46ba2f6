"""Saving and restoring, part by part.

A checkpoint is a directory: ``rllib_checkpoint.json`` (what it is), ``class_and_ctor_args.pkl`` (how to
make the object again), ``state.pkl`` or ``state.msgpack``, and one directory per component, built in the
same way. So a module can be taken out of the checkpoint of a whole algorithm.
"""

from __future__ import annotations

import json
import pickle
import shutil
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import cloudpickle

from rayjup._version import __version__
from rayjup.base.exceptions import RayError

METADATA, MAKER, STATE = "rllib_checkpoint.json", "class_and_ctor_args.pkl", "state"


class CheckpointError(RayError, ValueError):
    """A path that holds no checkpoint, or not of this kind."""


class Checkpointable:
    """Base of everything that can be saved to a directory and restored from it.

    A class says what its own state is (`get_state`, `set_state`), what parts it has
    (`get_checkpointable_components`) and with what arguments it was made (`get_ctor_args_and_kwargs`).
    """

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The object's state; of the named components only, if there are names."""
        raise TypeError(f"{type(self).__name__} must define get_state() to be saved.")

    def set_state(self, state: dict[str, Any]) -> None:
        """Take a state that `get_state` returned."""
        raise TypeError(f"{type(self).__name__} must define set_state() to be restored.")

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments that make an equal object."""
        return (), {}

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """Parts that are saved in directories of their own."""
        return []

    def get_metadata(self) -> dict[str, Any]:
        """What the checkpoint says about itself."""
        return {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "rayjup_version": __version__,
            "checkpoint_version": "2.1",
            "time": time.time(),
            "components": [name for name, _ in self.get_checkpointable_components()],
        }

    def save_to_path(
        self,
        path: str | Path | None = None,
        *,
        state: dict[str, Any] | None = None,
        filesystem: Any = None,
        use_msgpack: bool = False,
    ) -> str:
        """Write a checkpoint and return its path.

        Parameters
        ----------
        path
            Directory, made if need be; a new temporary one when not given.
        state
            Write this instead of what `get_state` says.
        filesystem
            A pyarrow filesystem ``path`` lies on; the local one by default.
        use_msgpack
            Write ``state.msgpack`` (readable without Python) instead of a pickle.
        """
        if filesystem is not None:
            import pyarrow.fs

            if path is None:
                raise CheckpointError("a path is needed together with `filesystem`.")
            with tempfile.TemporaryDirectory() as local:
                self.save_to_path(local, state=state, use_msgpack=use_msgpack)
                pyarrow.fs.copy_files(local, str(path), destination_filesystem=filesystem)
            return str(path)
        directory = Path(path) if path is not None else Path(tempfile.mkdtemp(prefix="checkpoint-"))
        directory = directory.expanduser().absolute()
        directory.mkdir(parents=True, exist_ok=True)
        parts = dict(self.get_checkpointable_components())
        whole = self.get_state() if state is None else dict(state)
        own = {key: value for key, value in whole.items() if key not in parts}
        for name, part in parts.items():
            if state is None or name in whole:
                part.save_to_path(directory / name, state=whole.get(name), use_msgpack=use_msgpack)
        (directory / MAKER).write_bytes(
            cloudpickle.dumps({"class": type(self), "ctor_args_and_kwargs": self.get_ctor_args_and_kwargs()})
        )
        for stale in (f"{STATE}.pkl", f"{STATE}.msgpack"):
            (directory / stale).unlink(missing_ok=True)
        if use_msgpack:
            (directory / f"{STATE}.msgpack").write_bytes(_msgpack().packb(own, default=_pack))
        else:
            (directory / f"{STATE}.pkl").write_bytes(cloudpickle.dumps(own))
        (directory / METADATA).write_text(json.dumps(self.get_metadata(), indent=1))
        return str(directory)

    def restore_from_path(
        self, path: Any, *, component: str | None = None, filesystem: Any = None, **kwargs: Any
    ) -> None:
        """Take the state of a checkpoint, or of one part of it (``"learner_group/learner/rl_module"``)."""
        path, filesystem = location(path, filesystem)
        with _local(path, filesystem) as directory:
            if component is None:
                self.set_state(read_state(directory, self, **kwargs))
                return
            owner: Checkpointable = self
            for name in component.split("/"):
                parts = dict(owner.get_checkpointable_components())
                if name not in parts:
                    raise CheckpointError(
                        f"no component {name!r} in {type(owner).__name__}: it has {sorted(parts)}."
                    )
                owner = parts[name]
            inner = directory / component
            owner.set_state(read_state(inner if inner.exists() else directory, owner, **kwargs))

    @classmethod
    def from_checkpoint(cls, path: Any, filesystem: Any = None, **kwargs: Any) -> Any:
        """A new object from a checkpoint of this class, or of one below it.

        Parameters
        ----------
        path
            Directory, or a `Checkpoint`.
        filesystem
            A pyarrow filesystem the path lies on.
        **kwargs
            Replace arguments of the constructor.
        """
        path, filesystem = location(path, filesystem)
        with _local(path, filesystem) as directory:
            maker = directory / MAKER
            if not maker.exists():
                raise CheckpointError(f"{path} holds no checkpoint ({MAKER} is missing).")
            made_by = pickle.loads(maker.read_bytes())
            kind = made_by["class"]
            if not issubclass(kind, cls):
                raise CheckpointError(
                    f"{path} is a checkpoint of {kind.__name__}, not of {cls.__name__}: "
                    "give the directory of a part."
                )
            args, defaults = made_by["ctor_args_and_kwargs"]
            new = kind(*args, **{**defaults, **kwargs})
            new.set_state(read_state(directory, new))
        return new


def read_state(directory: Path, owner: Checkpointable, **kwargs: Any) -> dict[str, Any]:
    """The state of a checkpoint directory, with that of its components."""
    packed, pickled = directory / f"{STATE}.msgpack", directory / f"{STATE}.pkl"
    if packed.exists():
        state = _msgpack().unpackb(packed.read_bytes(), object_hook=_unpack, strict_map_key=False)
    elif pickled.exists():
        state = pickle.loads(pickled.read_bytes())
    else:
        raise CheckpointError(f"{directory} holds no checkpoint (no {STATE}.pkl): give the directory of one.")
    known = json.loads((directory / METADATA).read_text()).get("components", [])
    parts = dict(owner.get_checkpointable_components())
    for name in known:
        if (directory / name).is_dir():
            # A part this object doesn't have (an eval runner, say) keeps its state as it is.
            state[name] = read_state(directory / name, parts.get(name, Checkpointable()))
    return state


def location(path: Any, filesystem: Any) -> tuple[str, Any]:
    """Path and filesystem, also of a `Checkpoint`; None for the local one."""
    if hasattr(path, "path") and hasattr(path, "filesystem"):
        filesystem, path = path.filesystem, path.path
    if filesystem is not None and getattr(filesystem, "type_name", "") == "local":
        filesystem = None
    return str(path), filesystem


class _local:
    """A checkpoint's directory on this machine, fetched if it lies elsewhere."""

    def __init__(self, path: str, filesystem: Any) -> None:
        self.path, self.filesystem, self.copy = path, filesystem, ""

    def __enter__(self) -> Path:
        if self.filesystem is None:
            return Path(self.path).expanduser()
        import pyarrow.fs

        self.copy = tempfile.mkdtemp(prefix="checkpoint-")
        pyarrow.fs.copy_files(self.path, self.copy, source_filesystem=self.filesystem)
        return Path(self.copy)

    def __exit__(self, *exc: object) -> None:
        if self.copy:
            shutil.rmtree(self.copy, ignore_errors=True)


def try_import_msgpack(error: bool = False) -> Any:
    """The package msgpack, or None (an ImportError with ``error=True``)."""
    try:
        import msgpack  # type: ignore[import-untyped]
    except ImportError:
        if error:
            raise ImportError("checkpoints as msgpack need a package: pip install msgpack") from None
        return None
    return msgpack


def _msgpack() -> Any:
    return try_import_msgpack(error=True)


def _pack(value: Any) -> Any:
    import numpy as np

    tensor = hasattr(value, "detach")
    if tensor:
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        kind = "tensor" if tensor else "numpy"
        return {"__array__": kind, "dtype": value.dtype.str, "shape": value.shape, "data": value.tobytes()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (set, frozenset)):
        return list(value)
    return {"__pickle__": cloudpickle.dumps(value)}


def _unpack(value: dict) -> Any:
    import numpy as np

    if value.get("__array__"):
        array = np.frombuffer(value["data"], value["dtype"]).reshape(value["shape"]).copy()
        if value["__array__"] == "numpy":
            return array
        import torch

        return torch.from_numpy(array)
    if "__pickle__" in value:
        return pickle.loads(value["__pickle__"])
    return value
