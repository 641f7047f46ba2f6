"""The head's part in changing the number of nodes: it says what is needed, and lets nodes leave.

How many nodes there should be is decided elsewhere (``rayjup.cluster.scaling``): the head starts none.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from rayjup.engine import leases as ls

if TYPE_CHECKING:
    from rayjup.engine.head.head import Head

SPACE = "autoscaler"
REQUESTED, STATUS = b"requested", b"status"


class Scaling:
    """Belongs to one head."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self.ops: dict[str, Any] = {
            "scaling_state": self.state,
            "scaling_drain": self.drain,
            "scaling_stop": self.stop,
        }

    def state(self, client: str) -> dict[str, Any]:
        """What is there, what waits, and what ``request_resources`` asked for."""
        head = self._head
        found = head.scheduler.needs()
        drivers: dict[str, int] = {}
        for each in head.clients.values():
            if each.kind == "driver":
                drivers[each.node_id] = drivers.get(each.node_id, 0) + 1
        for node_id, row in found["nodes"].items():
            node = head.nodes.get(node_id)
            if node is None:  # of the head before this one, and not here again
                row["away"] = True
                continue
            row["name"] = node.info["name"]
            row["host"] = node.info["host"]
            row["is_head"] = bool(node.info.get("is_head"))
            row["beside"] = bool(node.info.get("beside"))
            row["objects"] = node.sample.get("store_own", 0)
            row["drivers"] = drivers.get(node_id, 0)
        found["time"] = time.time()
        found["recovering"] = head.recovery.active
        found["requested"] = self._read(REQUESTED) or []
        return found

    def drain(self, client: str, node_id: str, draining: bool) -> bool:
        """Place nothing new on a node on which nothing runs; False where something does.

        With ``draining`` False it gets work again.
        """
        head = self._head
        if draining:
            row = head.scheduler.needs()["nodes"].get(node_id)
            here = any(c.kind == "driver" and c.node_id == node_id for c in head.clients.values())
            if row is None or row["leases"] or row["bundles"] or here:
                return False
        head.schedule(ls.NodeDraining(node_id, draining))
        return True

    def stop(self, client: str, node_id: str) -> bool:
        """Tell a node to end; False where there is none such."""
        node = self._head.nodes.get(node_id)
        if node is None:
            return False
        node.send(("shutdown",))
        return True

    def status(self) -> dict[str, Any] | None:
        """What whoever decides has said last; None where the cluster keeps its size."""
        status: dict[str, Any] | None = self._read(STATUS)
        return status

    def _read(self, key: bytes) -> Any:
        text = self._head.kv.get((SPACE, key))
        return json.loads(text) if text else None
