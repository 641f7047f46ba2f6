"""The environments of a node: each is built once, in a thread, however many wait for it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rayjup.base.runtime_env import SETUP_TIMEOUT_S, digest
from rayjup.engine.node import environment_cache as cache
from rayjup.engine.node.environment_build import Build, Built, is_light, light

_UNUSED_S = 60.0  # what nobody uses is kept so long: its files are unpacked already
_KEPT_FAILED = 100
_THREADS = 4

BUILDING, READY, FAILED = "BUILDING", "READY", "FAILED"


class Environment:
    """One environment on this node."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.spec: dict[str, Any] = json.loads(key) if key else {}
        self.state = BUILDING
        self.since = time.time()
        self.took_ms = 0
        self.error = ""
        self.built: Built | None = None
        self.future: asyncio.Future[Built] | None = None
        self.stop = threading.Event()
        self.users = 0
        self.unused_since = time.monotonic()

    def row(self) -> dict[str, Any]:
        """For lists of environments."""
        return {
            "runtime_env": self.spec,
            "state": self.state,
            "success": None if self.state == BUILDING else self.state == READY,
            "since": self.since,
            "creation_time_ms": self.took_ms,
            "ref_cnt": self.users,
            "error": self.error or None,
        }


class Environments:
    """Builds, shares and removes the environments of a node.

    Parameters
    ----------
    directory
        The node's own directory for unpacked files; goes with the node.
    log_dir
        For the output of what installs.
    on_change
        Called when one is being built, is ready, or has failed.
    """

    def __init__(self, directory: str, log_dir: str, on_change: Callable[[], None]) -> None:
        self.directory = directory
        self.log_dir = log_dir
        self.on_change = on_change
        self.all: dict[str, Environment] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False
        self._default = Built()

    def built(self, key: str) -> Built | None:
        """The environment if it is ready, or needs no building; None when it has to be built."""
        if not key:
            return self._default
        known = self.all.get(key)
        if known is not None and known.state != FAILED:
            return known.built
        environment = Environment(key)
        if not is_light(environment.spec):
            return None
        self.all[key] = environment
        environment.built = light(environment.spec)
        environment.state = READY
        self.on_change()
        return environment.built

    def build(self, key: str, packages: str) -> asyncio.Future[Built]:
        """Build it, or wait for whoever does; fails with the reason as text.

        ``packages`` is a directory of this machine in which the driver may have put packages.
        """
        known = self.all.get(key)
        if known is not None and known.state == BUILDING:
            assert known.future is not None
            return known.future
        environment = self.all[key] = Environment(key)
        loop = asyncio.get_running_loop()
        future = environment.future = loop.create_future()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, "rayjup-environments")
        work = loop.run_in_executor(self._threads, self._work, environment, packages)
        work.add_done_callback(lambda done: self._ended(environment, done))
        self.on_change()
        return future

    def _work(self, environment: Environment, packages: str) -> Built:
        seconds = environment.spec.get("config", {}).get("setup_timeout_seconds", SETUP_TIMEOUT_S)
        deadline = time.monotonic() + seconds if seconds > 0 else float("inf")

        def check() -> None:
            if environment.stop.is_set():
                raise cache.SetupStopped("the node is stopping")
            if time.monotonic() > deadline:
                raise cache.SetupStopped(
                    f"it was not built within {seconds} s. Raise config.setup_timeout_seconds, or look "
                    "into the log"
                    f" in {self.log_dir}."
                )

        name = digest(environment.key)[:16]
        log_path = f"{self.log_dir}/runtime_env_setup-{name}.log"
        places = tuple(dict.fromkeys(p for p in (cache.packages_dir(), packages) if p))
        build = Build(environment.spec, f"{self.directory}/{name}", places, check, log_path)
        built = build.run()
        cache.trim()
        return built

    def _ended(self, environment: Environment, done: asyncio.Future[Built]) -> None:
        environment.took_ms = int((time.time() - environment.since) * 1000)
        environment.unused_since = time.monotonic()
        future = environment.future
        assert future is not None
        error = done.exception() if not done.cancelled() else asyncio.CancelledError()
        if error is None:
            environment.state = READY
            environment.built = done.result()
            if not future.done():
                future.set_result(environment.built)
        else:
            environment.state = FAILED
            environment.error = _text_of(environment, error)
            if not future.done():
                future.set_exception(EnvironmentFailed(environment.error))
                future.exception()  # seen: those who waited may be gone
        if not self._closed:
            self.on_change()

    def use(self, key: str) -> None:
        """One more executor runs in it."""
        environment = self.all.get(key)
        if environment is not None:
            environment.users += 1

    def unuse(self, key: str) -> None:
        """One executor less."""
        environment = self.all.get(key)
        if environment is not None and environment.users:
            environment.users -= 1
            environment.unused_since = time.monotonic()

    def trim(self, now: float) -> None:
        """Remove what nobody has used for a while."""
        failed = [e for e in self.all.values() if e.state == FAILED]
        gone = failed[: max(0, len(failed) - _KEPT_FAILED)]
        gone += [
            e
            for e in self.all.values()
            if e.state == READY and not e.users and now - e.unused_since > _UNUSED_S
        ]
        for environment in gone:
            del self.all[environment.key]
            self._remove(environment)
        if gone:
            self.on_change()

    def _remove(self, environment: Environment) -> None:
        if environment.built is not None:
            environment.built.release()
            if not is_light(environment.spec):
                path = f"{self.directory}/{digest(environment.key)[:16]}"
                shutil.rmtree(path, ignore_errors=True)

    def rows(self) -> list[dict[str, Any]]:
        """All of them, for lists."""
        return [environment.row() for environment in self.all.values()]

    async def close(self) -> None:
        """Stop building and let go of everything."""
        self._closed = True
        for environment in self.all.values():
            environment.stop.set()
        if self._threads is not None:
            waiting = asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
            await asyncio.wait([waiting], timeout=2.0)
        for environment in self.all.values():
            if environment.built is not None:
                environment.built.release()
        shutil.rmtree(self.directory, ignore_errors=True)


class EnvironmentFailed(Exception):
    """An environment could not be built, and why."""


def _text_of(environment: Environment, error: BaseException) -> str:
    fields = ", ".join(sorted(environment.spec))
    return f"on node {os.uname().nodename}, of an environment with {fields}: {type(error).__name__}: {error}"
