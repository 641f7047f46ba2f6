"""The runtime environment of what is submitted here: checked, packed, and merged over this process's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import cloudpickle

from rayjup.base.runtime_env import RuntimeEnv, checked, key_of, merged
from rayjup.base.runtime_env_fields import ARCHIVES, WHEEL, scheme_of
from rayjup.core import packing, session
from rayjup.engine.node.environment_cache import Held


class Environments:
    """What this process knows of environments: its own, and what it has packed for others.

    Parameters
    ----------
    own
        The environment in which this process runs, resolved; children inherit it.
    """

    def __init__(self, own: Mapping[str, Any] | None = None) -> None:
        self.own = dict(own or {})
        self.own_key = key_of(self.own)
        self._packed: dict[tuple[Any, ...], tuple[packing.Signature, str]] = {}
        self._hooks: dict[int, tuple[Any, str]] = {}
        self._held: dict[str, Held] = {}

    def adopt(self, given: RuntimeEnv | None) -> None:
        """Take a job's environment, as given to ``init``, for this process's own."""
        self.own = self.resolve(given) if given else {}
        self.own_key = key_of(self.own)

    def key(self, given: RuntimeEnv | None) -> str:
        """The key for a task or actor with the option ``runtime_env=given``."""
        if not given:
            return self.own_key
        return key_of(merged(self.own, self.resolve(given)))

    def resolve(self, given: RuntimeEnv) -> dict[str, Any]:
        """The environment with all that lies on this machine replaced by URIs.

        Raises
        ------
        ValueError
            Something is too large.
        """
        out = dict(given)
        excludes = given.get("excludes") or []
        directory = given.get("working_dir")
        if directory and not scheme_of(directory):
            out["working_dir"] = self._pack(directory, excludes, "")
        if "py_modules" in given:
            out["py_modules"] = [
                item if scheme_of(item) else self._pack_module(item, excludes) for item in given["py_modules"]
            ]
        hook = given.get("worker_process_setup_hook")
        if callable(hook):
            out["worker_process_setup_hook"] = self._pack_hook(hook)
        return out

    def _pack_module(self, path: str, excludes: list[str]) -> str:
        inside = f"{os.path.basename(path)}/" if os.path.isdir(path) else ""
        return self._pack(path, excludes, inside)

    def _pack(self, path: str, excludes: list[str], inside: str) -> str:
        """The URI of what lies at ``path`` now; it is read again only when a file has changed."""
        entries = packing.entries_of(path, excludes, inside)
        signature = packing.signature(entries)
        key = (path, tuple(excludes), inside)
        known = self._packed.get(key)
        if known is not None and known[0] == signature:
            return known[1]
        as_it_is = os.path.isfile(path) and path.endswith((*ARCHIVES, WHEEL))
        uri = self._keep(packing.store_file(path) if as_it_is else packing.pack(entries))
        self._packed[key] = (signature, uri)
        return uri

    def _pack_hook(self, hook: Any) -> str:
        known = self._hooks.get(id(hook))
        if known is None:
            try:
                data = cloudpickle.dumps(hook)
            except Exception as error:  # whatever the pickling of captured values raises
                raise TypeError(
                    f"runtime_env['worker_process_setup_hook']: {hook!r} cannot be sent to other processes: "
                    f"{error}. Put it into a module and give its import path."
                ) from error
            known = self._hooks[id(hook)] = (hook, self._keep(packing.store_bytes(data, ".pkl")))
        return known[1]

    def _keep(self, stored: tuple[str, Held]) -> str:
        uri, held = stored
        if uri in self._held:
            held.release()
        else:
            self._held[uri] = held
        return uri

    def close(self) -> None:
        """Let go of the packages."""
        for held in self._held.values():
            held.release()
        self._held.clear()


def of(current: session.Session) -> Environments:
    """The environments of a session."""
    found: Environments | None = current.extra.get("environments")
    if found is None:
        text = current.extra.get("environment", "")
        found = current.extra["environments"] = Environments(json.loads(text) if text else None)
    return found


def for_job(given: Any) -> Environments:
    """The environments of a driver whose job runs in ``given``."""
    environments = Environments()
    environments.adopt(checked("runtime_env", given) if given else None)
    return environments
