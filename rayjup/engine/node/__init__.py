"""A node: the agent inside a Dask worker, and the processes it keeps.

``agent`` speaks with local processes and with the head, ``head_link`` keeps what a head that ends may
not have heard and reports to the next one, ``executors`` keeps the pool of executor
processes, ``zygotes`` what they are forked from, ``starts`` counts those that don't come up,
``environments`` builds runtime environments (``environment_build``, ``environment_python``) and
keeps them (``environment_cache``), ``reports`` and ``log_files`` answer questions about calls and
output, ``last_lines`` has all output sent before a driver ends, ``connection`` is one local process
as the agent sees it, ``samples`` measures the machine, ``memory`` ends tasks before it runs out of
memory. ``engine.dask`` puts an agent into a Dask worker.
"""
