"""Start-up time and memory, measured on fresh Python processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable

import harness
import psutil
import ray

STARTUP = "import + init + first result"
IMPORT = "import"
JOIN = "import + init + first result, joining a running cluster"
MEMORY = "idle memory of the process tree (USS)"
MARKER = "CORE_BENCHMARK_RUN"

FIRST_RESULT = """
import ray
ray.init({init})
@ray.remote
def one():
    return 1
assert ray.get(one.remote()) == 1
print("done", flush=True)
"""
# Both CPUs are warm when each of two tasks has waited for the other.
TWO_WARM = """
import os, sys, time
import ray
ray.init(num_cpus=2)
@ray.remote
def busy():
    time.sleep(0.3)
    return os.getpid()
while len(set(ray.get([busy.remote(), busy.remote()]))) < 2:
    pass
print("done", flush=True)
sys.stdin.read()
"""


def python(code: str) -> list[str]:
    """A command that runs ``code`` with the engine of this process behind ``import ray``."""
    if ray.__name__ == "ray":
        return [sys.executable, "-c", code]
    return [sys.executable, "-m", f"{ray.__name__}.as_ray", "-c", code]


def seconds_to_done(code: str) -> float:
    """From starting a process until it prints "done"; its end is waited for but not counted."""
    start = time.perf_counter()
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        answer = next((line for line in process.stdout if line.strip() == "done"), None)
        took = time.perf_counter() - start
        process.stdout.read()
    if answer is None or process.returncode != 0:
        raise RuntimeError(
            f"the measured program ended with status {process.returncode} and without a result"
        )
    return took


def startup(code: str, repeats: int) -> Callable[[harness.Line], list[float]]:
    def sample(line: harness.Line) -> list[float]:
        seconds_to_done(code)  # once for the disk cache and the .pyc files
        return [seconds_to_done(code) for _ in range(repeats)]

    return sample


def join_running_cluster(repeats: int) -> Callable[[harness.Line], list[float]]:
    """A second driver on the cluster this process is connected to."""

    def sample(line: harness.Line) -> list[float]:
        address = getattr(ray.get_runtime_context(), "gcs_address", None)
        if not address:
            raise harness.Unavailable("get_runtime_context() has no gcs_address")
        return startup(FIRST_RESULT.format(init=f"address={address!r}"), repeats)(line)

    return sample


def cluster_processes(before: Iterable[int] = (), root: int | None = None) -> list[psutil.Process]:
    """Process ``root`` (default: this one), its descendants, and detached ones with its marker."""
    top = psutil.Process(root or os.getpid())
    family = {top.pid, *(p.pid for p in top.children(recursive=True))}
    marker = f"{MARKER}={os.environ.get(MARKER)}"
    found = []
    for process in psutil.process_iter():
        try:
            marked = MARKER in os.environ and f"{MARKER}={process.environ().get(MARKER)}" == marker
            if process.pid in family or (marked and process.pid not in before):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def tree_uss(processes: Iterable[psutil.Process]) -> int:
    """Bytes that would become free if these processes ended (unique set size)."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().uss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def idle_memory(line: harness.Line) -> list[float]:
    """USS in MB of a driver and its idle cluster with two warm CPUs, once it has settled."""
    before = {p.pid for p in cluster_processes()}
    with subprocess.Popen(
        python(TWO_WARM), stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        if not any(text.strip() == "done" for text in process.stdout):
            raise RuntimeError("the measured program ended before its cluster was warm")
        try:
            readings = [0.0]
            deadline = time.monotonic() + 15
            # Settled: two readings one second apart within one percent of each other.
            while time.monotonic() < deadline:
                time.sleep(1)
                tree = [p for p in cluster_processes(before, process.pid) if p.pid not in before]
                readings.append(tree_uss(tree) / 1e6)
                if abs(readings[-1] - readings[-2]) < 0.01 * readings[-1]:
                    break
            line.note = f"{len(tree)} processes"
        finally:
            process.stdin.close()
    return [readings[-1]]


def run(record: harness.Recorder) -> None:
    os.environ[MARKER] = uuid.uuid4().hex
    repeats = record.budget.repeats
    record.times(IMPORT, "s", startup("import ray; print('done', flush=True)", repeats))
    record.times(STARTUP, "s", startup(FIRST_RESULT.format(init="num_cpus=2"), repeats))
    record.times(MEMORY, "MB", idle_memory)
