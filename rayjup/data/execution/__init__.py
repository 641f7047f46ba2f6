"""Running plans.

``nodes`` is the pure part: what is waiting, what may be started, in which order blocks come out.
``policy`` decides which
node may start a task, from counts and bytes. ``remote`` starts tasks and actors; ``runner`` turns the
crank. ``local``
runs plans in this process, ``lazy`` makes Polars queries of their relational parts. ``run`` chooses
between the two.
"""
