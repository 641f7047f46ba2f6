"""Helpers: output in two places, watching and waiting for devices, checks of trainables."""

from __future__ import annotations

import contextlib
import inspect
import logging
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any

import psutil

from rayjup.runs.trainable import Trainable

logger = logging.getLogger(__name__)


def date_str() -> str:
    """Now, as directories are named: ``2030-01-31_12-00-00``."""
    return datetime.today().strftime("%Y-%m-%d_%H-%M-%S")


class Tee:
    """A stream that writes to two."""

    def __init__(self, stream1: Any, stream2: Any) -> None:
        self.stream1 = stream1
        self.stream2 = stream2
        # When a stream writes to this one again, it would never end.
        self._handling = threading.local()

    def _both(self, name: str, *args: Any, **kwargs: Any) -> None:
        if getattr(self._handling, "busy", False):
            return
        self._handling.busy = True
        try:
            for stream in (self.stream1, self.stream2):
                getattr(stream, name)(*args, **kwargs)
        finally:
            self._handling.busy = False

    def _first(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.stream1, name)(*args, **kwargs)

    def write(self, *args: Any, **kwargs: Any) -> None:
        """Write to both."""
        self._both("write", *args, **kwargs)

    def flush(self, *args: Any, **kwargs: Any) -> None:
        """Flush both."""
        self._both("flush", *args, **kwargs)

    def seek(self, *args: Any, **kwargs: Any) -> Any:
        """Of the first stream."""
        return self._first("seek", *args, **kwargs)

    def tell(self, *args: Any, **kwargs: Any) -> Any:
        """Of the first stream."""
        return self._first("tell", *args, **kwargs)

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """Of the first stream."""
        return self._first("read", *args, **kwargs)

    def readline(self, *args: Any, **kwargs: Any) -> Any:
        """Of the first stream."""
        return self._first("readline", *args, **kwargs)

    def detach(self) -> Any:
        """Of the first stream."""
        return self._first("detach")

    def isatty(self) -> bool:
        """Of the first stream."""
        return bool(self._first("isatty"))

    def fileno(self) -> int:
        """Of the first stream."""
        return int(self._first("fileno"))

    @property
    def encoding(self) -> Any:
        """Of the first stream."""
        return self.stream1.encoding

    @property
    def error(self) -> Any:
        """How the first stream handles what it can't encode."""
        return getattr(self.stream1, "errors", None)

    @property
    def newlines(self) -> Any:
        """Of the first stream."""
        return self.stream1.newlines


class UtilMonitor(threading.Thread):
    """Samples the use of CPU, memory and GPUs of this machine, for averages.

    Parameters
    ----------
    start
        Whether it begins at once.
    delay
        Seconds between two samples.
    """

    def __init__(self, start: bool = True, delay: float = 0.7) -> None:
        super().__init__(daemon=True)
        self.delay = delay
        self.values: dict[str, list[float]] = defaultdict(list)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        if start:
            self.start()

    def _sample(self) -> None:
        with self._lock:
            self.values["cpu_util_percent"].append(float(psutil.cpu_percent(interval=None)))
            self.values["ram_util_percent"].append(float(psutil.virtual_memory().percent))
            for number, gpu in enumerate(_gpus()):
                self.values[f"gpu_util_percent{number}"].append(gpu["utilization"])
                self.values[f"vram_util_percent{number}"].append(gpu["memory"])

    def get_data(self) -> dict[str, dict[str, float]]:
        """The averages since the last call."""
        with self._lock:
            averages = {name: sum(found) / len(found) for name, found in self.values.items() if found}
            self.values.clear()
        return {"perf": averages} if averages else {}

    def run(self) -> None:
        """Sample until stopped."""
        while not self._ended.wait(self.delay):
            self._sample()

    def stop(self) -> None:
        """End it."""
        self._ended.set()


def _gpus() -> list[dict[str, float]]:
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    found = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        uuid = pynvml.nvmlDeviceGetUUID(handle)
        found.append(
            {
                "index": index,
                "uuid": uuid.decode() if isinstance(uuid, bytes) else uuid,
                "utilization": float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
                "memory": memory.used / memory.total,
            }
        )
    return found


