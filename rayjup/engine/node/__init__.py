"""A node: the agent inside a Dask worker, and the processes it keeps.

``agent`` speaks with local processes and with the head, ``executors`` keeps the pool of executor
processes and the zygote they come from, ``connection`` is one local process as the agent sees it,
``samples`` measures the machine. ``engine.dask`` puts an agent into a Dask worker.
"""
