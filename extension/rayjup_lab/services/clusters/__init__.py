"""Clusters as REST resources: ``options`` (validation), ``manager``, ``observer``, ``handlers``."""
