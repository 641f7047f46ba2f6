"""Ray 1.x's ``Trainer``: workers that are started, run functions, and are shut down. One thin layer."""

from __future__ import annotations

import queue
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.config import CheckpointConfig, RunConfig, ScalingConfig
from rayjup.runs.result import Result
from rayjup.train.backend import BackendConfig
from rayjup.train.callbacks import UserCallback
from rayjup.train.controller.job import TrainJob
from rayjup.train.data_config import DataConfig
from rayjup.train.worker.calling import check_signature

__all__ = ["Trainer", "TrainingIterator"]


class Trainer:
    """Runs functions on a number of workers (Ray 1.x; today `rayjup.train.torch.TorchTrainer` and the like).

    Parameters
    ----------
    backend
        ``"torch"``, ``"tensorflow"``, ``"xgboost"``, ``"lightgbm"``, or a `BackendConfig`.
    num_workers, use_gpu, resources_per_worker
        As of `ScalingConfig`.
    logdir
        Directory in which runs are kept.
    max_retries
        So many failures of workers are survived.

    Examples
    --------
    >>> import tempfile, warnings
    >>> warnings.simplefilter("ignore", DeprecationWarning)
    >>> from rayjup.train import BackendConfig, Trainer
    >>> trainer = Trainer(backend=BackendConfig(), num_workers=2, logdir=tempfile.mkdtemp())
    >>> trainer.start()
    >>> trainer.run(lambda: 7)
    [7, 7]
    >>> trainer.shutdown()
    """

    def __init__(
        self,
        backend: str | BackendConfig,
        num_workers: int,
        use_gpu: bool = False,
        resources_per_worker: dict[str, float] | None = None,
        logdir: str | None = None,
        max_retries: int = 3,
    ) -> None:
        warnings.warn(
            "Trainer(backend=..., num_workers=...) is now TorchTrainer(train_fn, "
            "scaling_config=ScalingConfig(...)).fit()",
            DeprecationWarning,
            stacklevel=2,
        )
        self._backend = backend_of(backend)
        self._scaling = ScalingConfig(
            num_workers=num_workers, use_gpu=use_gpu, resources_per_worker=resources_per_worker
        )
        self._logdir = logdir
        self._max_retries = max_retries
        self._started = False
        self._result: Result | None = None

    def start(self, initialization_hook: Callable[[], None] | None = None) -> None:
        """Make ready; ``initialization_hook`` runs on the workers before each function."""
        self._started = True
        self._hook = initialization_hook

    def run(
        self,
        train_func: Callable[..., Any],
        config: dict[str, Any] | None = None,
        callbacks: list[Any] | None = None,
        dataset: Any = None,
        checkpoint: Any = None,
        checkpoint_strategy: CheckpointConfig | None = None,
    ) -> list[Any]:
        """Run a function on all workers; what it returned, by rank."""
        leader = self._leader(train_func, config, callbacks, dataset, checkpoint, checkpoint_strategy)
        self._result = leader.run()
        assert leader.end is not None
        return list(leader.end.values or ())

    def run_iterator(
        self,
        train_func: Callable[..., Any],
        config: dict[str, Any] | None = None,
        dataset: Any = None,
        checkpoint: Any = None,
        checkpoint_strategy: CheckpointConfig | None = None,
    ) -> TrainingIterator:
        """Run a function; an iterator over its reports (metrics by rank)."""
        self._check_started()
        return TrainingIterator(
            self._scaling,
            self._backend,
            _with_config(train_func, config),
            _datasets(dataset),
            {},
            DataConfig(),
            checkpoint,
            run_config=self._run_config(checkpoint_strategy),
        )

    def shutdown(self) -> None:
        """Nothing is left to end; `run` needs another `start`."""
        self._started = False

    @property
    def latest_run_dir(self) -> Any:
        """Directory of the last run."""
        return self._result.log_dir if self._result is not None else None

    @property
    def latest_checkpoint(self) -> dict[str, Any] | None:
        """The newest dictionary that was saved."""
        found = self._result.checkpoint if self._result is not None else None
        return found.to_dict() if found is not None else None

    @property
    def best_checkpoint(self) -> Checkpoint | None:
        """The best checkpoint of the last run, by its ``checkpoint_strategy``."""
        kept = self._result.best_checkpoints if self._result is not None else None
        return kept[-1][0] if kept else None

    def _leader(
        self,
        function: Callable[..., Any],
        config: dict[str, Any] | None,
        callbacks: list[Any] | None,
        dataset: Any,
        checkpoint: Any,
        strategy: CheckpointConfig | None,
    ) -> Any:
        self._check_started()
        import rayjup
        from rayjup.train.controller.leader import Leader

        if not rayjup.is_initialized():
            rayjup.init()
        job = TrainJob(
            function=_after_hook(getattr(self, "_hook", None), function),
            config=config,
            scaling=self._scaling,
            run_config=self._run_config(strategy, callbacks),
            backend=self._backend,
            datasets=_datasets(dataset),
            data_config=DataConfig(),
            checkpoint=_checkpoint(checkpoint),
        )
        return Leader(job)

    def _check_started(self) -> None:
        if not self._started:
            raise RuntimeError("this Trainer has not been started (or was shut down): call start() first")

    def _run_config(self, strategy: CheckpointConfig | None, callbacks: list[Any] | None = None) -> RunConfig:
        from rayjup.runs.config import FailureConfig

        return RunConfig(
            storage_path=self._logdir,
            failure_config=FailureConfig(max_failures=self._max_retries),
            checkpoint_config=strategy,
            callbacks=list(callbacks or []),
        )


