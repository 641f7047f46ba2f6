"""Finding graph nodes inside arguments, and putting other things in their places.

Lists, tuples, dicts and sets are walked; other objects are searched through their pickle, in which
nodes (and what must keep its identity: refs and actor handles) appear as persistent ids.
"""

from __future__ import annotations

import io
import pickle
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cloudpickle

from rayjup.core.actor import ActorHandle
from rayjup.engine.ownership.object_ref import ObjectRef

if TYPE_CHECKING:
    from rayjup.dag.dag_node import DAGNode

_LEAVES: tuple[type, ...] = (
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    memoryview,
    range,
    type,
    type(None),
    types.FunctionType,
    types.BuiltinFunctionType,
    types.ModuleType,
    ObjectRef,
    ActorHandle,
)


def find(value: Any) -> list[DAGNode]:
    """The nodes inside ``value``, each once, in the order in which they are met."""
    found: dict[int, Any] = {}

    def note(node: Any) -> Any:
        found.setdefault(id(node), node)
        return node

    replace(value, note)
    return list(found.values())


def replace(value: Any, change: Callable[[Any], Any]) -> Any:
    """``value`` with each node in it replaced by ``change(node)``; itself where nothing changed."""
    from rayjup.dag.dag_node import DAGNode

    if isinstance(value, DAGNode):
        return change(value)
    kind = type(value)
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        items = [replace(item, change) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return kind(items)
    if kind is dict:
        changed = {replace(key, change): replace(item, change) for key, item in value.items()}
        same = all(
            new_key is key and changed[new_key] is value[key]
            for new_key, key in zip(changed, value, strict=False)
        )
        return value if same and len(changed) == len(value) else changed
    if isinstance(value, _LEAVES) or _is_data(kind):
        return value
    return _replace_inside(value, change)


def _is_data(kind: type) -> bool:
    """Arrays and tables hold no nodes, and pickling them only to look would be slow."""
    return (kind.__module__ or "").partition(".")[0] in ("numpy", "pandas", "pyarrow", "polars", "torch")


class _Pickler(cloudpickle.Pickler):
    def __init__(self, file: Any, kept: list[Any]) -> None:
        super().__init__(file, protocol=5)
        self.kept = kept
        self.nodes = 0

    def persistent_id(self, obj: Any) -> Any:
        from rayjup.dag.dag_node import DAGNode

        if isinstance(obj, DAGNode):
            self.nodes += 1
        elif not isinstance(obj, (ObjectRef, ActorHandle)):
            return None
        self.kept.append(obj)
        return len(self.kept) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, kept: list[Any], change: Callable[[Any], Any]) -> None:
        super().__init__(file)
        self.kept = kept
        self.change = change

    def persistent_load(self, pid: Any) -> Any:
        from rayjup.dag.dag_node import DAGNode

        obj = self.kept[pid]
        return self.change(obj) if isinstance(obj, DAGNode) else obj


def _replace_inside(value: Any, change: Callable[[Any], Any]) -> Any:
    kept: list[Any] = []
    file = io.BytesIO()
    pickler = _Pickler(file, kept)
    try:
        pickler.dump(value)
    except Exception:  # noqa: BLE001 - whatever the value's own pickling raises: the call will say it, with its name
        return value
    if not pickler.nodes:
        return value
    file.seek(0)
    return _Unpickler(file, kept, change).load()
