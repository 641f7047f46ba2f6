"""Leading a run: does what the state machine says, and tells it what happens.

Runs in the thread that called ``fit()``. Each worker has one question open (`RayTrainWorker.poll`), which it
answers when something happens; the leader sleeps until one of them does.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Callable
from typing import Any

import rayjup
from rayjup.exceptions import RayActorError, RayError, RayTaskError
from rayjup.runs import session
from rayjup.runs.errors import TrialStopped
from rayjup.runs.result import Result
from rayjup.train.backend import Backend
from rayjup.train.controller import machine as m
from rayjup.train.controller.fitting import DoesNotFitError, capacity
from rayjup.train.controller.group import GroupSpec, WorkerGroup, free_resources, start_group
from rayjup.train.controller.job import TrainJob
from rayjup.train.controller.meetings import Meetings
from rayjup.train.controller.publishing import Publisher
from rayjup.train.controller.validation import Validations
from rayjup.train.exceptions import ControllerError, NCCLHangError, PreemptionError, WorkerGroupError
from rayjup.train.preemption import PreemptionInfo
from rayjup.train.reporting import CheckpointConsistencyMode
from rayjup.train.worker.session import WorkerContext

log = logging.getLogger("rayjup.train")
_POLL_S = 20.0
_TURN_S = 1.0


class Leader:
    """Leads one run to its end.

    Parameters
    ----------
    job
        The run.
    """

    def __init__(self, job: TrainJob) -> None:
        self.job = job
        self.trial = session.current()
        self.ledger = job.trial_ledger(self.trial) if self.trial is not None else job.open_ledger()
        self.machine = m.TrainMachine(job.policy(), self.ledger.iteration)
        self.backend: Backend = job.backend.backend_cls()
        self.group: WorkerGroup | None = None
        self.end: m.End | None = None
        self.publisher = Publisher(self, self._on_request)
        self._validations = Validations(job.validation, self.ledger)
        self._meetings = Meetings()
        self._callbacks = job.callbacks()
        self._context = job.context()
        self._function = rayjup.put(job.function)
        if job.log_level is not None:
            log.setLevel(job.log_level)
        self._polls: dict[Any, int] = {}
        self._asked: list[tuple[int, int, CheckpointConsistencyMode]] = []
        self._requests: list[dict[str, Any]] = []
        self._stopped_by: BaseException | None = None
        self._looked_at = 0.0

    # ------------------------------------------------------------ the loop

    def run(self) -> Result:
        """Lead the run; its result. Raises a `TrainingFailedError` if it fails."""
        try:
            self._feed(m.Begin(time.monotonic()))
            while self.end is None:
                try:
                    self._turn()
                except (KeyboardInterrupt, TrialStopped) as stop:
                    if self._stopped_by is not None:
                        raise
                    self._stopped_by = stop
                    self._feed(m.Abort(time.monotonic()))
            return self._conclude(self.end)
        finally:
            self._clean_up()

    def _turn(self) -> None:
        busy = self.machine.phase is m.Phase.FAILING or self._validations.pending
        if self._polls:
            timeout = 0.1 if busy else _TURN_S
            ready, _ = rayjup.wait(list(self._polls), num_returns=1, timeout=timeout)
            for ref in ready:
                self._take(ref)
        self._feed(m.Tick(time.monotonic()))
        self._validations.turn()
        self._answer_asked()
        self._look_around()
        for request in self._take_requests():
            self._handle_request(request)
        self.publisher.turn()

    def _feed(self, event: m.Event) -> None:
        for action in self.machine.handle(event):
            handler = getattr(self, f"_do_{type(action).__name__.lower()}")
            handler(action)

    # ------------------------------------------------------------ what workers tell

    def _take(self, ref: Any) -> None:
        rank = self._polls.pop(ref, None)
        if rank is None or self.group is None:
            return
        attempt, group = self.machine.attempt, self.group
        try:
            events = rayjup.get(ref)
        except RayActorError as error:
            where = group.workers[rank].where
            text = f"the process of the worker has ended: {error}"
            failure = m.Failure(rank, error, f"on {where}: {text}", time.time(), died=True)
            self.publisher.rank(rank, "dead")
            self._feed(m.RankFailed(attempt, failure, time.monotonic()))
            return
        over = False
        for event in events:
            over = self._take_event(attempt, rank, event) or over
        if not over and self.group is group and self.machine.attempt == attempt:
            self._polls[group.workers[rank].actor.poll.remote(_POLL_S)] = rank

    def _take_event(self, attempt: int, rank: int, event: tuple[Any, ...]) -> bool:
        """Handle one event of a worker; whether it was its last."""
        kind, *rest = event
        now = time.monotonic()
        if kind == "report":
            index, metrics, checkpoint, complete, validation = rest
            self._feed(m.Reported(attempt, rank, index, metrics, checkpoint, complete, now, validation))
        elif kind == "finished":
            self.publisher.rank(rank, "finished")
            self._feed(m.RankFinished(attempt, rank, rest[0], now))
            return True
        elif kind == "failed":
            error, text, at, follows = rest
            assert self.group is not None
            said = f"on {self.group.workers[rank].where}:\n{text}"
            self.publisher.rank(rank, "failed")
            self._feed(m.RankFailed(attempt, m.Failure(rank, error, said, at, follows=follows), now))
            return True
        elif kind == "ask":
            number, mode, _ = rest
            self._asked.append((rank, number, mode))
        elif kind == "meet":
            self._meet(rank, *rest)
        return False

    def _meet(self, rank: int, number: int, what: str, payload: Any) -> None:
        assert self.group is not None
        met = self._meetings.arrive(len(self.group), rank, number, what, payload)
        if met is not None:
            for worker in self.group.workers:
                worker.actor.met.remote(number, *met)

    def _answer_asked(self) -> None:
        still = []
        for rank, number, mode in self._asked:
            waits = mode is CheckpointConsistencyMode.VALIDATED and self._validations.pending
            if waits or self.machine._reports:
                still.append((rank, number, mode))
            elif self.group is not None:
                self.group.workers[rank].actor.answer.remote(number, self.ledger.reported())
        self._asked = still

    # ------------------------------------------------------------ what the machine says

    def _do_startgroup(self, action: m.StartGroup) -> None:
        job, attempt = self.job, action.attempt
        self.ledger.discard_unfinished()
        self.publisher.phase("starting")
        spec = GroupSpec(
            resources=job.scaling._worker_resources,
            strategy=job.scaling.placement_strategy,
            labels=job.scaling.label_selector,
            runtime_env=preloading(job.run_config.worker_runtime_env, job.backend.preload),
            trainer_resources=job.scaling._trainer_resources,
        )
        try:
            group = start_group(spec, action.least, action.most, log.warning)
            self.group = group
            self._begin(group, action)
        except KeyboardInterrupt:
            self._stop_group(clean=False)
            raise
        except Exception as error:  # noqa: BLE001 - hooks of backends and data sets are user code
            self._stop_group(clean=False)
            lost = isinstance(error, RayActorError) and not isinstance(error, RayTaskError)
            if lost:
                log.warning("workers could not be started (attempt %d): %s", attempt, error)
            cause = (
                error.cause
                if isinstance(error, RayTaskError) and isinstance(error.cause, Exception)
                else error
            )
            self._feed(m.StartFailed(attempt, cause, not lost or attempt >= 3, time.monotonic()))
            return
        self._feed(m.GroupReady(attempt, len(group), time.monotonic()))
        self.publisher.workers(group)
        self._polls = {worker.actor.poll.remote(_POLL_S): worker.world_rank for worker in group.workers}

    def _begin(self, group: WorkerGroup, action: m.StartGroup) -> None:
        """Set the workers up and start the function on them."""
        self._meetings = Meetings()
        self._asked = []
        backend_config = self.job.backend
        self.backend.on_start(group, backend_config)
        self.backend.on_training_start(group, backend_config)
        shards = self._shards(group)
        checkpoint = self._first_checkpoint()
        trial = self.trial
        about = (
            {
                "name": trial.trial_name,
                "id": trial.trial_id,
                "dir": trial.trial_dir,
                "resources": trial.trial_resources,
            }
            if trial is not None
            else {}
        )
        refs = []
        for worker in group.workers:
            context = WorkerContext(
                run_id=self.job.run_id,
                experiment_name=self.job.name,
                attempt=action.attempt,
                world_rank=worker.world_rank,
                world_size=len(group),
                local_rank=worker.local_rank,
                local_world_size=worker.local_world_size,
                node_rank=worker.node_rank,
                storage_filesystem=self.ledger.filesystem,
                storage_path=self.ledger.path,
                first_index=action.first_index,
                checkpoint=checkpoint,
                shards=shards[worker.world_rank],
                metadata=self.job.metadata,
                log_level=self.job.log_level,
                trial=about,
            )
            refs.append(
                worker.actor.start.remote(
                    self._function, self.job.config, context, backend_config.train_func_context
                )
            )
        rayjup.get(refs)

    def _shards(self, group: WorkerGroup) -> list[dict[str, Any]]:
        if not self.job.datasets:
            return [{} for _ in group.workers]
        node_ids = [worker.info["node_id"] for worker in group.workers]
        handles = [worker.actor for worker in group.workers]
        scaling = self.job.scaling
        self.job.data_config.set_train_total_resources(
            len(group) * scaling.num_cpus_per_worker, len(group) * scaling.num_gpus_per_worker
        )
        shards: list[dict[str, Any]] = self.job.data_config.configure(
            self.job.datasets, len(group), handles, node_ids
        )
        return shards

    def _first_checkpoint(self) -> Any:
        if self.ledger.latest is not None:
            return self.ledger.latest
        if self.trial is not None and (found := self.trial.get_checkpoint()) is not None:
            return found
        return self.job.checkpoint

    def _do_stopgroup(self, action: m.StopGroup) -> None:
        self.publisher.phase("stopping")
        self._stop_group(action.clean)
        self._feed(m.GroupStopped(action.attempt, time.monotonic()))

    def _stop_group(self, clean: bool) -> None:
        group, self.group = self.group, None
        self._polls = {}
        if group is None:
            return
        if clean:
            try:
                self.backend.on_shutdown(group, self.job.backend)
            except RayError as error:
                log.warning("the backend could not be shut down: %s", error)
        group.stop(clean)

    def _do_release(self, action: m.Release) -> None:
        if self.group is not None:
            for worker in self.group.workers:
                worker.actor.release.remote(action.index)

    def _do_commit(self, action: m.Commit) -> None:
        metrics = dict(action.metrics[0])
        checkpoint = action.checkpoint
        validate = bool(action.validation) and checkpoint is not None
        self._validations.check(validate)
        if checkpoint is not None and self.job.metadata:
            checkpoint.update_metadata(self.job.metadata)
        self.ledger.add(metrics, checkpoint, validating=validate)
        if validate:
            self._validations.start(checkpoint, action.validation)
        if self.trial is not None:
            self.trial.report(metrics, checkpoint)
        for callback in self._callbacks:
            callback.after_report(
                run_context=self._context,
                metrics=[dict(one) for one in action.metrics],
                checkpoint=checkpoint,
            )
        self.publisher.reported()

    def _do_behind(self, action: m.Behind) -> None:
        places = []
        for rank in action.ranks:
            assert self.group is not None
            worker = self.group.workers[rank]
            stack = ""
            with contextlib.suppress(RayError):
                stack = rayjup.get(worker.actor.stack.remote(), timeout=2.0).rstrip()
            places.append(f"rank {rank} on {worker.where}, which is at\n{stack or '  (not known)'}")
        log.warning(
            "the ranks %s have waited for %.0f s at report %d for %s",
            list(action.waiting),
            action.seconds,
            action.index,
            "; ".join(places),
        )
        self.publisher.behind(action.ranks)

    def _do_uneven(self, action: m.Uneven) -> None:
        log.warning(
            "the ranks have not called report() equally often (%s); all must, as each report is one "
            "of all ranks",
            ", ".join(f"rank {rank}: {count}" for rank, count in sorted(action.counts.items())),
        )

    def _do_tellpreempted(self, action: m.TellPreempted) -> None:
        log.warning("nodes are about to be taken away: %s", action.info)
        if self.group is not None:
            for worker in self.group.workers:
                worker.actor.preempt.remote(action.info)

    def _do_failed(self, action: m.Failed) -> None:
        errors = {f.rank: f.error for f in action.failures}
        for callback in self._callbacks:
            callback.after_exception(run_context=self._context, worker_exceptions=errors)
        self.publisher.failed(action.failures[0].text if action.failures else "")
        if action.retried:
            latest = self.ledger.latest
            log.warning(
                "training failed (failure %d) and is started again from %s.\n%s",
                action.number,
                latest.path if latest is not None else "the beginning, as there is no checkpoint",
                message(action.failures),
            )

    def _do_resizing(self, action: m.Resizing) -> None:
        log.warning("training goes on with up to %d workers instead of %d", action.possible, action.was)

    def _do_end(self, action: m.End) -> None:
        self.end = action

    # ------------------------------------------------------------ the end

    def _conclude(self, end: m.End) -> Result:
        if end.values is not None:
            self._validations.finish()
            result = self.ledger.result(value=end.values[0])
            self.publisher.close("finished", result)
            return result
        if end.aborted:
            self.ledger.save()
            self.publisher.close("stopped")
            raise self._stopped_by or KeyboardInterrupt(f"the run {self.job.name} was stopped")
        error = self._error(end)
        result = self.ledger.result(error=error)
        self.publisher.close("failed", result)
        raise error from (end.failures[0].error if end.failures else None)

    def _error(self, end: m.End) -> Exception:
        if end.preemption is not None:
            return PreemptionError(end.preemption)
        if end.start_error is not None:
            if isinstance(end.start_error, DoesNotFitError):
                return ControllerError(end.start_error)
            return ControllerError(end.start_error)
        failures = {f.rank: f.error for f in end.failures}
        hung = all(_timed_out(f.error) for f in end.failures)
        kind: Callable[..., WorkerGroupError] = NCCLHangError if hung else WorkerGroupError
        return kind(message(end.failures), failures)

    def _clean_up(self) -> None:
        self._validations.cancel()
        if self.group is not None:  # only where something unforeseen was raised
            self._stop_group(clean=False)
        self.publisher.close("failed")
        if self.trial is not None:
            shutil.rmtree(self.ledger.path, ignore_errors=True)

    # ------------------------------------------------------------ watchers and nodes

    def _on_request(self, request: dict[str, Any]) -> None:
        self._requests.append(request)  # on the board's thread

    def _take_requests(self) -> list[dict[str, Any]]:
        taken, self._requests = self._requests, []
        return taken

    def _handle_request(self, request: dict[str, Any]) -> None:
        if request.get("action") == "stop":
            self._feed(m.Abort(time.monotonic()))
        elif request.get("action") == "preempt" and self.group is not None:
            ranks: dict[str, list[int]] = {}
            for worker in self.group.workers:
                node = worker.info["node_id"]
                if node in request.get("nodes", ()):
                    ranks.setdefault(node, []).append(worker.world_rank)
            if ranks:
                info = PreemptionInfo(request.get("deadline_ms"), ranks)
                self._feed(m.Preempted(self.machine.attempt, info, time.monotonic()))

    def _look_around(self) -> None:
        """Whether more workers could run now."""
        policy, now = self.machine.policy, time.monotonic()
        if policy.least == policy.most or self.group is None or len(self.group) == policy.most:
            return
        if now - self._looked_at < min(policy.resize_interval_s, 5.0):
            return
        self._looked_at = now
        room = capacity(free_resources(), self.job.scaling._worker_resources, policy.most)
        self._feed(m.Capacity(len(self.group) + room, now))


def preloading(environment: Any, modules: tuple[str, ...]) -> Any:
    """The workers' environment, with modules that the process they are forked from has imported."""
    if not modules:
        return environment
    given = dict(environment or {})
    variables = {"RAYJUP_PRELOAD": ",".join(modules), **given.get("env_vars", {})}
    return {**given, "env_vars": variables}


def message(failures: tuple[m.Failure, ...]) -> str:
    """The failure that matters, as a text; others that have a cause of their own are named."""
    if not failures:
        return "the workers have failed"
    first, *others = failures
    lines = [f"rank {first.rank} {first.text}"]
    own = [f.rank for f in others if not f.follows]
    led = [f.rank for f in others if f.follows]
    if own:
        lines.append(f"(ranks {own} failed as well)")
    if led:
        lines.append(f"(ranks {led} lost their connections in consequence)")
    return "\n".join(lines)


def _timed_out(error: Any) -> bool:
    text = f"{type(error).__name__} {error}".lower()
    return "timed out" in text and any(sign in text for sign in ("nccl", "gloo", "collective", "store"))
