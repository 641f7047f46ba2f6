"""What drivers and executors are made of.

``runtime`` is the process's own object store and its connections, ``arguments`` the encoding of
call arguments, ``tasks`` submits tasks over leases (``pools``), ``actor_calls`` submits to actors,
``groups`` makes placement groups, ``submitted``, ``object_rows`` and ``reports`` tell what of all
this is there, ``forks`` guards children, ``resume`` tells another head what is held and wanted
here, ``streams`` receives what generators yield, ``link`` is the connection to the node's agent,
``functions`` what is known of a remote function. ``lineage`` makes lost objects again, from what
``recipes`` remembers of the calls that made them.
"""
