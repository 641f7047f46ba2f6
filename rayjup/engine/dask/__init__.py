"""Everything that touches Dask ``distributed`` beyond its documented plugin hooks.

``unix`` lets Dask listen on unix sockets, ``quiet`` is scheduler and worker without HTTP servers,
``attach`` is the lasting connection between an agent and the head, ``plugins`` turn a Dask
scheduler into a head and a Dask worker into a node.
"""
