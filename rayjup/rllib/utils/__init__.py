"""Utilities: replay buffers, metrics, schedules, checkpoints, small functions."""

from rayjup.rllib._lazy import exports

_NAMES = {
    "DeveloperAPI": "rayjup.rllib.utils.annotations",
    "PublicAPI": "rayjup.rllib.utils.annotations",
    "override": "rayjup.rllib.utils.annotations",
    "OverrideToImplementCustomLogic": "rayjup.rllib.utils.annotations",
    "fc": "rayjup.rllib.utils.numpy",
    "lstm": "rayjup.rllib.utils.numpy",
    "one_hot": "rayjup.rllib.utils.numpy",
    "relu": "rayjup.rllib.utils.numpy",
    "sigmoid": "rayjup.rllib.utils.numpy",
    "softmax": "rayjup.rllib.utils.numpy",
    "try_import_jax": "rayjup.rllib.utils.framework",
    "try_import_tf": "rayjup.rllib.utils.framework",
    "try_import_tfp": "rayjup.rllib.utils.framework",
    "try_import_torch": "rayjup.rllib.utils.framework",
    "NullContextManager": "rayjup.rllib.utils.common",
    "add_mixins": "rayjup.rllib.utils.common",
    "check": "rayjup.rllib.utils.common",
    "deprecation_warning": "rayjup.rllib.utils.common",
    "flatten_dict": "rayjup.rllib.utils.common",
    "force_list": "rayjup.rllib.utils.common",
    "force_tuple": "rayjup.rllib.utils.common",
    "unflatten_dict": "rayjup.rllib.utils.common",
    "PiecewiseSchedule": "rayjup.rllib.utils.schedules",
}

__all__ = [
    "DeveloperAPI",
    "NullContextManager",
    "OverrideToImplementCustomLogic",
    "PiecewiseSchedule",
    "PublicAPI",
    "add_mixins",
    "check",
    "deprecation_warning",
    "fc",
    "flatten_dict",
    "force_list",
    "force_tuple",
    "lstm",
    "one_hot",
    "override",
    "relu",
    "sigmoid",
    "softmax",
    "try_import_jax",
    "try_import_tf",
    "try_import_tfp",
    "try_import_torch",
    "unflatten_dict",
]

__getattr__, __dir__ = exports(__name__, _NAMES)
