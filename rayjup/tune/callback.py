"""Callbacks of experiments (under Ray's path)."""

from __future__ import annotations

from rayjup.runs.callback import Callback, CallbackList

__all__ = ["Callback", "CallbackList"]
