"""From a fresh fork to a running executor: a clean process with the job's environment."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
from typing import Any

from rayjup.base import alias
from rayjup.engine.executor import environment

_PR_SET_PDEATHSIG = 1
# Made in the zygote: making it after the fork takes 0.3 MB in every executor.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def run(config: dict[str, Any]) -> int:
    """Become an executor as ``config`` says; returns the exit code at its end."""
    if _prctl is not None:
        # Die with the zygote, which dies with its agent: nothing outlives the node.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != config["parent"]:
            return 1
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _redirect(config["log_path"])
    random.seed()
    if "numpy.random" in sys.modules:
        # Any other kind of seed takes three times as much memory in every executor.
        sys.modules["numpy.random"].seed(int.from_bytes(os.urandom(4), "little"))
    os.environ.update(config["env"])
    job = config["job"]
    environment.enter(job, config["environment"])
    if job.get("as_ray"):
        alias.install(in_executor=True)
    from rayjup.base import serialization
    from rayjup.engine.executor.executor import Executor

    serialization.learns = True
    executor = Executor(config["agent_path"], config["job_id"], job, config["token"])
    if config["environment"] is not None:
        executor.environment = config["environment"]["key"]
        if not environment.run_hook(executor, config["environment"]["hook"]):
            return 1
    return executor.run()


def _redirect(path: str) -> None:
    """Send standard output and error to the executor's log files, and read nothing."""
    for ending, target in ((".out", 1), (".err", 2)):
        name = path.removesuffix(".log") + ending
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(fd, target)
        os.close(fd)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
