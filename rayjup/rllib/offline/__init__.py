"""Learning from recorded steps.

======================  =====================================================
`parquet`               episodes in Parquet files, one row per step
`offline_data`          `OfflineData`: recorded steps, and random draws of them
`offline_prelearner`    the same module path as Ray's
`offline_env_runner`    an env runner that records what it samples
`minari`                datasets of Minari as columns
`batch_files`           batches in files of JSON, and other sources of batches
`estimators`            what a policy would have earned
======================  =====================================================
"""

from rayjup.rllib._lazy import exports

_FILES, _FITTED = "rayjup.rllib.offline.batch_files", "rayjup.rllib.offline.estimators.fitted_q"
_NAMES = {
    "DatasetReader": _FILES,
    "DatasetWriter": _FILES,
    "FeatureImportance": _FITTED,
    "IOContext": _FILES,
    "InputReader": _FILES,
    "JsonReader": _FILES,
    "JsonWriter": _FILES,
    "MixedInput": _FILES,
    "NoopOutput": _FILES,
    "OutputWriter": _FILES,
    "ShuffledInput": _FILES,
    "get_dataset_and_shards": _FILES,
    "get_offline_io_resource_bundles": _FILES,
}

__all__ = list(_NAMES)

__getattr__, __dir__ = exports(__name__, _NAMES)
