"""The actor that runs trials: many of them, one at a time.

The driver calls `advance` again and again. Each call brings commands (``("run", spec)``, ``("go", id)``,
``("save", id)``,
``("stop", id, save)``) and answers with what happened meanwhile. Trials that were sent ahead are given back
when the one
before them takes long, so that none waits behind it while another runner is free.
"""

from __future__ import annotations

import collections
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from rayjup.runs import registry
from rayjup.runs.checkpoint import Checkpoint, persist
from rayjup.runs.checkpoints import look_up
from rayjup.runs.function_trainable import FunctionTrainable
from rayjup.runs.progress import node_ip
from rayjup.runs.storage import checkpoint_dir_name
from rayjup.tune.execution import spec as told
from rayjup.tune.execution.spec import RunnerSetup, TrialSpec

_GIVE_BACK_S = 0.05  # trials that wait behind one that runs for longer are given back


class Runner:
    """Runs trials; an actor."""

    def __init__(self, setup: RunnerSetup) -> None:
        from rayjup.tune.execution.class_run import ClassRun
        from rayjup.tune.execution.function_run import FunctionRun

        registry.adopt(setup.registered)
        trainable: Any = setup.trainable
        self._home = os.getcwd()
        is_class = isinstance(trainable, type)
        if is_class and not issubclass(trainable, FunctionTrainable):
            self._run: Any = ClassRun(trainable, setup, self._home)
        else:
            self._run = FunctionRun(trainable._function if is_class else trainable, setup, self._home)

    def ready(self) -> tuple[int, str]:
        """Process and node, once it has been started."""
        return os.getpid(), node_ip()

    def advance(self, commands: list[tuple[Any, ...]], wait_s: float) -> list[tuple[Any, ...]]:
        """Carry out commands, wait for something to tell (or ``wait_s``), and tell it."""
        events: list[tuple[Any, ...]] = self._run.advance(commands, wait_s)
        return events

    def end(self) -> None:
        """Let go of what trainables hold, before the process ends."""
        self._run.end()


class Place:
    """A trial's directory, and its output, while it runs on this process."""

    def __init__(self, spec: TrialSpec, setup: RunnerSetup, home: str) -> None:
        self._spec = spec
        self._change = setup.change_directory
        self._home = home

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be in the trial's directory, with its output going where it should."""
        spec = self._spec
        os.makedirs(spec.local_dir, exist_ok=True)
        with contextlib.ExitStack() as stack:
            if self._change:
                os.environ.setdefault("TUNE_ORIG_WORKING_DIR", self._home)
                os.chdir(spec.local_dir)
                stack.callback(os.chdir, self._home)
            for name, file in zip(("stdout", "stderr"), log_files(spec.log_to_file), strict=True):
                if file is not None:
                    stream = stack.enter_context(open(os.path.join(spec.local_dir, file), "a", buffering=1))
                    from rayjup.tune.utils.util import Tee

                    redirect = contextlib.redirect_stdout if name == "stdout" else contextlib.redirect_stderr
                    stack.enter_context(redirect(Tee(getattr(sys, name), stream)))  # type: ignore[type-var]
            yield


def log_files(log_to_file: Any) -> tuple[str | None, str | None]:
    """The names of the files for what is printed, and for errors."""
    if not log_to_file:
        return None, None
    if log_to_file is True:
        return "stdout", "stderr"
    if isinstance(log_to_file, str):
        return log_to_file, log_to_file
    if isinstance(log_to_file, (list, tuple)) and len(log_to_file) == 2:
        return log_to_file[0], log_to_file[1]
    raise ValueError(f"log_to_file must be a bool, a name or two names, not {log_to_file!r}")


class CheckpointWriter:
    """Brings a trial's checkpoints to the storage, numbered."""

    def __init__(self, spec: TrialSpec) -> None:
        self._storage = spec.storage
        self.next_index = spec.checkpoint_index

    def keep(self, checkpoint: Checkpoint, *, move: bool = False) -> tuple[Checkpoint, str]:
        """Copy a checkpoint to the trial's next place; the kept one and the name of its directory."""
        path = self._storage.checkpoint_fs_path(self.next_index)
        name = checkpoint_dir_name(self.next_index)
        self.next_index += 1
        return persist(checkpoint, self._storage.storage_filesystem, path, move=move), name


def meets(criterion: dict[str, float], result: dict[str, Any]) -> bool:
    """Whether a result reaches one of the bounds; a missing metric is left to the driver to complain of."""
    for name, bound in criterion.items():
        value = look_up(result, name)
        if value is not None and value >= bound:
            return True
    return False


class Inbox:
    """Commands that wait to be looked at, and trials that wait to be run."""

    def __init__(self) -> None:
        self.queue: collections.deque[TrialSpec] = collections.deque()
        self.go: set[str] = set()
        self.save: set[str] = set()
        self.stop: dict[str, bool] = {}

    def take(self, commands: list[tuple[Any, ...]]) -> None:
        """Sort commands in."""
        for kind, about, *rest in commands:
            if kind == "run":
                self.queue.append(about)
                for of in (self.go, self.save):
                    of.discard(about.trial_id)
                self.stop.pop(about.trial_id, None)
            elif kind == "go":
                self.go.add(about)
            elif kind == "save":
                self.save.add(about)
            else:
                self.stop[about] = rest[0]

    def drop_stopped(self) -> list[tuple[Any, ...]]:
        """Trials that are to end before they have begun."""
        gone = [spec for spec in self.queue if spec.trial_id in self.stop]
        for spec in gone:
            self.queue.remove(spec)
            del self.stop[spec.trial_id]
        return [(told.ENDED, spec.trial_id) for spec in gone]

    def give_back(self) -> list[tuple[Any, ...]]:
        """All trials that were not begun."""
        returned = [(told.RETURNED, spec.trial_id) for spec in self.queue]
        self.queue.clear()
        return returned


def is_late(started: float) -> bool:
    """Whether what runs since then keeps others waiting."""
    return time.monotonic() - started > _GIVE_BACK_S
