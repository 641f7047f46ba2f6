"""Datasets in the formats of others."""


class ConvertMixin:
    """Datasets in the formats of others."""
