"""Environments of other packages, and changes to environments."""
