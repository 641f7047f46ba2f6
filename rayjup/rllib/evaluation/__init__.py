"""Batches, under an older path."""

from rayjup.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

__all__ = ["MultiAgentBatch", "SampleBatch"]
