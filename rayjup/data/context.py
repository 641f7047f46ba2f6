"""Settings of datasets: of this process, and of each dataset made in it."""

from __future__ import annotations

import copy
import enum
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from rayjup.data.resources import ExecutionOptions as ExecutionOptions
from rayjup.data.resources import ExecutionResources as ExecutionResources

_MIB = 1024 * 1024


class ShuffleStrategy(str, enum.Enum):
    """How an exchange moves rows. One way is used here; the names are accepted."""

    HASH_SHUFFLE = "hash_shuffle"
    SORT_SHUFFLE_PULL_BASED = "sort_shuffle_pull_based"
    SORT_SHUFFLE_PUSH_BASED = "sort_shuffle_push_based"
    SHUFFLE_V2 = "shuffle_v2"
    GPU_SHUFFLE = "gpu_shuffle"


class NodeIdStr(str):
    """The id of a node, as a hint where data should go."""


@dataclass(frozen=True)
class RandomSeedConfig:
    """A seed, and whether each execution gets another one derived from it.

    Parameters
    ----------
    seed : int, optional
        None: other rows each time.
    reseed_after_execution : bool
        Each epoch has an order of its own (still reproducible).
    use_timestamp_as_default : bool
        Where ``seed`` is None, take the time.
    """

    seed: int | None = None
    reseed_after_execution: bool = True
    use_timestamp_as_default: bool = False

    @classmethod
    def create_seed_config(cls, seed: Any, *, use_timestamp_as_default: bool = False) -> RandomSeedConfig:
        """A configuration of a number (the same in each execution), or of another configuration."""
        if seed is None or isinstance(seed, int):
            return cls(seed, False, use_timestamp_as_default)
        if isinstance(seed, RandomSeedConfig):
            return cls(seed.seed, seed.reseed_after_execution, use_timestamp_as_default)
        raise ValueError(f"seed={seed!r} must be a number, a RandomSeedConfig or None.")

    def get_seed_tuple(self, *, data_context: DataContext) -> tuple[int, ...] | None:
        """What random generators are made of; None: anything."""
        number = self.seed_for(int(data_context.get_config("_execution_index", 0)))
        return None if number is None else (number,)

    def seed_for(self, execution: int) -> int | None:
        """The seed of the n-th execution."""
        if self.seed is None:
            return time.time_ns() & 0x7FFFFFFF if self.use_timestamp_as_default else None
        again = self.reseed_after_execution and execution
        return hash((self.seed, execution)) & 0x7FFFFFFF if again else self.seed


@dataclass
class AutoscalingConfig:
    """When pools of actors grow and shrink: by calls waiting per actor."""

    actor_pool_util_upscaling_threshold: float = 1.75
    actor_pool_util_downscaling_threshold: float = 0.5
    actor_pool_max_upscaling_delta: int | None = None


@dataclass
class LanceConfig:
    """How reads and writes of Lance are tried again."""

    read_fragments_errors_to_retry: list[str] = field(default_factory=lambda: ["LanceError(IO)"])
    read_fragments_max_attempts: int = 10
    read_fragments_retry_max_backoff_s: int = 32
    write_fragments_errors_to_retry: list[str] = field(default_factory=lambda: ["LanceError(IO)"])
    write_fragments_max_attempts: int = 10
    write_fragments_retry_max_backoff_s: int = 32


_CATALOG_ERRORS = ["429", "503", "502", "500", "Too Many Requests", "Service Unavailable", "UNAVAILABLE"]


@dataclass
class IcebergConfig:
    """How reads and writes of Iceberg are tried again."""

    write_file_max_attempts: int = 10
    write_file_retry_max_backoff_s: int = 32
    catalog_max_attempts: int = 5
    catalog_retry_max_backoff_s: int = 16
    catalog_retried_errors: list[str] = field(default_factory=lambda: list(_CATALOG_ERRORS))
    read_file_tasks_sequentially: bool = True


@dataclass
class DeltaConfig:
    """How commits to Delta tables are tried again."""

    commit_max_attempts: int = 5
    commit_retry_max_backoff_s: int = 16
    commit_retried_errors: list[str] = field(default_factory=lambda: list(_CATALOG_ERRORS))
    credential_refresh_enabled: bool = True


_RETRIED_IO = ("INTERNAL_FAILURE", "NETWORK_CONNECTION", "SLOW_DOWN", "UNKNOWN (HTTP status 503)")