def wait_for_gpu(
    gpu_id: int | str | None = None,
    target_util: float = 0.01,
    retry: int = 20,
    delay_s: int = 5,
    gpu_memory_limit: float | None = None,
) -> bool:
    """Wait until a GPU's memory is free enough, for example after the trial before has left.

    Parameters
    ----------
    gpu_id
        Index or UUID; the first one that this process was assigned by default.
    target_util
        So large a share of its memory may be in use.
    retry, delay_s
        How often, and after how many seconds, it is looked at.
    gpu_memory_limit
        Older name of ``target_util``.
    """
    import rayjup

    if gpu_memory_limit is not None:
        raise ValueError("gpu_memory_limit is now called target_util")
    if gpu_id is None:
        assigned = rayjup.get_gpu_ids()
        if not assigned:
            raise RuntimeError(
                "wait_for_gpu(): this process has no GPU; ask for one with tune.with_resources(trainable, "
                "{'gpu': 1})"
            )
        gpu_id = assigned[0]
    if isinstance(gpu_id, str) and gpu_id.isdigit():
        gpu_id = int(gpu_id)
    key = "index" if isinstance(gpu_id, int) else "uuid"
    for attempt in range(int(retry)):
        found = [gpu for gpu in _gpus() if gpu[key] == gpu_id]
        if not found:
            raise ValueError(
                f"wait_for_gpu(): there is no GPU {gpu_id!r}; there are {[g[key] for g in _gpus()]}"
            )
        if found[0]["memory"] <= target_util:
            return True
        logger.info(
            "GPU %s: %.0f %% of its memory in use (attempt %d)", gpu_id, found[0]["memory"] * 100, attempt
        )
        time.sleep(delay_s)
    raise RuntimeError(f"wait_for_gpu(): the memory of GPU {gpu_id!r} was not freed within {retry} attempts")


def retry_fn(
    fn: Callable[[], Any],
    exception_type: type[Exception] | Sequence[type[Exception]] = Exception,
    num_retries: int = 3,
    sleep_time: int = 1,
    timeout: float | None = None,
) -> bool:
    """Call a function until it does not raise; whether it ever did so.

    Parameters
    ----------
    exception_type
        What is tried again; anything else is raised.
    num_retries, sleep_time
        How often, and after how many seconds.
    timeout
        Seconds that one call may take.
    """
    kinds = exception_type if isinstance(exception_type, type) else tuple(exception_type)
    for attempt in range(num_retries):
        outcome: list[BaseException | None] = []

        def call(outcome: list[BaseException | None] = outcome) -> None:
            try:
                fn()
                outcome.append(None)
            except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
                outcome.append(error)

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        thread.join(timeout)
        if outcome and outcome[0] is None:
            return True
        if outcome and not isinstance(outcome[0], kinds):
            assert outcome[0] is not None
            raise outcome[0]
        if attempt + 1 < num_retries:
            time.sleep(sleep_time)
    return False


class warn_if_slow(contextlib.AbstractContextManager["warn_if_slow"]):
    """Warns when a block takes long.

    Examples
    --------
    >>> from rayjup.tune.utils import warn_if_slow
    >>> with warn_if_slow("saving"):
    ...     pass
    """

    DEFAULT_THRESHOLD = 0.5
    DEFAULT_MESSAGE = "{name} took {duration:.3f} s, which may hold up the experiment"

    def __init__(
        self, name: str, threshold: float | None = None, message: str | None = None, disable: bool = False
    ) -> None:
        self.name = name
        self.threshold = threshold if threshold is not None else self.DEFAULT_THRESHOLD
        self.message = message or self.DEFAULT_MESSAGE
        self.too_slow = False
        self.disable = disable

    def __enter__(self) -> warn_if_slow:
        self._start = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        duration = time.monotonic() - self._start
        if duration > self.threshold and not self.disable:
            self.too_slow = True
            logger.warning(self.message.format(name=self.name, duration=duration))


