"""Actors that have names."""

from __future__ import annotations

from typing import Any

from rayjup.core import session as sessions


def list_named_actors(all_namespaces: bool = False) -> list[Any]:
    """Names of the living named actors, detached or not.

    Parameters
    ----------
    all_namespaces
        Whether to give those of all namespaces, as ``{"namespace": …, "name": …}``, instead of the
        names in the current one.
    """
    session = sessions.connected()
    rows = session.runtime.link.request("list_named_actors", None if all_namespaces else session.namespace)
    return list(rows) if all_namespaces else [row["name"] for row in rows]
