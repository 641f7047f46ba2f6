"""The head's part in what happens between hosts: who listens where, and who may join."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayjup.engine.head.head import Head


class Hosts:
    """Belongs to one head."""

    def __init__(self, head: Head) -> None:
        self._head = head
        head._on_locate = self.on_locate  # type: ignore[attr-defined]  # found by name
        head._on_store_unlink = self.on_store_unlink  # type: ignore[attr-defined]
        head._on_copy_keep = self.on_copy_keep  # type: ignore[attr-defined]
        head._on_kill_executor = self.on_kill_executor  # type: ignore[attr-defined]

    def problem_with(self, info: dict[str, Any]) -> str:
        """Why a node can't be in one cluster with those there are; empty where it can."""
        for node in self._head.nodes.values():
            other = node.info
            if other.get("lane_host") == info.get("lane_host"):
                continue
            for one in (info, other):
                if one.get("endpoint") is None:
                    return (
                        f"the node {info['name']} on {info['host']} cannot join those on {other['host']}: "
                        f"{one['name']} does not listen for other hosts, because {one.get('why_not')}."
                    )
        return ""

    def _node(self, store: str) -> str | None:
        """The node whose id begins so."""
        return next((node_id for node_id in self._head.nodes if node_id.startswith(store)), None)

    def on_locate(self, node_id: str, store: str) -> None:
        """A node wants to know where another one listens."""
        other = self._node(store)
        place = self._head.nodes[other].info.get("endpoint") if other is not None else None
        self._head.to_node(node_id, ("located", store, place))

    def on_store_unlink(self, node_id: str, client: str, store: str, names: list[str]) -> None:
        """A process frees what lies on a node of another host."""
        other = self._node(store)
        if other is not None:
            self._head.to_node(other, ("store_unlink", names))

    def on_copy_keep(self, node_id: str, client: str, store: str, name: str) -> None:
        """A copy is the object now."""
        other = self._node(store)
        if other is not None:
            self._head.to_node(other, ("copy_keep", name))

    def on_kill_executor(self, node_id: str, client: str, address: str) -> None:
        """A call is cancelled by force whose executor is on another node."""
        known = self._head.clients.get(address.rsplit("/w-", 1)[1][:16])
        if known is not None:
            self._head.to_node(known.node_id, ("kill_executor", address))