def validate_save_restore(
    trainable_cls: type, config: dict[str, Any] | None = None, num_gpus: int = 0
) -> bool:
    """Check in an actor that a trainable goes on from its checkpoint: iterations and further training.

    Raises what goes wrong; True if nothing does.
    """
    import rayjup

    if not isinstance(trainable_cls, type) or not issubclass(trainable_cls, Trainable):
        raise ValueError(f"validate_save_restore() needs a Trainable class, not {trainable_cls!r}")
    config = config or {}

    def check() -> bool:
        first = trainable_cls(dict(config))
        try:
            for _ in range(3):
                result = first.train()
                if result.get("done"):
                    break
            with tempfile.TemporaryDirectory() as directory:
                saved = first.save(directory)
                second = trainable_cls(dict(config))
                try:
                    second.restore(saved)
                    if second.training_iteration != first.training_iteration:
                        raise ValueError(
                            f"after the restore the iteration is {second.training_iteration}, not "
                            f"{first.training_iteration}"
                        )
                    second.train()
                finally:
                    second.stop()
        finally:
            first.stop()
        return True

    return bool(rayjup.get(rayjup.remote(num_cpus=0, num_gpus=num_gpus)(check).remote()))


def diagnose_serialization(trainable: Callable[..., Any]) -> bool | set[Any]:
    """Find out what of a trainable can't be pickled: True if all can, else the things to blame.

    Examples
    --------
    >>> import threading
    >>> from rayjup.tune.utils import diagnose_serialization
    >>> lock = threading.Lock()
    >>> def train(config):
    ...     return lock
    >>> diagnose_serialization(train) == {lock}
    True
    """
    return _unpicklable(trainable) or True


def _unpicklable(trainable: Any) -> set[Any]:
    import cloudpickle

    def fails(value: Any) -> bool:
        try:
            cloudpickle.dumps(value)
        except Exception:  # noqa: BLE001 - objects of users fail to pickle in any way
            return True
        return False

    if not fails(trainable):
        return set()
    blamed: set[Any] = set()
    functions = (
        [trainable]
        if inspect.isfunction(trainable)
        else [member for _, member in inspect.getmembers(trainable, inspect.isfunction)]
    )
    for function in functions:
        seen = inspect.getclosurevars(function)
        for name, value in {**seen.nonlocals, **seen.globals}.items():
            if fails(value):
                try:
                    blamed.add(value)
                except TypeError:
                    blamed.add(name)
    return blamed or {trainable}


def blamed(trainable: Any) -> str:
    """A sentence about what of a trainable can't be pickled."""
    found = [value for value in _unpicklable(trainable) if value is not trainable]
    if not found:
        return ""
    return " To blame: " + ", ".join(repr(value)[:80] for value in found) + "."


def validate_warmstart(
    parameter_names: list[str],
    points_to_evaluate: Sequence[list[Any] | dict[str, Any]],
    evaluated_rewards: list[Any],
    validate_point_name_lengths: bool = True,
) -> None:
    """Check points to begin with and their values: as many of these as of those, each with all parameters."""
    if points_to_evaluate:
        if not isinstance(points_to_evaluate, list):
            raise TypeError(f"points_to_evaluate must be a list, not {type(points_to_evaluate).__name__}")
        for point in points_to_evaluate:
            if not isinstance(point, (dict, list)):
                raise TypeError(f"points_to_evaluate must hold dictionaries or lists, not {point!r}")
            if validate_point_name_lengths and len(point) != len(parameter_names):
                raise ValueError(f"the point {point} must have values for {parameter_names}")
    if points_to_evaluate and evaluated_rewards:
        if not isinstance(evaluated_rewards, list):
            raise TypeError(f"evaluated_rewards must be a list, not {type(evaluated_rewards).__name__}")
        if len(evaluated_rewards) != len(points_to_evaluate):
            raise ValueError(
                f"{len(points_to_evaluate)} points_to_evaluate need as many evaluated_rewards, not "
                f"{len(evaluated_rewards)}"
            )
