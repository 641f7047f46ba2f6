"""Helpers of the test suite: ``leaks`` (what a test leaves behind)."""
