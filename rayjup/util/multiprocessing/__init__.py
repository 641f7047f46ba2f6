"""``multiprocessing.Pool`` over the cluster (mirrors ``ray.util.multiprocessing``).

``from rayjup.util.multiprocessing import Pool`` instead of ``from multiprocessing import Pool``.
"""

from multiprocessing import JoinableQueue, TimeoutError

from rayjup.util.multiprocessing.pool import Pool

__all__ = ["JoinableQueue", "Pool", "TimeoutError"]
