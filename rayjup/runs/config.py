"""Settings of runs, in one place, for both vocabularies (``ray.air.config`` and ``ray.train`` /
``ray.tune``).

Every class takes the fields of all generations; a field that means nothing to the one who runs is not used
by it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from rayjup.runs.placement import PlacementGroupFactory, workers_factory

if TYPE_CHECKING:
    from rayjup.runs.callback import Callback

_OLD = "DEPRECATED"  # what Ray gives a field that has no meaning any more


class _Settings:
    """Shared by the dataclasses below: a `repr` of what differs from the defaults."""

    def __repr__(self) -> str:
        changed = []
        for one in fields(self):  # type: ignore[arg-type]
            value = getattr(self, one.name)
            default = one.default_factory() if callable(one.default_factory) else one.default
            if default is None and isinstance(value, _Settings) and value == type(value)():
                continue
            if one.repr and not (value is default or value == default):
                changed.append(f"{one.name}={value!r}")
        return f"{type(self).__name__}({', '.join(changed)})"


@dataclass(repr=False)
class SyncConfig(_Settings):
    """How the driver's files and trials' artifacts are brought to a remote ``storage_path``.

    Parameters
    ----------
    sync_period
        Seconds between two uploads.
    sync_timeout
        Seconds that one upload may take.
    sync_artifacts
        Whether other files that a trial leaves in its directory are uploaded.
    sync_artifacts_on_checkpoint
        Whether they are uploaded with each checkpoint, too.
    """

    sync_period: int = 300
    sync_timeout: int = 1800
    sync_artifacts: bool = False
    sync_artifacts_on_checkpoint: bool = True
    upload_dir: str | None = field(default=None, repr=False)
    syncer: Any = field(default="auto", repr=False)
    sync_on_checkpoint: bool = field(default=True, repr=False)


@dataclass(repr=False)
class FailureConfig(_Settings):
    """What happens when a trial or a worker fails.

    Parameters
    ----------
    max_failures
        So often it is started again from its last checkpoint; -1: without end.
    fail_fast
        Whether the first failure ends the whole experiment (Tune); ``"raise"`` raises it as it is.
    controller_failure_limit, max_preemption_failures, relax_collectives_on_preemption, preemption_grace_s
        Fields of Train.

    Examples
    --------
    >>> from rayjup.runs.config import FailureConfig
    >>> FailureConfig(max_failures=3)
    FailureConfig(max_failures=3)
    """

    max_failures: int = 0
    fail_fast: bool | str = False
    controller_failure_limit: int = -1
    max_preemption_failures: int = -1
    relax_collectives_on_preemption: bool = False
    preemption_grace_s: float = 0.0

    def __post_init__(self) -> None:
        if self.fail_fast == _OLD:
            self.fail_fast = False
        if isinstance(self.fail_fast, str) and self.fail_fast.lower() == "raise":
            self.fail_fast = "raise"
        if self.fail_fast not in (True, False, "raise"):
            raise ValueError(f"FailureConfig: fail_fast is {self.fail_fast!r}; it must be a bool or 'raise'")
        if not isinstance(self.max_failures, int) or self.max_failures < -1:
            raise ValueError(f"FailureConfig: max_failures is {self.max_failures!r}; it must be -1 or more")
        if self.fail_fast and self.max_failures != 0:
            raise ValueError(
                f"FailureConfig: max_failures must be 0 when fail_fast is {self.fail_fast!r}: "
                "a trial can't both end the experiment and be tried again"
            )


@dataclass(repr=False)
class CheckpointConfig(_Settings):
    """Which checkpoints are made and kept.

    Parameters
    ----------
    num_to_keep
        So many are kept, None for all. The newest one always is.
    checkpoint_score_attribute
        Metric by which the best are chosen; the newest are kept when it is not given.
    checkpoint_score_order
        ``"max"`` or ``"min"``.
    checkpoint_frequency
        Trainables with a ``save_checkpoint`` are saved every so many iterations (0: never).
    checkpoint_at_end
        Whether they are saved when they end.
    """

    num_to_keep: int | None = None
    checkpoint_score_attribute: str | None = None
    checkpoint_score_order: str | None = "max"
    checkpoint_frequency: int | None = 0
    checkpoint_at_end: bool | None = None
    _checkpoint_keep_all_ranks: Any = field(default=_OLD, repr=False)
    _checkpoint_upload_from_workers: Any = field(default=_OLD, repr=False)

    def __post_init__(self) -> None:
        if self.checkpoint_frequency in (None, _OLD):
            self.checkpoint_frequency = 0
        if self.checkpoint_at_end == _OLD:
            self.checkpoint_at_end = None
        if self.num_to_keep is not None and (not isinstance(self.num_to_keep, int) or self.num_to_keep <= 0):
            raise ValueError(
                f"CheckpointConfig: num_to_keep is {self.num_to_keep!r}; it must be None (keep all) or at "
                f"least 1"
            )
        if self.checkpoint_score_order not in ("max", "min"):
            raise ValueError(
                f"CheckpointConfig: checkpoint_score_order is {self.checkpoint_score_order!r}; "
                "it must be 'max' or 'min'"
            )
        assert self.checkpoint_frequency is not None
        if self.checkpoint_frequency < 0:
            raise ValueError(
                f"CheckpointConfig: checkpoint_frequency is {self.checkpoint_frequency!r}; it must be 0 "
                f"or more"
            )


@dataclass(repr=False)
class ScalingConfig(_Settings):
    """How many workers a training run has, and what each of them needs.

    Parameters
    ----------
    trainer_resources
        For the process that leads the workers; nothing by default.
    num_workers
        Number of workers, or ``(least, most)`` for a run that grows and shrinks; 0 runs in this process.
    use_gpu
        Whether each worker gets a GPU.
    resources_per_worker
        What each worker gets; one CPU (or one GPU) by default.
    placement_strategy
        How workers are spread over nodes.
    accelerator_type
        Only nodes with this kind of accelerator are used.

    Examples
    --------
    >>> from rayjup.runs.config import ScalingConfig
    >>> ScalingConfig(num_workers=2, resources_per_worker={"CPU": 3}).total_resources
    {'CPU': 6.0}
    """

    trainer_resources: Any = None
    num_workers: Any = 1
    use_gpu: Any = False
    resources_per_worker: Any = None
    placement_strategy: Any = "PACK"
    accelerator_type: str | None = None
    label_selector: Any = None
    use_tpu: bool = False
    topology: str | None = None
    elastic_resize_monitor_interval_s: float = 60.0
    _max_cpu_fraction_per_node: float | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.num_workers, (tuple, list)):
            if len(self.num_workers) != 2 or not 0 < self.num_workers[0] <= self.num_workers[1]:
                raise ValueError(
                    f"ScalingConfig: num_workers is {self.num_workers!r}; a range is (least, most) with "
                    "0 < least <= most"
                )
            self.num_workers = tuple(self.num_workers)
        elif isinstance(self.num_workers, int) and self.num_workers < 0:
            raise ValueError(f"ScalingConfig: num_workers is {self.num_workers}; it must be 0 or more")
        if (
            self.use_gpu is True
            and isinstance(self.resources_per_worker, dict)
            and self.resources_per_worker.get("GPU", 1) == 0
        ):
            raise ValueError(
                "ScalingConfig: use_gpu=True, but resources_per_worker has GPU=0; drop one of the two"
            )
        if (
            self.use_gpu is False
            and isinstance(self.resources_per_worker, dict)
            and self.resources_per_worker.get("GPU")
        ):
            raise ValueError(
                "ScalingConfig: resources_per_worker asks for GPUs, but use_gpu is False; set use_gpu=True"
            )

    @property
    def _worker_resources(self) -> dict[str, float]:
        wanted = {k: v for k, v in (self.resources_per_worker or {}).items() if v}
        if self.resources_per_worker is None:
            wanted = {"CPU": 1}
            if self.use_gpu:
                wanted = {"CPU": 1, "GPU": 1}
        if self.use_gpu:
            wanted.setdefault("GPU", 1)
        if self.use_tpu:
            wanted.setdefault("TPU", 1)
        if self.accelerator_type:
            wanted.setdefault(f"accelerator_type:{self.accelerator_type}", 0.001)
        return {name: float(amount) for name, amount in wanted.items()}

    @property
    def _trainer_resources(self) -> dict[str, float]:
        return {k: float(v) for k, v in (self.trainer_resources or {}).items() if v}

    @property
    def min_workers(self) -> int:
        """The least number of workers."""
        return self.num_workers[0] if isinstance(self.num_workers, tuple) else self.num_workers

    @property
    def max_workers(self) -> int:
        """The largest number of workers."""
        return self.num_workers[1] if isinstance(self.num_workers, tuple) else self.num_workers

    @property
    def elasticity_enabled(self) -> bool:
        """Whether the number of workers may change."""
        return isinstance(self.num_workers, tuple)

    @property
    def num_cpus_per_worker(self) -> float:
        """CPUs of each worker."""
        return self._worker_resources.get("CPU", 0)

    @property
    def num_gpus_per_worker(self) -> float:
        """GPUs of each worker."""
        return self._worker_resources.get("GPU", 0)

    @property
    def num_tpus_per_worker(self) -> float:
        """TPUs of each worker."""
        return self._worker_resources.get("TPU", 0)

    @property
    def additional_resources_per_worker(self) -> dict[str, float]:
        """What each worker gets beside CPUs and GPUs."""
        return {k: v for k, v in self._worker_resources.items() if k not in ("CPU", "GPU", "TPU")}

    @property
    def total_resources(self) -> dict[str, float]:
        """The sum over the trainer and all workers."""
        total = dict(self._trainer_resources)
        for name, amount in self._worker_resources.items():
            total[name] = total.get(name, 0.0) + amount * self.max_workers
        return total

    def as_placement_group_factory(self) -> PlacementGroupFactory:
        """The same as bundles: the trainer's, and one per worker."""
        return workers_factory(
            self._trainer_resources, self._worker_resources, self.max_workers, self.placement_strategy
        )

    @classmethod
    def from_placement_group_factory(cls, pgf: PlacementGroupFactory) -> ScalingConfig:
        """The settings whose bundles are ``pgf``: the first is the trainer's, all others must be equal."""
        bundles = pgf.bundles
        trainer = {} if pgf.head_bundle_is_empty else bundles[0]
        workers = bundles if pgf.head_bundle_is_empty else bundles[1:]
        if any(bundle != workers[0] for bundle in workers):
            raise ValueError(
                f"{pgf!r} has different bundles for its workers; ScalingConfig gives all the same"
            )
        each = dict(workers[0]) if workers else {}
        return cls(
            trainer_resources=trainer or None,
            num_workers=len(workers),
            use_gpu=bool(each.get("GPU")),
            resources_per_worker=each or None,
            placement_strategy=pgf.strategy,
        )


