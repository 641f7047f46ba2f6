"""The actor that runs the program of one job: a shell in a process group of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rayjup.base.paths import cache_root
from rayjup.jobs import table
from rayjup.jobs.models import JobErrorType, JobInfo, JobStatus
from rayjup.runtime_context import get_runtime_context

NAMESPACE = "rayjup-jobs"
_GRACE_S = 3.0  # between being told to end and being killed
_TAIL_BYTES = 20_000
_TAIL_LINES = 10


def name_of(submission_id: str) -> str:
    """Name of a job's supervisor in `NAMESPACE`."""
    return f"supervisor-{submission_id}"


def log_name(submission_id: str) -> str:
    """The file in the log directory of its node that takes what the program prints."""
    return f"job-driver-{submission_id}.log"


class Supervisor:
    """Runs one program and writes down how it goes.

    Made with the job's runtime environment, so the program has its directory, variables and Python.
    """

    def __init__(self, submission_id: str, cluster: str) -> None:
        self.submission_id = submission_id
        self.cluster = cluster
        self.log = Path(get_runtime_context().get_temp_dir(), "logs", log_name(submission_id))
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()

    def run(self) -> str:
        """Run the program to its end; the job's last status."""
        info = table.get(self.submission_id)
        if info is None or info.status.is_terminal() or self._stopping.is_set():
            return "STOPPED"
        try:
            with open(self.log, "ab") as out:
                self._process = subprocess.Popen(
                    info.entrypoint,
                    shell=True,
                    env=self._environment(info),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            info.error_type = JobErrorType.JOB_ENTRYPOINT_COMMAND_START_ERROR
            return self._ended(info, JobStatus.FAILED, f"The entrypoint could not be started: {error}")
        info.status = JobStatus.RUNNING
        info.message = "The job is running."
        info.start_time = _now_ms()
        info.driver_node_id = get_runtime_context().get_node_id()
        table.put(self.submission_id, info)
        with self._dying_with_this_process(self._process.pid):
            code = self._process.wait()
        self._end_group(signal.SIGKILL)  # what the shell has left in the background
        info.driver_exit_code = code
        if self._stopping.is_set():
            return self._ended(info, JobStatus.STOPPED, "The job was stopped on request.")
        if code == 0:
            return self._ended(info, JobStatus.SUCCEEDED, "The job has finished successfully.")
        info.error_type = JobErrorType.JOB_ENTRYPOINT_COMMAND_ERROR
        how = f"with exit code {code}" if code > 0 else f"by the signal {signal.Signals(-code).name}"
        return self._ended(
            info, JobStatus.FAILED, f"The entrypoint ended {how}. Its last lines:\n{self._tail()}"
        )

    def stop(self) -> bool:
        """Have the program end: first asked, then killed; whether it was running."""
        self._stopping.set()
        if self._process is None or self._process.poll() is not None:
            return False
        self._end_group(signal.SIGTERM)
        try:
            self._process.wait(float(os.environ.get("RAY_JOB_STOP_WAIT_TIME_S", _GRACE_S)))
        except subprocess.TimeoutExpired:
            self._end_group(signal.SIGKILL)
        return True

    def ping(self) -> bool:
        """It is there."""
        return True

    def _environment(self, info: JobInfo) -> dict[str, str]:
        given = os.environ.get("PYTHONPATH")
        # Modules that the runtime environment brings lie in the cache, and are on this process's path.
        modules = [entry for entry in sys.path if entry.startswith(cache_root())]
        paths = [str(Path(__file__).with_name("alias")), *modules, *([given] if given else [])]
        config = {"metadata": {**(info.metadata or {}), "job_submission_id": self.submission_id}}
        if info.runtime_env:
            config["runtime_env"] = info.runtime_env  # type: ignore[assignment]
        return {
            **os.environ,
            "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]),
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            "RAY_ADDRESS": self.cluster,
            "RAYJUP_ADDRESS": self.cluster,
            "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(config),
        }

    @contextmanager
    def _dying_with_this_process(self, group: int) -> Iterator[None]:
        """See to it that a process group is killed when this process is: nobody else would do it."""
        watcher = subprocess.Popen(
            ["/bin/sh", "-c", f"read _; kill -s KILL -- -{group}"],  # the pipe ends with this process
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            watcher.kill()
            watcher.communicate()

    def _end_group(self, number: int) -> None:
        assert self._process is not None
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            pass  # it has ended, with all it started

    def _ended(self, info: JobInfo, status: JobStatus, message: str) -> str:
        info.status, info.message, info.end_time = status, message, _now_ms()
        table.put(self.submission_id, info)
        return str(status)

    def _tail(self) -> str:
        with open(self.log, "rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:]) or "(nothing was printed)"


def _now_ms() -> int:
    return int(time.time() * 1000)


def options_of(submission_id: str, info: JobInfo) -> dict[str, Any]:
    """Options of the actor for a job."""
    options: dict[str, Any] = {
        "name": name_of(submission_id),
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "num_cpus": info.entrypoint_num_cpus or 0,
        "num_gpus": info.entrypoint_num_gpus or 0,
        "max_concurrency": 4,  # run, and beside it stop and ping
        "max_restarts": 0,
    }
    if info.entrypoint_memory:
        options["memory"] = info.entrypoint_memory
    if info.entrypoint_resources:
        options["resources"] = info.entrypoint_resources
    if info.entrypoint_label_selector:
        options["label_selector"] = info.entrypoint_label_selector
    if info.runtime_env:
        options["runtime_env"] = info.runtime_env
    return options
