"""Values that outlive the kernel: kept under a name in the cluster, found again after a restart.

The value of an ordinary ref ends with the process that owns it, which in a notebook is the kernel. A
kept value is owned by the keeper, a detached actor without resources of its own; it stays until it is
forgotten or the cluster ends.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import rayjup
from rayjup.notebook.keeper import Keeper
from rayjup.notebook.live_table import TableDisplay
from rayjup.notebook.table import Column, Table

if TYPE_CHECKING:
    from rayjup.engine.ownership.object_ref import ObjectRef

KEEPER = "rayjup-keeper"
NAMESPACE = "rayjup-notebook"


def keep(ref: Any, name: str, *, overwrite: bool = False) -> ObjectRef:
    """Keep a value in the cluster under a name, for this notebook's next kernel or for others.

    Parameters
    ----------
    ref : ObjectRef or any value
        What to keep; a ref is waited for.
    name : str
        Under which `attach` finds it.
    overwrite : bool
        Replace what is kept under that name.

    Returns
    -------
    ObjectRef
        To the kept value.

    Raises
    ------
    ValueError
        Something is kept under this name, and not ``overwrite``.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.notebook import attach, forget, keep
    >>> kept = keep(ray.put([1, 2, 3]), "numbers")
    >>> ray.get(attach("numbers"))
    [1, 2, 3]
    >>> forget("numbers")
    True
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"keep() needs a name to find the value by, not {name!r}")
    if not isinstance(ref, rayjup.ObjectRef):
        ref = rayjup.put(ref)
    keeper = _keeper(make=True)
    rayjup.get(keeper.keep.remote(name, [ref], overwrite))
    return rayjup.get(keeper.find.remote(name))[0]  # type: ignore[no-any-return]


def attach(name: str | None = None) -> Any:
    """The ref to the value kept under ``name``; without a name, a table of what is kept.

    Raises
    ------
    KeyError
        Nothing is kept under that name.
    """
    if name is None:
        return kept()
    keeper = _keeper()
    found = rayjup.get(keeper.find.remote(name)) if keeper is not None else []
    if not found:
        there = ", ".join(names()) or "nothing"
        raise KeyError(
            f"nothing is kept under {name!r} in this cluster (kept: {there}); keep(ref, {name!r}) does that"
        )
    return found[0]


def forget(name: str) -> bool:
    """Let a kept value go; False when there is none of this name."""
    keeper = _keeper()
    return keeper is not None and bool(rayjup.get(keeper.forget.remote(name)))


def names() -> list[str]:
    """The names under which something is kept."""
    return [note["name"] for note in notes()]


def notes() -> list[dict[str, Any]]:
    """Name, type, size and time of what is kept."""
    keeper = _keeper()
    return rayjup.get(keeper.notes.remote()) if keeper is not None else []


def kept() -> TableDisplay:
    """What is kept in this cluster, as a table."""
    rows = [{**note, "since": time.strftime("%H:%M:%S", time.localtime(note["since"]))} for note in notes()]
    columns = [
        Column("name", "kept"),
        Column("type", "type"),
        Column("size", "size", kind="bytes"),
        Column("since", "since"),
    ]
    empty = 'Nothing is kept: keep(ref, "name") does that.'
    return TableDisplay(Table(columns, rows, title="kept values", empty=empty))


def survivors(snapshot: Mapping[str, Any]) -> str:
    """A sentence on what a restarted kernel finds alive; empty when there is nothing."""
    found = [f"kept value {note['name']!r}" for note in notes()]
    for actor in snapshot.get("actors") or []:
        if actor.get("state") == "ALIVE" and actor.get("name") not in (None, "", KEEPER):
            found.append(f"actor {actor['name']!r} ({actor.get('class_name')})")
    shown = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
    return f"Alive from before: {shown}." if found else ""


def _keeper(make: bool = False) -> Any:
    """The keeper of this cluster; None when there is none and none is to be made."""
    if not rayjup.is_initialized():
        raise ConnectionError("this notebook is connected to no cluster: run %ray_init first")
    if make:
        actor: Any = rayjup.remote(Keeper)
        return actor.options(
            name=KEEPER, namespace=NAMESPACE, lifetime="detached", num_cpus=0, get_if_exists=True
        ).remote()
    try:
        return rayjup.get_actor(KEEPER, namespace=NAMESPACE)
    except ValueError:
        return None
