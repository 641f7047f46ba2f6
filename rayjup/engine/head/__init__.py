"""The head: what there is one of in a cluster, inside the Dask scheduler's process.

``head`` routes messages and keeps the tables, ``actors`` is the actor directory (pure), ``groups``
the placement groups, ``environments`` what nodes say of theirs, ``late`` warns of what waits in
vain, ``reports`` gathers answers of all nodes about calls, with ``state_rows`` for the head's own
tables, ``views`` turns the tables into what users and displays see. ``journal`` is the file in which
tables outlive the head, ``saved`` says which and in which form, ``recovery`` picks a running cluster
up from it. ``engine.dask`` puts it all into a Dask scheduler.
"""
