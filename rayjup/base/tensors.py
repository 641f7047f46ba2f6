"""Tensors of torch inside values: their memory is kept apart from the pickle, as that of arrays is.

torch itself copies a tensor's memory into the pickle. Here a storage, which several tensors may
share, becomes one buffer: written once into shared memory, and used where it lies by whoever reads it. torch
knows no read-only tensors, so readers get a mapping in which a page that they write to becomes their own.

With a *transport* storages stay where they are, and the pickle names their places in a list: see
:mod:`rayjup.engine.objects.on_device`. ``RAYJUP_FAKE_TENSOR_DEVICE=cuda`` declares that tensors in
main memory lie on such a device, to try that out on a machine that has none.
"""

from __future__ import annotations

import mmap
import os
import pickle
import sys
import threading
import warnings
from collections.abc import Callable, MutableMapping
from typing import Any

FAKE_DEVICE = "RAYJUP_FAKE_TENSOR_DEVICE"

TRANSPORTS: dict[str, tuple[str, ...]] = {
    "NIXL": ("cpu", "cuda"),
    "GLOO": ("cpu",),
    "NCCL": ("cuda",),
    "CUDA_IPC": ("cuda",),
}
"""Ray's names of transports, with the devices whose tensors they are for."""


class PrivateMap(mmap.mmap):
    """A mapping in which written pages become the process's own: what lies in it may be used in place."""


_restore: Callable[[int], Any] | None = None


class _Local(threading.local):
    transport: str | None = None  # while a value is pickled whose storages stay where they are
    kept: list[Any]  # these storages
    found = False  # storages were kept apart from the pickle


local = _Local()


def transport_of(name: str | None) -> str | None:
    """The transport's name in capitals; None for the object store.

    Raises
    ------
    ValueError
        There is none of this name.
    """
    if name is None or name.upper() == "OBJECT_STORE":
        return None
    if name.upper() not in TRANSPORTS:
        raise ValueError(
            f"Invalid tensor transport {name!r}: choose among {', '.join(TRANSPORTS)}, or leave it out and "
            "tensors travel through the object store."
        )
    return name.upper()


def register(table: MutableMapping[type, Callable[[Any], Any]], restore: Callable[[int], Any]) -> bool:
    """Add torch's storages to a pickler's table; False where torch is not (completely) imported.

    ``restore`` gives a storage that was kept its place in an unpickled value.
    """
    global _restore
    torch: Any = sys.modules.get("torch")
    storage = getattr(torch, "storage", None)
    if storage is None or not hasattr(torch, "frombuffer") or not hasattr(torch, "Tensor"):
        return False
    _restore = restore
    table[storage.TypedStorage] = _reduce_typed
    table[storage.UntypedStorage] = _reduce_untyped
    return True


def device_of(storage: Any) -> str:
    """Type of the device on which a storage lies: ``"cpu"``, ``"cuda"``, …"""
    kind = str(storage.device.type)
    return os.environ.get(FAKE_DEVICE, kind) if kind == "cpu" else kind


def _reduce_typed(storage: Any) -> Any:
    return _typed, (storage._untyped_storage, storage.dtype)


def _reduce_untyped(storage: Any) -> Any:
    transport = local.transport
    if transport is not None:
        device = device_of(storage)
        if device not in TRANSPORTS[transport]:
            raise ValueError(
                f"a tensor on {device!r} cannot be kept for the tensor transport {transport}, which is for "
                f"{' and '.join(TRANSPORTS[transport])}: move it there, or choose another transport."
            )
        local.kept.append(storage)
        return _restore, (len(local.kept) - 1,)
    if storage.device.type == "meta":
        return storage.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    local.found = True
    device_name = None if storage.device.type == "cpu" else str(storage.device)
    torch: Any = sys.modules["torch"]
    flat = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
    return _untyped, (pickle.PickleBuffer(flat.cpu().numpy()), device_name)


def _typed(storage: Any, dtype: Any) -> Any:
    import torch

    return torch.storage.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)


def _untyped(buffer: Any, device: str | None) -> Any:
    import torch

    view = memoryview(buffer)
    if not view.nbytes:
        return torch.UntypedStorage(0, device=_present(device))
    if not isinstance(view.obj, PrivateMap) and device is None:
        view = memoryview(bytearray(view))  # others see this memory, too
    _silence_once()
    storage = torch.frombuffer(view, dtype=torch.uint8).untyped_storage()
    if device is None:
        return storage
    target = torch.empty(0, dtype=torch.uint8).set_(storage).to(_present(device))
    return target.untyped_storage()


def _present(device: str | None) -> str:
    """The device itself where this process has it, else the first of its type, else main memory."""
    if device is None:
        return "cpu"
    import torch

    kind, _, index = device.partition(":")
    module = getattr(torch, kind, None)
    if module is None or not getattr(module, "is_available", lambda: False)():
        return "cpu"
    return device if int(index or 0) < module.device_count() else f"{kind}:0"


_silenced = False


def _silence_once() -> None:
    # torch warns the first time it is given read-only memory. Who writes here gets pages of his own.
    global _silenced
    if not _silenced:
        import torch

        _silenced = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.frombuffer(b"\0", dtype=torch.uint8)
