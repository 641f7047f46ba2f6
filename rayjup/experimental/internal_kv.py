"""The cluster's table of keys and values, kept by the head and in its journal.

Small things only: what must be found again by other processes, or after the head was restarted.
Names as in Ray's module of the same path; the values are bytes.
"""

from __future__ import annotations

from typing import Any

from rayjup.base import keys
from rayjup.base.exceptions import RaySystemError
from rayjup.core import session as sessions

__all__ = [
    "_internal_kv_del",
    "_internal_kv_exists",
    "_internal_kv_get",
    "_internal_kv_initialized",
    "_internal_kv_list",
    "_internal_kv_put",
]


def _internal_kv_initialized() -> bool:
    """True when this process is connected to a cluster."""
    try:
        sessions.connected()
    except RaySystemError:
        return False
    return True


def _internal_kv_get(key: bytes | str, *, namespace: bytes | str | None = None) -> bytes | None:
    """The value of a key; None when there is none."""
    value: bytes | None = _ask("kv_get", _space(namespace), _bytes(key))
    return value


def _internal_kv_exists(key: bytes | str, *, namespace: bytes | str | None = None) -> bool:
    """True when the key has a value."""
    return _internal_kv_get(key, namespace=namespace) is not None


def _internal_kv_put(
    key: bytes | str, value: bytes | str, overwrite: bool = True, *, namespace: bytes | str | None = None
) -> bool:
    """Set a value; returns whether the key had one before.

    Parameters
    ----------
    overwrite
        False: an existing value stays. Of several that do so at once, one wins.

    Examples
    --------
    >>> import rayjup
    >>> from rayjup.experimental import internal_kv
    >>> _ = rayjup.init(num_cpus=1)
    >>> internal_kv._internal_kv_put("leader", "me", overwrite=False)
    False
    >>> internal_kv._internal_kv_put("leader", "you", overwrite=False)
    True
    >>> internal_kv._internal_kv_get("leader")
    b'me'
    >>> rayjup.shutdown()
    """
    there: bool = _ask("kv_put", _space(namespace), _bytes(key), _bytes(value), bool(overwrite))
    return there


def _internal_kv_del(
    key: bytes | str, *, del_by_prefix: bool = False, namespace: bytes | str | None = None
) -> int:
    """Remove a key, or all that begin with it; returns how many there were."""
    space = _space(namespace)
    keys = _ask("kv_keys", space, _bytes(key)) if del_by_prefix else [_bytes(key)]
    return sum(_ask("kv_del", space, each) for each in keys)


def _internal_kv_list(prefix: bytes | str, *, namespace: bytes | str | None = None) -> list[bytes]:
    """The keys that begin with ``prefix``."""
    keys: list[bytes] = _ask("kv_keys", _space(namespace), _bytes(prefix))
    return keys


def _ask(op: str, *payload: object) -> Any:
    return sessions.connected().runtime.link.request(op, *payload)


def _space(namespace: bytes | str | None) -> str:
    text = namespace.decode() if isinstance(namespace, bytes) else namespace or ""
    return keys.of(text)


def _bytes(value: bytes | str) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"Keys and values of the cluster's table are bytes or str, not {type(value).__name__}")
