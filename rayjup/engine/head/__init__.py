"""The head: what there is one of in a cluster, inside the Dask scheduler's process.

``head`` routes messages and keeps the tables, ``actors`` is the actor directory (pure), ``views``
turns the tables into what users and displays see. ``engine.dask`` puts it all into a Dask scheduler.
"""
