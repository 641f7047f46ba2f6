"""Vectors of multi-agent environments."""
