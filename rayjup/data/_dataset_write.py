"""Datasets in the formats of others."""


class WriteMixin:
    """Datasets in the formats of others."""
