"""Validation runs: checkpoints are validated by tasks of their own while training goes on."""

from __future__ import annotations

import logging
import time
from typing import Any, NamedTuple

import rayjup
from rayjup.exceptions import RayError
from rayjup.runs.checkpoint import Checkpoint
from rayjup.train.controller.ledger import Ledger
from rayjup.train.reporting import ReportedCheckpointStatus, ValidationConfig, ValidationTaskConfig

log = logging.getLogger("rayjup.train")


class _Running(NamedTuple):
    ref: Any
    checkpoint: Checkpoint
    deadline: float | None


class Validations:
    """The validations of one run."""

    def __init__(self, config: ValidationConfig | None, ledger: Ledger) -> None:
        self._config = config
        self._ledger = ledger
        self._running: list[_Running] = []
        self._task = (
            rayjup.remote(config.fn).options(**{"num_cpus": 1, **config.ray_remote_kwargs})
            if config
            else None
        )

    @property
    def pending(self) -> bool:
        """Whether some are running."""
        return bool(self._running)

    def check(self, asked: Any) -> None:
        """Raise if validation is asked for and the trainer has no ``validation_config``."""
        if asked and self._config is None:
            raise ValueError(
                "report(validation=...) needs a validation_config: pass ValidationConfig(fn=...) to "
                "the trainer"
            )

    def start(self, checkpoint: Checkpoint, asked: bool | ValidationTaskConfig) -> None:
        """Validate a checkpoint that was taken in."""
        assert self._config is not None and self._task is not None
        settings = self._config.task(asked)
        ref = self._task.remote(checkpoint, **(settings.fn_kwargs or {}))
        deadline = time.monotonic() + settings.timeout_s if settings.timeout_s is not None else None
        self._running.append(_Running(ref, checkpoint, deadline))

    def turn(self) -> None:
        """Take in those that have ended."""
        still: list[_Running] = []
        for one in self._running:
            ready, _ = rayjup.wait([one.ref], timeout=0)
            if ready:
                self._take(one)
            elif one.deadline is not None and time.monotonic() > one.deadline:
                rayjup.cancel(one.ref, force=True)
                log.warning("the validation of %s took too long and was ended", one.checkpoint.path)
                self._ledger.validated(one.checkpoint, ReportedCheckpointStatus.VALIDATION_TIMEOUT, {})
            else:
                still.append(one)
        self._running = still

    def finish(self) -> None:
        """Wait for all of them."""
        while self._running:
            rayjup.wait([one.ref for one in self._running], num_returns=1, timeout=0.2)
            self.turn()

    def cancel(self) -> None:
        """End all of them."""
        for one in self._running:
            rayjup.cancel(one.ref, force=True)
        self._running = []

    def _take(self, one: _Running) -> None:
        try:
            metrics = rayjup.get(one.ref)
            if not isinstance(metrics, dict):
                raise TypeError(f"a validation function returns a dictionary of metrics, not {metrics!r}")
        except (RayError, TypeError) as error:
            log.warning("the validation of %s failed: %s", one.checkpoint.path, error)
            self._ledger.validated(one.checkpoint, ReportedCheckpointStatus.VALIDATION_FAILED, {})
        else:
            self._ledger.validated(one.checkpoint, ReportedCheckpointStatus.VALIDATED, metrics)
