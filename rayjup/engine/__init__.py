"""The engine: Ray's tasks, actors and objects on processes that speak to each other directly.

Dask brings up the nodes and connects them to the head; no call ever passes through it. Drivers and
executors do not even import it. A map, from the wire upwards:

``lane``       how processes talk: frames, connections, the reactor that reads them, kinds of messages
``objects``    values in shared memory, one file per object
``ownership``  refs: who owns an object, who borrows it, when it may go
``runtime``    what drivers and executors have in common: submitting, getting, waiting
``executor``   the processes that run calls, and the zygote they are forked from
``leases``     who may use which part of which node: a pure state machine
``head``       what there is one of in a cluster: tables, actor directory, the lease scheduler's I/O
``node``       the agent of a machine: keeps executors, carries messages between them and the head
``dask``       puts head and agents into a Dask scheduler and its workers; only this folder imports Dask

A call: ``runtime`` asks its node's agent for a lease, ``head`` grants it, ``node`` forks or wakes an
executor, and from then on ``runtime`` sends calls over the ``lane`` straight to that ``executor``.
"""
