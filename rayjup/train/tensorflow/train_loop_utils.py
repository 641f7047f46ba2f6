"""What TensorFlow training functions call."""

from __future__ import annotations

from typing import Any

from rayjup.runs.extras import load


def prepare_dataset_shard(tf_dataset_shard: Any) -> Any:
    """A ``tf.data.Dataset`` that TensorFlow does not divide again: it is this worker's share already.

    Parameters
    ----------
    tf_dataset_shard
        The share.
    """
    tf = load("tensorflow", "prepare_dataset_shard()", "tensorflow")
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return tf_dataset_shard.with_options(options)
