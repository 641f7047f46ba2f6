"""Functions as trainables: the function runs in a thread of its own and stops at each ``report``."""

from __future__ import annotations

import collections
import contextlib
import inspect
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import copy_context
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.errors import TrialStopped, TuneError
from rayjup.runs.placement import PlacementGroupFactory
from rayjup.runs.trainable import Trainable, TrainingResult


def accepted_arguments(function: Callable[..., Any]) -> tuple[str, ...]:
    """Which of ``config``, ``checkpoint_dir`` and ``reporter`` a trainable function takes; TuneError
    otherwise."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ("config",)
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p.name for p in plain if p.default is p.empty]
    name = getattr(function, "__name__", repr(function))
    if [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]:
        needed.append("a keyword")
    if len(needed) > 2 or (len(needed) == 2 and needed[1] not in ("checkpoint_dir", "reporter")):
        raise TuneError(
            f"the function {name} can't be a trainable: it needs the arguments {needed}. It may take one, "
            f"the "
            "trial's config; what else it needs is given by tune.with_parameters(function, data=...)"
        )
    taken = ["config"] if plain or any(p.kind is p.VAR_POSITIONAL for p in parameters) else []
    if any(p.name == "checkpoint_dir" for p in parameters):
        taken.append("checkpoint_dir")
    if any(p.name == "reporter" for p in plain[1:]):
        taken.append("reporter")
    return tuple(taken)


@contextlib.contextmanager
def _checkpoint_dir(run: session.RunSession) -> Iterator[str | None]:
    checkpoint = run.get_checkpoint()
    if checkpoint is None:
        yield None
    else:
        with checkpoint.as_directory() as local:
            yield local


def call(function: Callable[..., Any], config: dict[str, Any], run: session.RunSession) -> Any:
    """Run a trainable function to its end, inside of ``run``; what it yields and returns is reported, too."""
    taken = accepted_arguments(function)
    with session.use(run), contextlib.ExitStack() as stack:
        positional = [config] if "config" in taken else []
        named: dict[str, Any] = {}
        if "checkpoint_dir" in taken:
            named["checkpoint_dir"] = stack.enter_context(_checkpoint_dir(run))
        if "reporter" in taken:
            named["reporter"] = session.report
        result = function(*positional, **named)
        if inspect.isgenerator(result):
            returned = yield_all(result, run)
        else:
            returned = result
        if isinstance(returned, Mapping):
            run.report(dict(returned), None)
        elif isinstance(returned, (int, float)) and not isinstance(returned, bool):
            run.report(session.as_metrics(returned, {}), None)
        return returned


def yield_all(results: Iterator[Any], run: session.RunSession) -> Any:
    """Report what a generator yields; what it returns comes back."""
    while True:
        try:
            value = next(results)  # type: ignore[call-overload]
        except StopIteration as stop:
            return stop.value
        run.report(session.as_metrics(value, {}), None)


class FunctionThread:
    """A function that runs in a thread and hands over its reports one at a time.

    ``next()`` lets it run to its next report (or its end) and gives that: ``("report", metrics,
    checkpoint)``,
    ``("end", returned)`` or ``("error", exception)``.
    """

    def __init__(
        self, target: Callable[[session.RunSession], Any], make: Callable[[Any], session.RunSession]
    ):
        self._changed = threading.Condition()
        self._events: collections.deque[tuple[Any, ...]] = collections.deque()
        self._may_run = False
        self._stopping = False
        self._over = False
        run = make(self._report)
        context = copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._main, target, run), daemon=True, name="trainable"
        )
        self._started = False

    def next(self) -> tuple[Any, ...]:
        """Let the function run on; what it does next."""
        with self._changed:
            if self._over:
                return ("end", None)
            self._may_run = True
            if not self._started:
                self._started = True
                self._thread.start()
            self._changed.notify_all()
            while not self._events:
                self._changed.wait()
            return self._events.popleft()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End it at its report; a function that is busy elsewhere is left to its daemon thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._started and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _main(self, target: Callable[[session.RunSession], Any], run: session.RunSession) -> None:
        try:
            event: tuple[Any, ...] = ("end", target(run))
        except TrialStopped:
            event = ("end", None)
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is the trial's error
            event = ("error", error)
        with self._changed:
            self._over = True
            self._events.append(event)
            self._changed.notify_all()

    def _report(self, metrics: dict[str, Any], checkpoint: Checkpoint | None) -> None:
        with self._changed:
            if self._stopping:
                raise TrialStopped
            self._may_run = False
            self._events.append(("report", metrics, checkpoint))
            self._changed.notify_all()
            while not self._may_run and not self._stopping:
                self._changed.wait()
            if self._stopping:
                raise TrialStopped


class _FunctionSession(session.RunSession):
    """The session of a `FunctionTrainable` that is stepped by hand."""

    kind = "tune"

    def __init__(self, owner: FunctionTrainable, report: Callable[..., None]) -> None:
        info = owner._trial_info
        self.trial_name, self.trial_id = info.trial_name, info.trial_id
        self.trial_dir, self.trial_resources = info.trial_dir, info.resources
        self.experiment_name = info.experiment_name
        self._owner = owner
        self._send = report

    def report(self, metrics: dict[str, Any], checkpoint: Checkpoint | None = None, **options: Any) -> None:
        self._send(metrics, checkpoint)

    def get_checkpoint(self) -> Checkpoint | None:
        return self._owner._restored


class FunctionTrainable(Trainable):
    """A function with the interface of a class: each `train` lets it run to its next ``report``.

    Made by `wrap_function`.
    """

    _function: Callable[..., Any]
    _name = "func"

    def setup(self, config: dict[str, Any]) -> None:
        """Remember the parameters; the function starts with the first step."""
        self._function_config = config
        self._restored: Checkpoint | None = None
        self._reported: Checkpoint | None = None
        self._thread: FunctionThread | None = None

    def execute(self, fn: Callable[[dict[str, Any]], Any]) -> Any:
        """Call a function on this trainable's parameters."""
        return fn(self.config)

    def step(self) -> dict[str, Any]:
        """Let the function run to its next report; ``done`` at its end."""
        if self._thread is None:
            function = type(self)._function
            config = self._function_config
            self._thread = FunctionThread(
                lambda run: call(function, config, run), lambda report: _FunctionSession(self, report)
            )
        kind, *rest = self._thread.next()
        if kind == "error":
            raise rest[0]
        if kind == "end":
            # The last report came before the end; say it again, marked as what it is.
            last = dict(self._last_result or {})
            last.update(done=True, training_iteration=self.iteration, __duplicate__=True)
            self._progress.iteration -= 1
            return last
        metrics, checkpoint = rest
        if checkpoint is not None:
            self._reported = checkpoint
            metrics = {**metrics, "should_checkpoint": True}
        return metrics

    def save_checkpoint(self, checkpoint_dir: str = "") -> Any:
        """The checkpoint that the function reported last; it can't be asked for another."""
        if self._reported is None:
            raise TuneError(
                f"the function {self._name} has reported no checkpoint; a function trainable makes its own: "
                "tune.report(metrics, checkpoint=Checkpoint.from_directory(...))"
            )
        return self._reported

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Start the function anew with this checkpoint as its ``get_checkpoint()``."""
        if isinstance(checkpoint, TrainingResult):
            checkpoint = checkpoint.checkpoint
        if isinstance(checkpoint, str):
            checkpoint = Checkpoint.from_directory(checkpoint)
        elif isinstance(checkpoint, dict):
            checkpoint = Checkpoint.from_dict(checkpoint)
        self._end()
        self._restored = checkpoint

    def restore(self, checkpoint_path: Any) -> None:
        """Start the function anew from a checkpoint."""
        if isinstance(checkpoint_path, TrainingResult):
            checkpoint_path = checkpoint_path.checkpoint
        self.load_checkpoint(
            checkpoint_path if isinstance(checkpoint_path, Checkpoint) else Checkpoint(checkpoint_path)
        )

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the function anew with other parameters."""
        self._end()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """End the function's thread."""
        self._end()

    def _end(self) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None


