"""Small values by key that the cluster keeps (mirrors ``ray.experimental.internal_kv``).

They are in the head's journal, so they outlive the processes that write them and the head itself.
"""

from __future__ import annotations

from typing import Any

from rayjup.core import session as sessions

_DEFAULT = "default"


def _bytes(value: str | bytes) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"keys and values are str or bytes, got {type(value).__name__}")


def _space(namespace: str | bytes | None) -> str:
    if namespace is None:
        return _DEFAULT
    return namespace.decode() if isinstance(namespace, bytes) else namespace


def _ask(what: str, *arguments: Any) -> Any:
    return sessions.require().runtime.link.request(what, *arguments)


def _internal_kv_initialized() -> bool:
    return sessions.current() is not None


def _internal_kv_get(key: str | bytes, *, namespace: str | bytes | None = None) -> bytes | None:
    """The value of ``key``, or None."""
    return _ask("kv_get", _space(namespace), _bytes(key))  # type: ignore[no-any-return]


def _internal_kv_exists(key: str | bytes, *, namespace: str | bytes | None = None) -> bool:
    """Whether ``key`` has a value."""
    return _internal_kv_get(key, namespace=namespace) is not None


def _internal_kv_put(
    key: str | bytes, value: str | bytes, overwrite: bool = True, *, namespace: str | bytes | None = None
) -> bool:
    """Set ``key``; whether it had a value before (then it is kept, unless ``overwrite``)."""
    there = _ask("kv_put", _space(namespace), _bytes(key), _bytes(value), overwrite)
    return bool(there)


def _internal_kv_del(
    key: str | bytes, *, del_by_prefix: bool = False, namespace: str | bytes | None = None
) -> int:
    """Remove ``key``, or all that start with it; how many there were."""
    keys = _internal_kv_list(key, namespace=namespace) if del_by_prefix else [_bytes(key)]
    return sum(bool(_ask("kv_del", _space(namespace), one)) for one in keys)


def _internal_kv_list(prefix: str | bytes, *, namespace: str | bytes | None = None) -> list[bytes]:
    """The keys that start with ``prefix``."""
    return list(_ask("kv_keys", _space(namespace), _bytes(prefix)))
