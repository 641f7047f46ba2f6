"""An executor enters its runtime environment: variables, directory, import paths, setup hook."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import traceback
from typing import TYPE_CHECKING, Any

from rayjup.base.runtime_env import expanded
from rayjup.engine.executor import threads

if TYPE_CHECKING:
    from rayjup.engine.executor.executor import Executor


def enter(job: dict[str, Any], environment: dict[str, Any] | None) -> None:
    """Make this process one of ``job``, in ``environment`` (None: in the job's own directory)."""
    given = environment or {}
    own = given.get("paths", [])
    # With a directory of its own, a call must not find by chance what lies in the driver's.
    inherited = (
        job.get("python_path", ())
        if given.get("cwd")
        else (*job.get("sys_path", ()), *job.get("python_path", ()))
    )
    paths = [*own, *inherited]
    set_variables(given.get("variables", {}))
    threads.fixed = given.get("fixed_threads", False)
    listed = os.environ.get("PYTHONPATH") if "PYTHONPATH" in given.get("variables", {}) else None
    if listed:  # the interpreter has read it long ago
        paths += [path for path in listed.split(os.pathsep) if path]
    for entry in reversed(paths):
        if entry not in sys.path:
            sys.path.insert(0, entry)
    if own:  # for programs that are started from here
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([*own, *([before] if before else [])])
    cwd = given.get("cwd") or job.get("cwd")
    if cwd and os.path.isdir(cwd):
        os.chdir(cwd)


def set_variables(variables: dict[str, str]) -> None:
    """Set environment variables; ``${NAME}`` in one is the value so far, "" where there is none."""
    for name, value in variables.items():
        os.environ[name] = expanded(value, os.environ)


def run_hook(executor: Executor, hook: str) -> bool:
    """Run the setup hook (an import path, or a pickle's path), and tell the agent; False if it failed."""
    if not hook:
        return True
    try:
        _load(hook)()
    except BaseException as error:  # noqa: BLE001 - the agent tells those who wait for this process
        text = "".join(traceback.format_exception(error, limit=-5))
        executor.runtime.link.send(("hook_failed", f"its worker_process_setup_hook raised:\n{text}"))
        return False
    executor.runtime.link.send(("hook_done",))
    return True


def _load(hook: str) -> Any:
    if os.path.isabs(hook):
        with open(hook, "rb") as file:
            return pickle.load(file)
    module, _, name = hook.rpartition(".")
    if not module:
        raise ValueError(f"the hook {hook!r} is no import path such as 'package.module.function'")
    return getattr(importlib.import_module(module), name)