def wrap_function(
    train_func: Callable[..., Any], name: str | None = None, warn: bool = True
) -> type[FunctionTrainable]:
    """A class that runs the function.

    Examples
    --------
    >>> from rayjup.tune.trainable import wrap_function
    >>> Square = wrap_function(lambda config: {"score": config["x"] ** 2})
    >>> trainable = Square({"x": 3})
    >>> trainable.train()["score"]
    9
    >>> trainable.stop()
    """
    accepted_arguments(train_func)
    given = str(name or getattr(train_func, "__name__", "func"))
    request = getattr(train_func, "_resources", None)

    class Wrapped(FunctionTrainable):
        _function = staticmethod(train_func)
        _name = given

        @classmethod
        def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory | None:
            return request(config) if callable(request) and not _is_factory(request) else request

    Wrapped.__name__ = Wrapped.__qualname__ = given
    Wrapped.__doc__ = train_func.__doc__
    return Wrapped


def _is_factory(value: Any) -> bool:
    return isinstance(value, PlacementGroupFactory)


def as_trainable_class(trainable: Any) -> type[Trainable]:
    """The class of anything that Tune can run; TuneError with the reason otherwise."""
    if isinstance(trainable, type):
        if issubclass(trainable, Trainable):
            return trainable
        raise TuneError(
            f"the class {trainable.__name__} can't be a trainable: it must derive from tune.Trainable "
            "(or be a function of the trial's config)"
        )
    if callable(trainable):
        return wrap_function(trainable)
    raise TuneError(
        f"{trainable!r} can't be a trainable. It must be a function of the trial's config, a subclass of "
        "tune.Trainable, a trainer, or the name of something registered with tune.register_trainable"
    )


def function_name(trainable: Any) -> str:
    """What a trainable is called in names of experiments and trials."""
    found = getattr(trainable, "_name", None) if isinstance(trainable, type) else None
    name = found or getattr(trainable, "__name__", None) or type(trainable).__name__
    return os.path.basename(str(name)).strip("<>") or "trainable"
