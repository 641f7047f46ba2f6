"""`Callback`: what a driver calls at each event of an experiment."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayjup.runs.checkpoint import Checkpoint
    from rayjup.runs.full_disk import FullDisk


class Callback:
    """Called in the driver at each event; override what you need.

    ``iteration`` counts the driver's turns, ``trials`` are all of the experiment, ``info`` may grow.

    Examples
    --------
    >>> from rayjup import tune
    >>> class Notify(tune.Callback):
    ...     def on_trial_complete(self, iteration, trials, trial, **info):
    ...         print(trial, "is done")
    """

    def setup(
        self,
        stop: Any = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        **info: Any,
    ) -> None:
        """Called once, before the first trial."""

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called at the start of each turn of the driver."""

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called at the end of each turn, after all results of it."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called when a trial starts to run."""

    def on_trial_restore(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called when a trial goes on from a checkpoint."""

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called when a checkpoint of a trial has been taken in."""

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Called with each result."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called when a trial has ended."""

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called when a trial failed and is to be tried again."""

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called when a trial has failed for good."""

    def on_checkpoint(
        self, iteration: int, trials: list[Any], trial: Any, checkpoint: Checkpoint, **info: Any
    ) -> None:
        """Called with each new checkpoint of a trial."""

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Called once, after the last trial."""

    def get_state(self) -> dict[str, Any] | None:
        """What has to survive a restart of the driver; None for nothing."""
        return None

    def set_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_state` gave."""


EVENTS = (
    "setup",
    "on_step_begin",
    "on_step_end",
    "on_trial_start",
    "on_trial_restore",
    "on_trial_save",
    "on_trial_result",
    "on_trial_complete",
    "on_trial_recover",
    "on_trial_error",
    "on_checkpoint",
    "on_experiment_end",
)


class CallbackList:
    """Several callbacks as one; an event costs nothing for those that don't override it."""

    FILE = "callback-states.pkl"

    def __init__(self, callbacks: Iterable[Any]) -> None:
        self._callbacks = list(callbacks)
        self.disk: FullDisk | None = None  # with one, a full disk ends nothing
        self._listeners = {
            event: [
                getattr(callback, event)
                for callback in self._callbacks
                if getattr(type(callback), event, None) is not getattr(Callback, event)
            ]
            for event in EVENTS
        }

    def __len__(self) -> int:
        return len(self._callbacks)

    def __iter__(self) -> Any:
        return iter(self._callbacks)

    def setup(self, **info: Any) -> None:
        """See `Callback.setup`."""
        self._call("setup", info)

    def on_step_begin(self, **info: Any) -> None:
        """See `Callback.on_step_begin`."""
        self._call("on_step_begin", info)

    def on_step_end(self, **info: Any) -> None:
        """See `Callback.on_step_end`."""
        self._call("on_step_end", info)

    def on_trial_start(self, **info: Any) -> None:
        """See `Callback.on_trial_start`."""
        self._call("on_trial_start", info)

    def on_trial_restore(self, **info: Any) -> None:
        """See `Callback.on_trial_restore`."""
        self._call("on_trial_restore", info)

    def on_trial_save(self, **info: Any) -> None:
        """See `Callback.on_trial_save`."""
        self._call("on_trial_save", info)

    def on_trial_result(self, **info: Any) -> None:
        """See `Callback.on_trial_result`."""
        self._call("on_trial_result", info)

    def on_trial_complete(self, **info: Any) -> None:
        """See `Callback.on_trial_complete`."""
        self._call("on_trial_complete", info)

    def on_trial_recover(self, **info: Any) -> None:
        """See `Callback.on_trial_recover`."""
        self._call("on_trial_recover", info)

    def on_trial_error(self, **info: Any) -> None:
        """See `Callback.on_trial_error`."""
        self._call("on_trial_error", info)

    def on_checkpoint(self, **info: Any) -> None:
        """See `Callback.on_checkpoint`."""
        self._call("on_checkpoint", info)

    def on_experiment_end(self, **info: Any) -> None:
        """See `Callback.on_experiment_end`."""
        self._call("on_experiment_end", info)

    def get_state(self) -> dict[int, Any] | None:
        """The states of those that have one, by position."""
        states = {i: callback.get_state() for i, callback in enumerate(self._callbacks)}
        states = {i: state for i, state in states.items() if state}
        return states or None

    def set_state(self, state: dict[int, Any]) -> None:
        """Give the states back."""
        for i, callback in enumerate(self._callbacks):
            if i in state:
                callback.set_state(state[i])

    def can_restore(self, checkpoint_dir: str) -> bool:
        """Whether `save_to_dir` has left something there."""
        return os.path.exists(os.path.join(checkpoint_dir, self.FILE))

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Write the states into a directory."""
        if state := self.get_state():
            partial = os.path.join(checkpoint_dir, f".{self.FILE}.{session_str}")
            with open(partial, "wb") as stream:
                pickle.dump(state, stream)
            os.replace(partial, os.path.join(checkpoint_dir, self.FILE))

    def restore_from_dir(self, checkpoint_dir: str) -> None:
        """Read the states from a directory."""
        if not self.can_restore(checkpoint_dir):
            raise RuntimeError(f"there are no states of callbacks in {checkpoint_dir!r}")
        with open(os.path.join(checkpoint_dir, self.FILE), "rb") as stream:
            self.set_state(pickle.load(stream))

    def wants(self, event: str) -> bool:
        """Whether anybody listens to an event."""
        return bool(self._listeners[event])

    def _call(self, event: str, info: dict[str, Any]) -> None:
        for listener in self._listeners[event]:
            try:
                listener(**info)
            except OSError as error:
                if self.disk is None:
                    raise
                self.disk.accept(error, f"what {type(getattr(listener, '__self__', self)).__name__} writes")
