"""Clusters that change their size, as ``ray.autoscaler``: ``sdk`` for programs."""
