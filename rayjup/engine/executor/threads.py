"""How many threads numeric libraries use in an executor: as many as its lease has CPUs."""

from __future__ import annotations

import os
import sys

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_set = 1
fixed = False  # the runtime environment says how many


def set_threads(cpus: float) -> None:
    """Use ``cpus`` threads (at least one), in libraries that are loaded and in those to come.

    Does nothing where the user has set ``OMP_NUM_THREADS``.
    """
    global _set
    count = max(1, int(cpus))
    if count == _set or fixed or os.environ.get("OMP_NUM_THREADS") not in (None, str(_set)):
        return
    _set = count
    for name in VARIABLES:
        os.environ[name] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    try:
        import threadpoolctl
    except ImportError:
        return  # it comes with scikit-learn; without it, libraries loaded already keep one thread
    threadpoolctl.threadpool_limits(count)
