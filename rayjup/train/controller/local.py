"""``num_workers=0``: the training function in this process and thread, where ``breakpoint()`` works."""

from __future__ import annotations

import time
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.errors import TrialStopped
from rayjup.runs.result import Result
from rayjup.train.controller import machine as m
from rayjup.train.controller.job import TrainJob
from rayjup.train.controller.leader import message
from rayjup.train.display import RunDisplay
from rayjup.train.exceptions import WorkerGroupError
from rayjup.train.reporting import ReportedCheckpointStatus
from rayjup.train.worker.calling import call_train_function
from rayjup.train.worker.failures import describe
from rayjup.train.worker.session import TrainSession, WorkerContext


class LocalLeader:
    """Runs a job here, without a cluster."""

    def __init__(self, job: TrainJob) -> None:
        self.job = job
        self.trial = session.current()
        self.ledger = job.trial_ledger(self.trial) if self.trial is not None else job.open_ledger()
        self._callbacks = job.callbacks()
        self._context = job.context()
        self._display = RunDisplay(job.name)
        self._since = time.time()

    def run(self) -> Result:
        """Run the function; the result."""
        job, trial = self.job, self.trial
        shards = job.data_config.configure(job.datasets, 1, None, None) if job.datasets else [{}]
        first = self.ledger.latest or (trial.get_checkpoint() if trial else None) or job.checkpoint
        context = WorkerContext(
            run_id=job.run_id,
            experiment_name=job.name,
            storage_filesystem=self.ledger.filesystem,
            storage_path=self.ledger.path,
            first_index=self.ledger.iteration,
            checkpoint=first,
            shards=shards[0],
            metadata=job.metadata,
        )
        worker = TrainSession(context, self._take)
        worker.ask_reported = lambda mode, timeout_s: self.ledger.reported()
        self._show("running")
        try:
            with session.use(worker):
                value = call_train_function(job.function, job.config, job.backend.train_func_context)
            worker.finish_uploads()
        except (KeyboardInterrupt, TrialStopped):
            self.ledger.save()
            self._show("stopped", last=True)
            raise
        except Exception as error:
            failure = m.Failure(0, error, f"in this process:\n{describe(error)}", time.time())
            for callback in self._callbacks:
                callback.after_exception(run_context=self._context, worker_exceptions={0: error})
            failed = WorkerGroupError(message((failure,)), {0: error})
            self.ledger.result(error=failed)
            self._show("failed", last=True)
            raise failed from error
        result = self.ledger.result(value=value)
        self._show("finished", last=True)
        return result

    def _take(self, event: tuple[Any, ...]) -> None:
        _, _, metrics, checkpoint, complete, validation = event
        if not complete:
            return
        if checkpoint is not None and self.job.metadata:
            checkpoint.update_metadata(self.job.metadata)
        self.ledger.add(metrics, checkpoint, validating=bool(validation))
        if validation:
            self._validate(checkpoint, validation)
        if self.trial is not None:
            self.trial.report(dict(metrics), checkpoint)
        for callback in self._callbacks:
            callback.after_report(run_context=self._context, metrics=[dict(metrics)], checkpoint=checkpoint)
        self._show("running")

    def _validate(self, checkpoint: Checkpoint, asked: Any) -> None:
        config = self.job.validation
        if config is None:
            raise ValueError(
                "report(validation=...) needs a validation_config: pass ValidationConfig(fn=...) to "
                "the trainer"
            )
        metrics = config.fn(checkpoint, **(config.task(asked).fn_kwargs or {}))
        self.ledger.validated(checkpoint, ReportedCheckpointStatus.VALIDATED, metrics)

    def _show(self, state: str, last: bool = False) -> None:
        row = {
            "name": self.job.name,
            "state": state,
            "workers": [],
            "iteration": self.ledger.iteration,
            "seconds": time.time() - self._since,
            "metrics": self.ledger.metrics or {},
            "failures": 0,
            "checkpoints": [{"path": one.checkpoint.path} for one in self.ledger.reported()],
            "note": "",
        }
        self._display.show(row, list(self.ledger.points), last=last)
