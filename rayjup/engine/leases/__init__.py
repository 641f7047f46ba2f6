"""Leases: who may use which part of which node.

A lease is the right to use one executor with given resources on a node. Drivers and executors ask
for leases by shape, not per call; one ``LeaseScheduler`` per cluster grants them. It is a pure
state machine: events in, instructions out, no clock, no I/O, no Dask, so the same code runs in the
head, in tests and in a simulator with 10 000 nodes.

Read in this order:

``_shapes``     what is asked for: ``Shape`` and the placement strategies
``_messages``   the events that go in and the instructions that come out
``_resources``  the accounts: whole numbers of 1/10000, GPUs by index; nodes and bundles are pools
``_placement``  which pool next: an index per kind of request, O(log nodes) per decision
``_queues``     what waits: by shape, round robin among clients, oldest first among shapes
``_groups``     placement groups: all bundles at once or none
``_claims``     nobody waits forever: capacity kept for who was overtaken too often
``_reclaim``    whom to ask for idle leases when somebody waits
``_returning``  a cluster as it was, when another scheduler takes over
``_needs``      what nodes have left and what waits, for whoever adds and removes nodes
``_book``       the books: pools, leases, clients, and what returns when one of them goes
``_state``      ``LeaseScheduler``: the events, one method each
"""

from rayjup.engine.leases._messages import (
    Blocked,
    Cancelled,
    ClientGone,
    Event,
    Grant,
    GroupLost,
    GroupPending,
    GroupPlaced,
    GroupRemoved,
    GroupRequested,
    GroupReturned,
    Held,
    Infeasible,
    Instruction,
    NodeDraining,
    NodeJoined,
    NodeLeft,
    NodeMissing,
    NodeReturned,
    NodeSupply,
    Place,
    Reclaim,
    Released,
    Requested,
    Revoke,
    Unblocked,
)
from rayjup.engine.leases._resources import UNIT, Ledger, gpu_slots, to_units
from rayjup.engine.leases._shapes import (
    Conditions,
    Default,
    Labels,
    NodeAffinity,
    Shape,
    Spread,
    Strategy,
    matches,
)
from rayjup.engine.leases._state import LeaseScheduler

__all__ = [
    "UNIT",
    "Blocked",
    "Cancelled",
    "ClientGone",
    "Conditions",
    "Default",
    "Event",
    "Grant",
    "GroupLost",
    "GroupPending",
    "GroupPlaced",
    "GroupRemoved",
    "GroupRequested",
    "GroupReturned",
    "Held",
    "Infeasible",
    "Instruction",
    "Labels",
    "LeaseScheduler",
    "Ledger",
    "NodeAffinity",
    "NodeDraining",
    "NodeJoined",
    "NodeLeft",
    "NodeMissing",
    "NodeReturned",
    "NodeSupply",
    "Place",
    "Reclaim",
    "Released",
    "Requested",
    "Revoke",
    "Shape",
    "Spread",
    "Strategy",
    "Unblocked",
    "gpu_slots",
    "matches",
    "to_units",
]
