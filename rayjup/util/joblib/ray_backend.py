"""The joblib backend: batches of calls run in a pool of processes on the cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from joblib import parallel_config
from joblib.parallel import AutoBatchingMixin, ParallelBackendBase

import rayjup as ray
from rayjup.util.multiprocessing.pool import Pool, ray_get_if_needed, ray_put_if_needed


class RayBatchedCalls:
    """A batch of joblib's calls whose large arguments lie in the object store.

    An array that all calls of one ``Parallel`` get is stored once, and mapped, not copied, where they run.

    Parameters
    ----------
    batch
        joblib's own batch.
    registry
        What has been stored for this ``Parallel``, by identity.
    """

    def __init__(self, batch: Any, registry: list[tuple[Any, Any]]) -> None:
        self.items = [
            (
                func,
                [ray_put_if_needed(arg, registry) for arg in args],
                {name: ray_put_if_needed(arg, registry) for name, arg in kwargs.items()},
            )
            for func, args, kwargs in batch.items
        ]
        self._nested = (batch._backend, batch._n_jobs)

    def __len__(self) -> int:
        return len(self.items)

    def __call__(self) -> list[Any]:
        backend, n_jobs = self._nested
        with parallel_config(backend=backend, n_jobs=n_jobs):
            return [
                func(
                    *map(ray_get_if_needed, args),
                    **{name: ray_get_if_needed(arg) for name, arg in kwargs.items()},
                )
                for func, args, kwargs in self.items
            ]


class RayBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs ``joblib.Parallel`` on the cluster.

    Parameters
    ----------
    ray_remote_args
        Options of the processes, such as ``{"num_gpus": 1}``.
    """

    supports_retrieve_callback = True
    supports_return_generator = True
    supports_timeout = True

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        **backend_kwargs: Any,
    ) -> None:
        super().__init__(
            nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads, **backend_kwargs
        )
        self.ray_remote_args = ray_remote_args
        self._pool: Pool | None = None
        self._stored: list[tuple[Any, Any]] = []

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Processes for ``n_jobs``: all CPUs of the cluster for -1, one less for -2, …"""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if not ray.is_initialized():
            ray.init()
        cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
        return max(1, cpus + 1 + n_jobs) if n_jobs < 0 else min(n_jobs, cpus)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: Any = None,
        require: Any = None,
        ray_remote_args: dict[str, Any] | None = None,
        **backend_kwargs: Any,
    ) -> int:
        """Start the processes for one ``Parallel``."""
        processes = self.effective_n_jobs(n_jobs)
        self.parallel = parallel
        self._pool = Pool(processes, ray_remote_args=ray_remote_args or self.ray_remote_args)
        return processes

    def submit(self, func: Any, callback: Callable[[Any], Any] | None = None) -> Any:
        """Run a batch; ``callback`` gets what :meth:`retrieve_result_callback` takes."""
        assert self._pool is not None
        batch = RayBatchedCalls(func, self._stored) if hasattr(func, "items") else func
        if callback is None:
            return self._pool.apply_async(batch)
        tell = callback
        return self._pool.apply_async(
            batch,
            callback=lambda value: tell((value, None)),
            error_callback=lambda error: tell((None, error)),
        )

    def retrieve_result_callback(self, out: tuple[Any, BaseException | None]) -> Any:
        """The results of a batch; raises its error."""
        value, error = out
        if error is not None:
            raise error
        return value

    def terminate(self) -> None:
        """End the processes."""
        self._stored = []
        self.reset_batch_stats()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Drop what has not run, after an error."""
        self.terminate()
        if ensure_ready:
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)
