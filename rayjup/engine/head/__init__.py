"""The head: what there is one of in a cluster, inside the Dask scheduler's process.

``head`` routes messages and keeps the tables (their rows: ``tables``). ``processes`` are drivers, executors
and jobs; ``leasing`` asks the lease scheduler and does what it says; ``actor_life`` makes and ends actors,
``actors`` is their directory (pure); ``groups`` are the placement groups; ``environments`` is what nodes say
of theirs; ``hosts`` and ``rotation`` are for nodes of other hosts, and the exchange of secrets; ``scaling``
lets nodes come and go; ``late`` warns of what waits in vain.

``reports`` gathers answers of all nodes about calls, with ``state_rows`` for the head's own tables; ``views``
turns the tables into what users and displays see. ``journal`` is the file in which tables outlive the head,
``saved`` says which and in which form, ``recovery`` picks a running cluster up from it. ``engine.dask`` puts
it all into a Dask scheduler.
"""
