"""What algorithms that learn from recorded data share: the way of the data."""

from __future__ import annotations

from rayjup.rllib.algorithms.algorithm import Algorithm
from rayjup.rllib.core import DEFAULT_MODULE_ID


class OfflineAlgorithm(Algorithm):
    """Draw a batch of recorded steps, learn from it."""

    def training_step(self) -> None:
        """As many updates as ``dataset_num_iters_per_learner`` says, or one pass over the data."""
        config = self.config
        if not config.is_offline:
            raise ValueError(
                f"{type(self).__name__} learns from recorded data: say offline_data(input_=[path, …])."
            )
        size = config.total_train_batch_size
        rounds = config.dataset_num_iters_per_learner or max(1, self.offline_data.num_steps // size)
        for _ in range(rounds):
            drawn = self.offline_data.sample(size)
            if isinstance(drawn, list):
                self.learn(episodes=drawn, minibatch_size=config.minibatch_size, num_epochs=config.num_epochs)
            else:
                self.learn(batch=drawn if DEFAULT_MODULE_ID in drawn else {DEFAULT_MODULE_ID: drawn})
        if self.env_runner_group is not None:
            self.sync_weights()