class TrainingIterator:
    """Iterates over the reports of a run that goes on meanwhile: for each, the metrics by rank.

    Parameters
    ----------
    backend_executor
        How the run is scaled: a `ScalingConfig`.
    backend_config, train_func, datasets, metadata, data_config, checkpoint
        As of a trainer.
    run_config
        Where the run is kept.
    """

    def __init__(
        self,
        backend_executor: ScalingConfig,
        backend_config: BackendConfig,
        train_func: Callable[..., Any],
        datasets: dict[str, Any],
        metadata: dict[str, Any],
        data_config: DataConfig,
        checkpoint: Any = None,
        run_config: RunConfig | None = None,
    ) -> None:
        check_signature(train_func, "train_func")
        self._reports: queue.Queue[list[dict[str, Any]] | None] = queue.Queue()
        reports = self._reports
        self._error: BaseException | None = None
        self._values: list[Any] | None = None
        self._over = False

        class Take(UserCallback):
            """Hands the reports over."""

            def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
                reports.put(metrics)

        config = run_config or RunConfig()
        config.callbacks = [*(config.callbacks or []), Take()]
        self._job = TrainJob(
            function=train_func,
            config=None,
            scaling=backend_executor,
            run_config=config,
            backend=backend_config,
            datasets=dict(datasets),
            data_config=data_config,
            checkpoint=_checkpoint(checkpoint),
            metadata=dict(metadata),
        )
        self._thread = threading.Thread(target=self._run, name="training-iterator", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        import rayjup
        from rayjup.train.controller.leader import Leader

        try:
            if not rayjup.is_initialized():
                rayjup.init()
            leader = Leader(self._job)
            leader.run()
            self._values = list(leader.end.values or ()) if leader.end is not None else []
        except BaseException as error:  # noqa: BLE001 - raised where the iterator is read
            self._error = error
        finally:
            self._reports.put(None)

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        return self

    def __next__(self) -> list[dict[str, Any]]:
        if self._over:
            raise StopIteration
        found = self._reports.get()
        if found is None:
            self._over = True
            self._thread.join()
            if self._error is not None:
                raise self._error
            raise StopIteration
        return found

    def is_finished(self) -> bool:
        """Whether all reports have been read."""
        return self._over

    def get_final_results(self, force: bool = False) -> list[Any]:
        """What the function returned, by rank; ``force`` waits for it."""
        if not self._over:
            if not force:
                raise RuntimeError("the run is not finished: read all reports, or call with force=True")
            for _ in self:
                continue
        return self._values or []


def backend_of(backend: str | BackendConfig) -> BackendConfig:
    """The settings of a backend that is named."""
    if isinstance(backend, BackendConfig):
        return backend
    import importlib

    places = {
        "torch": ("torch.config", "TorchConfig"),
        "tensorflow": ("tensorflow.config", "TensorflowConfig"),
        "xgboost": ("xgboost.config", "XGBoostConfig"),
        "lightgbm": ("lightgbm.config", "LightGBMConfig"),
    }
    if backend not in places:
        raise ValueError(
            f"Trainer: backend is {backend!r}; it must be one of {sorted(places)} or a BackendConfig"
        )
    module, name = places[backend]
    found: BackendConfig = getattr(importlib.import_module(f"rayjup.train.{module}"), name)()
    return found


def _with_config(function: Callable[..., Any], config: dict[str, Any] | None) -> Callable[[], Any]:
    takes = check_signature(function, "train_func")
    return lambda: function(dict(config or {})) if takes else function()


def _after_hook(hook: Callable[[], None] | None, function: Callable[..., Any]) -> Callable[..., Any]:
    if hook is None:
        return function
    takes = check_signature(function, "train_func")

    def both(config: dict[str, Any]) -> Any:
        hook()
        return function(config) if takes else function()

    return both


def _datasets(dataset: Any) -> dict[str, Any]:
    if dataset is None:
        return {}
    return dict(dataset) if isinstance(dataset, dict) else {"train": dataset}


def _checkpoint(given: Any) -> Checkpoint | None:
    if given is None or isinstance(given, Checkpoint):
        return given
    return Checkpoint.from_dict(given) if isinstance(given, dict) else Checkpoint.from_directory(given)
