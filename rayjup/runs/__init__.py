"""Runs: what train, tune and rllib share, since they do not know each other.

=====================  ==================================================================
`config`               `RunConfig`, `ScalingConfig`, `CheckpointConfig`, `FailureConfig`, `SyncConfig`
`storage`              where a run's files lie: any fsspec or pyarrow filesystem
`checkpoint`           `Checkpoint`: a directory on a filesystem; `as_dict` of the older API
`checkpoints`          `CheckpointManager`: which checkpoints are kept
`result`               `Result`: what one trial or training run ended with
`session`              through which ``report``, ``get_checkpoint`` and ``get_context`` find their run
`trainable`            `Trainable`, the class whose ``step`` is called again and again
`function_trainable`   a function as a `Trainable`
`trainers`             what an object needs so that a `Tuner` can run it
`registry`             names of trainables and environments
`placement`            `PlacementGroupFactory`: what one trial asks for
`callback`             `Callback`: what a driver calls at each event of a run
`loggers`              callbacks that write: JSON, CSV, TensorBoard, MLflow, W&B, Comet, Aim
`board`                what a run publishes about itself for watchers
`showing`              tables and curves of displays
`keras`                a Keras callback that reports
`extras`               clear errors for packages that are not installed
=====================  ==================================================================

Nothing here starts a cluster, and importing it loads neither pandas nor pyarrow.
"""
