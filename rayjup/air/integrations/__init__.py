"""Loggers and set-up functions for tracking services (under their path of Ray 2.0 and later)."""
