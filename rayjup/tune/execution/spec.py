"""What a runner is told of a trial, and what it answers."""

from __future__ import annotations

from typing import Any, NamedTuple

from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.placement import PlacementGroupFactory
from rayjup.runs.storage import StorageContext

# Answers of a runner: tuples that begin with one of these and the trial's id.
STARTED = "started"  # (…, pid, node_ip)
REPORTED = "reported"  # (…, result, checkpoint or None)
SAVED = "saved"  # (…, checkpoint, metrics)
ENDED = "ended"  # (…,): it has left the runner
FAILED = "failed"  # (…, exception)
RETURNED = "returned"  # (…,): it was not begun


class TrialSpec(NamedTuple):
    """One trial, as it is sent to a runner."""

    trial_id: str
    trial_name: str
    experiment_name: str
    config: dict[str, Any]
    storage: StorageContext
    local_dir: str
    resources: PlacementGroupFactory
    stopping_criterion: dict[str, float]
    restore_from: Checkpoint | None
    progress: dict[str, Any] | None
    checkpoint_index: int
    checkpoint_frequency: int
    checkpoint_at_end: bool
    log_to_file: Any


class RunnerSetup(NamedTuple):
    """What all trials of an experiment have in common."""

    trainable: Any
    registered: bytes
    lockstep: bool
    """Whether a trial waits after each report until it is told to go on."""
    change_directory: bool
    reuse: bool
    """Whether class trainables are reset rather than made anew."""
    flush_s: float
    """How long reports may gather before they are sent."""
    tell_ends: bool
    """Whether the end of a trial is told at once: what is tried next depends on it."""
