"""What is known of nodes that are about to be taken away."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class PreemptionInfo:
    """Nodes that will go, and the ranks on them.

    Parameters
    ----------
    deadline_ms
        When they go, in milliseconds since 1970; None when nobody knows.
    preempted_node_to_ranks
        For each node (its id) the ranks of the workers on it.

    Examples
    --------
    >>> from rayjup.train import PreemptionInfo
    >>> PreemptionInfo(None, {"b": [2, 3], "a": [1]}).preempted_ranks
    [1, 2, 3]
    """

    deadline_ms: int | None
    preempted_node_to_ranks: dict[str, list[int]]

    @property
    def preempted_node_ids(self) -> list[str]:
        """The nodes."""
        return sorted(self.preempted_node_to_ranks)

    @property
    def preempted_ranks(self) -> list[int]:
        """All ranks on these nodes."""
        return sorted(rank for ranks in self.preempted_node_to_ranks.values() for rank in ranks)


def announce(node_ids: list[str], deadline_ms: int | None = None) -> None:
    """Tell all training runs of this cluster that nodes are about to be taken away.

    For who learns of it, such as a watcher of the cloud's notices. Runs with workers there hand it on
    to their
    training functions (``train.get_preemption_info()``), and don't count the loss as a failure.

    Parameters
    ----------
    node_ids
        Ids of the nodes, as in ``ray.nodes()``.
    deadline_ms
        When they go, in milliseconds since 1970.
    """
    from rayjup.runs import board

    for row in board.rows("train"):
        if row["ended"] is None:
            request = {"action": "preempt", "nodes": list(node_ids), "deadline_ms": deadline_ms}
            board.ask("train", row["run_id"], request)