@dataclass
class DataContext:
    """Settings of datasets.

    ``DataContext.get_current()`` is that of this process; a dataset keeps a copy of what held when it was
    made.
    What has an effect here: ``target_max_block_size``, ``read_op_min_num_blocks`` (where it is set to
    something else),
    ``execution_options``, ``enable_progress_bars``, ``max_errored_blocks``,
    ``max_tasks_in_flight_per_actor``,
    ``autoscaling_config``, ``execution_no_progress_timeout_s``, ``custom_execution_callback_classes``,
    ``checkpoint_config``, ``local_max_bytes``, ``local_udf_max_bytes``. The others are kept for programs
    that set them.
    """

    target_max_block_size: int | None = 128 * _MIB
    target_min_block_size: int = _MIB
    streaming_read_buffer_size: int = 32 * _MIB
    enable_pandas_block: bool = True
    actor_prefetcher_enabled: bool = False
    autoscaling_config: AutoscalingConfig = field(default_factory=AutoscalingConfig)
    use_push_based_shuffle: bool = False
    _shuffle_strategy: ShuffleStrategy = ShuffleStrategy.SHUFFLE_V2
    pipeline_push_based_shuffle_reduce_tasks: bool = True
    default_hash_shuffle_parallelism: int = 200
    shuffle_compression: str = "zstd"
    hash_shuffle_reduce_batch_size: int = 16
    hash_shuffle_reduce_get_timeout_s: float = 1800.0
    shuffle_input_batch_bytes: int = 1024 * _MIB
    max_hash_shuffle_aggregators: int | None = None
    min_hash_shuffle_aggregator_wait_time_in_s: int = 300
    hash_shuffle_aggregator_health_warning_interval_s: int = 30
    max_hash_shuffle_finalization_batch_size: int | None = None
    join_operator_actor_num_cpus_override: float | None = None
    hash_shuffle_operator_actor_num_cpus_override: float | None = None
    hash_aggregate_operator_actor_num_cpus_override: float | None = None
    use_disk_based_hash_shuffle: bool = False
    gpu_shuffle_num_actors: int | None = None
    gpu_shuffle_rmm_pool_size: int | str | None = None
    gpu_shuffle_spill_memory_limit: int | str | None = "auto"
    gpu_shuffle_setup_timeout_s: float = 120.0
    scheduling_strategy: Any = "SPREAD"
    scheduling_strategy_large_args: Any = "DEFAULT"
    large_args_threshold: int = 50 * _MIB
    use_polars: bool = False
    use_polars_sort: bool = False
    use_legacy_dataset_ids: bool = False
    decoding_size_estimation: bool = True
    min_parallelism: int = 200
    read_op_min_num_blocks: int = 200
    use_datasource_v2: bool = True
    enable_tensor_extension_casting: bool = True
    arrow_fixed_shape_tensor_format: Any = None
    use_arrow_tensor_v2: bool = True
    enable_fallback_to_arrow_object_ext_type: bool | None = None
    enable_auto_log_stats: bool = False
    verbose_stats_logs: bool = False
    accurate_map_phase_timing: bool = False
    per_stage_map_timing: bool = False
    trace_allocations: bool = False
    execution_options: ExecutionOptions = field(default_factory=ExecutionOptions)
    use_ray_tqdm: bool = True
    enable_progress_bars: bool = True
    enable_operator_progress_bars: bool = True
    enable_progress_bar_name_truncation: bool = True
    enable_rich_progress_bars: bool = False
    enable_get_object_locations_for_metrics: bool = False
    write_file_retry_on_errors: Any = tuple(f"AWS Error {e}" for e in _RETRIED_IO)
    warn_on_driver_memory_usage_bytes: int = 2048 * _MIB
    actor_task_retry_on_errors: Any = False
    actor_init_retry_on_errors: bool = False
    actor_init_max_retries: int = 3
    max_consecutive_actor_init_deaths: int = 0
    retried_map_errors: Any = False
    max_map_retries: int = 0
    op_resource_reservation_enabled: bool = True
    op_resource_reservation_ratio: float = 0.5
    output_backpressure_guard_release_interval_s: float | None = None
    max_errored_blocks: int = 0
    execution_no_progress_timeout_s: float = 1800
    log_internal_stack_trace: bool = False
    raise_original_map_exception: bool = False
    print_on_execution_start: bool = True
    s3_try_create_dir: bool = False
    wait_for_min_actors_s: int = -1
    max_tasks_in_flight_per_actor: int | None = None
    retried_io_errors: list[str] = field(
        default_factory=lambda: [f"AWS Error {e}" for e in (*_RETRIED_IO, "SERVICE_UNAVAILABLE")]
    )
    lance_config: LanceConfig = field(default_factory=LanceConfig)
    iceberg_config: IcebergConfig = field(default_factory=IcebergConfig)
    delta_config: DeltaConfig = field(default_factory=DeltaConfig)
    enable_per_node_metrics: bool = False
    enable_stats_summary_collection: bool = False
    override_object_store_memory_limit_fraction: float | None = None
    memory_usage_poll_interval_s: float | None = 1
    dataset_logger_id: str | None = None
    issue_detectors_config: Any = None
    isolate_read_workers: bool = False
    downstream_capacity_backpressure_ratio: float | None = 2.0
    enable_dynamic_output_queue_size_backpressure: bool = False
    enable_lineage_reconstruction_resource_accounting: bool = True
    enforce_schemas: bool = False
    pandas_block_ignore_metadata: bool = False
    enable_arrow_backed_pandas_conversion: bool = True
    batch_to_block_arrow_format: bool = True
    _checkpoint_config: Any = None
    custom_execution_callback_classes: list[type] = field(default_factory=list)
    default_map_logical_memory_enabled: bool = False
    _enable_ray_data_reconstruction: bool | None = None
    object_store_reservation_overshoot_ratio: float | None = None
    object_store_memory_pressure_fraction: float | None = None
    local_max_bytes: int = 2048 * _MIB
    """Plans without functions of one's own run in this process while their data is estimated below this."""
    local_udf_max_bytes: int = 64 * _MIB
    """Functions start in this process while the data is estimated below this; if slow, the rest is spread."""
    _extra: dict[str, Any] = field(default_factory=dict, repr=False)

    @staticmethod
    def get_current() -> DataContext:
        """The settings of this process."""
        global _current
        with _lock:
            if _current is None:
                _current = DataContext()
            return _current

    @staticmethod
    def _set_current(context: DataContext) -> None:
        """Make ``context`` the settings of this process."""
        global _current
        _current = context

    @staticmethod
    def current(context: DataContext) -> _Current:
        """A context manager in which ``context`` holds."""
        return _Current(context)

    def copy(self) -> DataContext:
        """An independent copy."""
        return copy.deepcopy(self)

    def get_config(self, key: str, default: Any = None) -> Any:
        """A setting of somebody else's (a source's, say) by name."""
        return self._extra.get(key, default)

    def set_config(self, key: str, value: Any) -> None:
        """Keep a setting of somebody else's."""
        self._extra[key] = value

    def remove_config(self, key: str) -> None:
        """Forget a setting of somebody else's."""
        self._extra.pop(key, None)

    def set_dataset_logger_id(self, dataset_id: str) -> None:
        """Name under which a dataset's messages are logged."""
        self.dataset_logger_id = dataset_id

    @property
    def checkpoint_config(self) -> Any:
        """What is remembered of finished rows (:class:`rayjup.data.checkpoint.CheckpointConfig`)."""
        return self._checkpoint_config

    @checkpoint_config.setter
    def checkpoint_config(self, value: Any) -> None:
        self._checkpoint_config = value

    @property
    def shuffle_strategy(self) -> ShuffleStrategy:
        """How an exchange moves rows."""
        return self._shuffle_strategy

    @shuffle_strategy.setter
    def shuffle_strategy(self, value: ShuffleStrategy | str) -> None:
        self._shuffle_strategy = ShuffleStrategy(value)

    @property
    def hash_shuffle_compression(self) -> str:
        """The older name of ``shuffle_compression``."""
        return self.shuffle_compression

    @hash_shuffle_compression.setter
    def hash_shuffle_compression(self, value: str) -> None:
        self.shuffle_compression = value

    @property
    def use_external_hash_shuffle(self) -> bool:
        """The older name of ``use_disk_based_hash_shuffle``."""
        return self.use_disk_based_hash_shuffle

    @use_external_hash_shuffle.setter
    def use_external_hash_shuffle(self, value: bool) -> None:
        self.use_disk_based_hash_shuffle = value

    @property
    def enable_ray_data_reconstruction(self) -> bool:
        """Lost blocks are made again: by the core, always."""
        return self._enable_ray_data_reconstruction is not False

    @enable_ray_data_reconstruction.setter
    def enable_ray_data_reconstruction(self, value: bool | None) -> None:
        self._enable_ray_data_reconstruction = value

    @property
    def execution_callback_classes(self) -> list[type]:
        """Classes whose instances are told of each execution's start and end."""
        return list(self.custom_execution_callback_classes)


class _Current:
    """Puts settings in place of the current ones for a while."""

    def __init__(self, context: DataContext) -> None:
        self._context = context
        self._before: DataContext | None = None

    def __enter__(self) -> DataContext:
        self._before = DataContext.get_current()
        DataContext._set_current(self._context)
        return self._context

    def __exit__(self, *exc: object) -> None:
        assert self._before is not None
        DataContext._set_current(self._before)


_current: DataContext | None = None
_lock = threading.Lock()
DatasetContext = DataContext
