"""Trackers and frameworks that runs report to."""
