"""The session of a training function: what ``report``, ``get_context`` and the like find on a worker."""

from __future__ import annotations

import os
import posixpath
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from rayjup.runs import storage
from rayjup.runs.checkpoint import Checkpoint, persist
from rayjup.runs.errors import TrialStopped
from rayjup.runs.session import RunSession
from rayjup.train.preemption import PreemptionInfo
from rayjup.train.reporting import (
    CheckpointConsistencyMode,
    CheckpointUploadMode,
    ReportedCheckpoint,
    ValidationTaskConfig,
)

_UPLOADS_AT_ONCE = 2


@dataclass
class WorkerContext:
    """All that a worker is told of its run."""

    run_id: str = ""
    experiment_name: str = ""
    attempt: int = 1
    world_rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    node_rank: int = 0
    storage_filesystem: Any = None
    storage_path: str = ""
    first_index: int = 0
    checkpoint: Checkpoint | None = None
    shards: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    log_level: str | None = None
    trial: dict[str, Any] = field(default_factory=dict)
    """Name, id, directory and resources of the Tune trial that the run is, if it is one."""


Send = Callable[[tuple[Any, ...]], None]
Ask = Callable[[CheckpointConsistencyMode, "float | None"], list[ReportedCheckpoint]]


class TrainSession(RunSession):
    """One worker's side of a run.

    Parameters
    ----------
    context
        What the worker was told.
    send
        Takes what happens, as tuples; see `rayjup.train.worker.actor`.
    """

    kind = "train"

    def __init__(self, context: WorkerContext, send: Send) -> None:
        self.context = context
        self.experiment_name = context.experiment_name
        self.run_id = context.run_id
        self.world_rank = context.world_rank
        self.world_size = context.world_size
        self.local_rank = context.local_rank
        self.local_world_size = context.local_world_size
        self.node_rank = context.node_rank
        self.metadata = context.metadata
        self.trial_name = context.trial.get("name", context.experiment_name)
        self.trial_id = context.trial.get("id", context.run_id)
        self.trial_dir = context.trial.get("dir", context.storage_path)
        self.trial_resources = context.trial.get("resources")
        self.preemption: PreemptionInfo | None = None
        self._send = send
        self._index = context.first_index
        self._checkpoint = context.checkpoint
        self._released = context.first_index - 1
        self._changed = threading.Condition()
        self._stopping = False
        self._uploads: list[Future[Any]] = []
        self._uploader: ThreadPoolExecutor | None = None
        self.ask_reported: Ask | None = None
        self.meet: Callable[[str, Any], Any] = lambda what, payload: payload
        """Waits for all ranks; gives what rank 0 has brought."""

    # ------------------------------------------------------------ for the training function

    def report(self, metrics: dict[str, Any], checkpoint: Checkpoint | None = None, **options: Any) -> None:
        """Give metrics and a checkpoint to the run; returns when all ranks have reported."""
        self._report(dict(metrics), checkpoint, **options)

    def _report(
        self,
        metrics: dict[str, Any],
        checkpoint: Checkpoint | None,
        checkpoint_dir_name: str | None = None,
        checkpoint_upload_mode: CheckpointUploadMode = CheckpointUploadMode.SYNC,
        delete_local_checkpoint_after_upload: bool | None = None,
        checkpoint_upload_fn: Callable[[Checkpoint, str], Checkpoint] | None = None,
        validation: bool | ValidationTaskConfig = False,
        _wait: bool = True,
    ) -> None:
        if self._stopping:
            raise TrialStopped
        mode = CheckpointUploadMode(checkpoint_upload_mode)
        _check(metrics, checkpoint, validation)
        index, self._index = self._index, self._index + 1
        send = self._send
        if checkpoint is None:
            send(("report", index, metrics, None, True, False))
        else:
            delete = delete_local_checkpoint_after_upload
            if delete is None:
                delete = mode.default_delete_local_checkpoint_after_upload()
            name = checkpoint_dir_name or storage.checkpoint_dir_name(index)
            given = checkpoint

            def upload() -> Checkpoint:
                return self._upload(given, name, mode, delete, checkpoint_upload_fn)

            if mode is CheckpointUploadMode.ASYNC:
                send(("report", index, metrics, None, False, validation))
                self._later(upload, lambda kept: send(("report", index, metrics, kept, True, validation)))
            else:
                self._checkpoint = kept = upload()
                send(("report", index, metrics, kept, True, validation))
        if _wait:
            self._wait_for_others(index)

    def get_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint of the run: the one to go on from, or what was reported since."""
        return self._checkpoint

    def get_dataset_shard(self, dataset_name: str | None = None) -> Any:
        """This worker's share of a data set."""
        shards = self.context.shards
        if not shards:
            return None
        if dataset_name is None:
            if len(shards) == 1:
                return next(iter(shards.values()))
            dataset_name = "train"
        if dataset_name not in shards:
            raise KeyError(
                f"there is no data set {dataset_name!r}; the trainer was given {sorted(shards)}. "
                f"Pass datasets={{{dataset_name!r}: ...}} to the trainer."
            )
        return shards[dataset_name]

    def get_all_reported_checkpoints(
        self, consistency_mode: CheckpointConsistencyMode, timeout_s: float | None
    ) -> list[ReportedCheckpoint]:
        """All checkpoints that the run has taken in; see `rayjup.train.get_all_reported_checkpoints`."""
        self.finish_uploads()
        if self.ask_reported is None:
            raise RuntimeError("this run has no leader that could be asked for its checkpoints")
        return self.ask_reported(CheckpointConsistencyMode(consistency_mode), timeout_s)

    def get_preemption_info(self) -> PreemptionInfo | None:
        """What is known of nodes about to go, the same on all ranks."""
        found: PreemptionInfo | None = self.meet("get_preemption_info", self.preemption)
        return found

    # ------------------------------------------------------------ for who runs the function

    def release(self, index: int) -> None:
        """All ranks have made this report."""
        with self._changed:
            self._released = max(self._released, index)
            self._changed.notify_all()

    def stop(self) -> None:
        """Have the function end at its next (or present) report."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def finish_uploads(self) -> None:
        """Wait for uploads; raise what one of them failed with."""
        uploads, self._uploads = self._uploads, []
        for upload in uploads:
            upload.result()

    @property
    def reports(self) -> int:
        """Reports made by this worker in this attempt."""
        return self._index - self.context.first_index

    # ------------------------------------------------------------ inside

    def _wait_for_others(self, index: int) -> None:
        if self.world_size == 1:
            return
        with self._changed:
            self._changed.wait_for(lambda: self._released >= index or self._stopping)
            if self._stopping:
                raise TrialStopped

    def _later(self, upload: Callable[[], Checkpoint], then: Callable[[Checkpoint], None]) -> None:
        if self._uploader is None:
            self._uploader = ThreadPoolExecutor(1, thread_name_prefix="upload")
        for done in [one for one in self._uploads if one.done()]:
            done.result()
            self._uploads.remove(done)
        while (
            len(self._uploads) >= _UPLOADS_AT_ONCE
        ):  # the disk is slower than training: keep its space bounded
            self._uploads.pop(0).result()

        def work() -> None:
            self._checkpoint = kept = upload()
            then(kept)

        self._uploads.append(self._uploader.submit(work))

    def _upload(
        self,
        checkpoint: Checkpoint,
        name: str,
        mode: CheckpointUploadMode,
        delete: bool,
        function: Callable[[Checkpoint, str], Checkpoint] | None,
    ) -> Checkpoint:
        filesystem, path = self.context.storage_filesystem, posixpath.join(self.context.storage_path, name)
        if mode is CheckpointUploadMode.NO_UPLOAD:
            return checkpoint
        if function is not None:
            kept = function(checkpoint, name)
            if not isinstance(kept, Checkpoint):
                raise TypeError(
                    f"checkpoint_upload_fn must return the uploaded Checkpoint; it returned {kept!r}"
                )
        else:
            local = checkpoint._dict is None and storage.is_local(checkpoint.filesystem)
            if local and delete and storage.is_local(filesystem) and _renamed(checkpoint.path, path):
                return _like(checkpoint, path, filesystem)
            if local and not os.path.isdir(checkpoint.path):
                raise FileNotFoundError(
                    f"the reported checkpoint {checkpoint.path!r} is no directory (any more): a "
                    f"temporary directory "
                    "must live until report() returns, or until its upload has ended where that is "
                    "asynchronous"
                )
            kept = persist(checkpoint, filesystem, path)
        local = checkpoint._dict is None and storage.is_local(checkpoint.filesystem)
        if delete and local and checkpoint.path != kept.path:
            shutil.rmtree(checkpoint.path, ignore_errors=True)
        return kept


def _like(checkpoint: Checkpoint, path: str, filesystem: Any) -> Checkpoint:
    kept: Checkpoint = object.__new__(type(checkpoint))
    kept.__dict__.update(checkpoint.__dict__)
    kept.__dict__.pop("_finalizer", None)
    kept.filesystem, kept.path = filesystem, path
    return kept


def _renamed(local: str, path: str) -> bool:
    """Move a directory by renaming, if that is possible: not over what another rank has written."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        os.rename(local, path)
    except OSError:
        return False
    return True


def _check(metrics: Mapping[str, Any], checkpoint: Any, validation: Any) -> None:
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        raise TypeError(
            f"report(): checkpoint must be a Checkpoint, not {type(checkpoint).__name__}: "
            "Checkpoint.from_directory(path) makes one of a directory"
        )
    if validation and checkpoint is None:
        raise ValueError("report(): validation needs a checkpoint to validate; pass checkpoint=, too")
    import pickle

    import cloudpickle

    for name, value in metrics.items():
        if isinstance(value, (int, float, str, bool, type(None))):
            continue
        try:
            cloudpickle.dumps(value)
        except (TypeError, pickle.PicklingError, AttributeError) as error:
            raise TypeError(
                f"report(): the metric {name!r} can't be sent ({type(value).__name__}: {error}); "
                "report numbers, texts or arrays"
            ) from error