@dataclass(repr=False)
class RunConfig(_Settings):
    """Where a run or experiment is kept, and what goes with it.

    Parameters
    ----------
    name
        Name of the run: its directory below ``storage_path``. Made from the trainable and the time by
        default.
    storage_path
        Directory or URI; ``~/ray_results`` by default.
    storage_filesystem
        A pyarrow or fsspec filesystem on which ``storage_path`` is a path.
    failure_config, checkpoint_config, sync_config
        See there.
    verbose
        0: nothing is printed; 1: a table now and then; 2: results, too.
    stop
        When a trial ends: ``{"metric": bound}``, a function of trial id and result, or a `Stopper`.
    callbacks
        Called at each event of the run.
    progress_reporter
        Who prints the table (Tune).
    log_to_file
        Whether what a trial prints goes to ``stdout`` and ``stderr`` in its directory; or a name, or two.
    worker_runtime_env, logging_config
        Fields of Train.

    Examples
    --------
    >>> from rayjup.runs.config import RunConfig
    >>> RunConfig(name="first", stop={"training_iteration": 5})
    RunConfig(name='first', stop={'training_iteration': 5})
    """

    name: str | None = None
    storage_path: str | os.PathLike[str] | None = None
    storage_filesystem: Any = None
    failure_config: FailureConfig | None = None
    checkpoint_config: CheckpointConfig | None = None
    sync_config: SyncConfig | None = None
    verbose: Any = None
    stop: Mapping[str, Any] | Callable[..., bool] | Any = None
    callbacks: list[Callback] | list[Any] | None = None
    progress_reporter: Any = None
    log_to_file: bool | str | tuple[str, str] = False
    worker_runtime_env: Any = None
    logging_config: Any = None
    local_dir: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, cleared in (
            ("sync_config", None),
            ("verbose", None),
            ("stop", None),
            ("progress_reporter", None),
            ("log_to_file", False),
        ):
            if isinstance(getattr(self, name), str) and getattr(self, name) == _OLD:
                setattr(self, name, cleared)
        if self.local_dir is not None:
            warnings.warn(
                "RunConfig(local_dir=...) is now RunConfig(storage_path=...)",
                DeprecationWarning,
                stacklevel=3,
            )
            self.storage_path = self.storage_path or self.local_dir
        upload = self.sync_config.upload_dir if isinstance(self.sync_config, SyncConfig) else None
        if upload and self.storage_path is None:
            self.storage_path = upload
        self.failure_config = _typed("failure_config", self.failure_config, FailureConfig)
        self.checkpoint_config = _typed("checkpoint_config", self.checkpoint_config, CheckpointConfig)
        self.sync_config = _typed("sync_config", self.sync_config, SyncConfig)
        if self.storage_path is not None:
            self.storage_path = os.fspath(self.storage_path)
        if self.name is not None and not isinstance(self.name, str):
            raise TypeError(f"RunConfig: name must be a string, not {self.name!r}")

    @property
    def storage_context(self) -> Any:
        """Where the run of this configuration is kept (needs a name)."""
        from rayjup.runs.storage import StorageContext

        if not self.name:
            raise ValueError("RunConfig: a run without a name has no place yet; give it a name")
        return StorageContext(self.storage_path, self.name, self.storage_filesystem)


def _typed(name: str, value: Any, kind: type) -> Any:
    if value is None:
        return kind()
    if isinstance(value, dict):
        return kind(**value)
    if not isinstance(value, kind):
        raise TypeError(f"RunConfig: {name} must be a {kind.__name__}, not {value!r}")
    return value
