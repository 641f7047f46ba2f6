"""Helpers for functions over batches: ``torch_inference``."""
