"""The environments of a node: each is built once, in a thread, however many wait for it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.base.runtime_env import SETUP_TIMEOUT_S, digest
from rayjup.engine.node import environment_cache as cache
from rayjup.engine.node.environment_build import Build, Built, is_light, light

if TYPE_CHECKING:
    from rayjup.engine.node.packages import Packages

_UNUSED_S = 60.0  # what nobody uses is kept so long: its files are unpacked already
_KEPT_FAILED = 100
_THREADS = 4  # so many are built at once
_END_S = 1.0  # what is being built is given so long to end its tools

BUILDING, READY, FAILED = "BUILDING", "READY", "FAILED"


class Environment:
    """One environment on this node."""

    def __init__(self, key: str, job_id: bytes = b"") -> None:
        self.key = key
        self.job_id = job_id  # of who asked first
        self.spec: dict[str, Any] = json.loads(key) if key else {}
        self.state = BUILDING
        self.since = time.time()
        self.took_ms = 0
        self.error = ""
        self.built: Built | None = None
        self.future: asyncio.Future[Built] | None = None
        self.stop = threading.Event()
        self.directory = ""
        self.users = 0
        self.unused_since = time.monotonic()

    def row(self) -> dict[str, Any]:
        """For lists of environments."""
        return {
            "runtime_env": self.spec,
            "job_id": self.job_id.hex(),
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
    packages
        Has packages fetched that are not on this machine.
    """

    def __init__(
        self, directory: str, log_dir: str, on_change: Callable[[], None], packages: Packages
    ) -> None:
        self.directory = directory
        self.log_dir = log_dir
        self.on_change = on_change
        self.packages = packages
        self.all: dict[str, Environment] = {}
        self._threads: set[threading.Thread] = set()
        self._at_once = threading.BoundedSemaphore(_THREADS)
        self._closed = False
        self._numbers = itertools.count(1)
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

    def build(self, key: str, job_id: bytes) -> asyncio.Future[Built]:
        """Build it, or wait for whoever does; fails with the reason as text."""
        known = self.all.get(key)
        if known is not None and known.state == BUILDING:
            assert known.future is not None
            return known.future
        environment = Environment(key, job_id)
        environment.users = known.users if known is not None else 0
        environment.directory = f"{self.directory}/{digest(key)[:16]}-{next(self._numbers)}"
        self.all[key] = environment
        loop = asyncio.get_running_loop()
        future = environment.future = loop.create_future()
        seconds = environment.spec.get("config", {}).get("setup_timeout_seconds", SETUP_TIMEOUT_S)
        if seconds > 0:
            late = loop.call_later(seconds, self._expire, environment, seconds)
            future.add_done_callback(lambda _: late.cancel())
        # A thread of its own, not of a pool: nobody has to wait at the end for one that reads from a network.
        packages = self.packages.place_of(job_id)
        thread = threading.Thread(
            target=self._run, args=(environment, packages, loop), name="rayjup-environment", daemon=True
        )
        self._threads.add(thread)
        thread.start()
        self.on_change()
        return future

    def _run(self, environment: Environment, packages: str, loop: asyncio.AbstractEventLoop) -> None:
        built, error = None, None
        try:
            with self._at_once:
                built = self._work(environment, packages)
        except BaseException as problem:  # noqa: BLE001 - whoever waits for the environment gets it
            error = problem
        try:
            loop.call_soon_threadsafe(self._ended, environment, built, error)
        except RuntimeError:
            pass  # the node has ended
        self._threads.discard(threading.current_thread())

    def _expire(self, environment: Environment, seconds: float) -> None:
        """The time is over; the thread may notice it only later, if it waits for somebody else."""
        environment.stop.set()
        error = cache.SetupStopped(
            f"it was not built within {seconds} s. Raise config.setup_timeout_seconds, or look into the logs "
            f"in {self.log_dir}."
        )
        self._failed(environment, error)

    def _work(self, environment: Environment, packages: str) -> Built:
        def check() -> None:
            if environment.stop.is_set():
                raise cache.SetupStopped("it was given up")

        name = digest(environment.key)[:16]
        log_path = f"{self.log_dir}/runtime_env_setup-{name}.log"
        places = tuple(dict.fromkeys(p for p in (cache.packages_dir(), packages) if p))
        fetch = self.packages.fetch
        build = Build(environment.spec, environment.directory, places, check, log_path, fetch)
        built = build.run()
        cache.trim()
        return built

    def _ended(self, environment: Environment, built: Built | None, error: BaseException | None) -> None:
        environment.built = built
        if built is None:
            assert error is not None
            self._failed(environment, error)
        elif environment.state != BUILDING:  # given up meanwhile
            self._remove(environment)
        else:
            self._settle(environment, READY)
            assert environment.future is not None
            environment.future.set_result(built)

    def _failed(self, environment: Environment, error: BaseException) -> None:
        if environment.state != BUILDING:
            return
        environment.error = _text_of(environment, error)
        self._settle(environment, FAILED)
        assert environment.future is not None
        environment.future.set_exception(EnvironmentFailed(environment.error))
        environment.future.exception()  # seen: those who waited may be gone

    def _settle(self, environment: Environment, state: str) -> None:
        environment.state = state
        environment.took_ms = int((time.time() - environment.since) * 1000)
        environment.unused_since = time.monotonic()
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
        if environment.directory:
            shutil.rmtree(environment.directory, ignore_errors=True)

    def rows(self) -> list[dict[str, Any]]:
        """All of them, for lists."""
        return [environment.row() for environment in self.all.values()]

    async def close(self) -> None:
        """Stop building and let go of everything."""
        self._closed = True
        for environment in self.all.values():
            environment.stop.set()
        deadline = time.monotonic() + _END_S
        while self._threads and time.monotonic() < deadline:  # noqa: ASYNC110 - threads set no events
            await asyncio.sleep(0.01)
        for environment in self.all.values():
            if environment.built is not None:
                environment.built.release()
        shutil.rmtree(self.directory, ignore_errors=True)


class EnvironmentFailed(Exception):
    """An environment could not be built, and why."""


def _text_of(environment: Environment, error: BaseException) -> str:
    fields = ", ".join(sorted(environment.spec))
    return f"on node {os.uname().nodename}, of an environment with {fields}: {type(error).__name__}: {error}"
