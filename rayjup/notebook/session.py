"""What this kernel is connected to, and the plain Python twins of the magics.

A notebook that starts a cluster names it after itself, so that it finds the cluster again after
a kernel restart. The cluster lives on for ``linger_s`` seconds without a driver: long enough for
a restart, short enough that a closed notebook leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import os
import sys
import time
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from IPython.core.getipython import get_ipython

import rayjup
from rayjup import observe
from rayjup.cluster import descriptors, manager
from rayjup.cluster.descriptors import Descriptor
from rayjup.notebook import profiles
from rayjup.notebook.displays import ClusterDisplay
from rayjup.notebook.feed import DEFAULT_INTERVAL_S, FEED

DEFAULT_LINGER_S = 20.0


@dataclass(slots=True)
class Connection:
    """The cluster this kernel is on. ``started``: by this notebook, which may then stop it.

    ``options``: what `rayjup.init` was given besides the address, for connecting again.
    """

    name: str
    cluster_id: str
    descriptor: Descriptor | None
    started: bool
    options: dict[str, Any] = field(default_factory=dict)


_current: Connection | None = None


def ray_init(
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: int | None = None,
    address: str | None = None,
    name: str | None = None,
    linger_s: float | None = DEFAULT_LINGER_S,
    profile: str | None = None,
    adaptive: tuple[int, int] | None = None,
    as_ray: bool = False,
    **init_options: Any,
) -> ClusterDisplay:
    """Connect this notebook to a cluster, starting one if need be; says which.

    Running it again joins the same cluster again.

    Parameters
    ----------
    num_cpus, num_gpus, resources, labels, object_store_memory
        Size of the cluster if one is started (default: what the machine has); bytes of memory.
    address : str, optional
        Join the running cluster of this id, name or address; nothing is started.
    name : str, optional
        Join the cluster of this name, or start it under this name.
    linger_s : float or None
        Seconds the cluster lives on after its last driver has gone; None: until it is stopped.
    profile : str, optional
        Take what is not given here from the profile of this name (see `rayjup.notebook.profiles`).
    adaptive : (int, int), optional
        Least and most number of nodes: a cluster that is started has as many as it needs. They run on this
        machine, and each is as large as the first one.
    as_ray : bool
        Have ``import ray`` mean rayjup from now on, here and in tasks.
    **init_options
        Whatever else `rayjup.init` takes, such as ``namespace`` or ``runtime_env``.

    Returns
    -------
    ClusterDisplay
        Live in a notebook when it is the last expression of a cell.

    Raises
    ------
    ValueError
        When the options contradict each other, or there is no such profile.
    RuntimeError
        When this notebook is connected to another cluster than the one asked for.
    """
    if profile is not None:
        saved = profiles.load(profile, [*_OWN_OPTIONS, *_init_options()])
        own = {key: value for key, value in locals().items() if key in _OWN_OPTIONS}
        given_here = {key: value for key, value in own.items() if value != _OWN_OPTIONS[key]}
        return ray_init(**{**saved, **given_here, **init_options})
    options = InitOptions(
        {
            "num_cpus": num_cpus,
            "num_gpus": num_gpus,
            "resources": resources,
            "labels": labels,
            "object_store_memory": object_store_memory,
        },
        address,
        name,
        linger_s,
        init_options,
        adaptive,
    )
    options.check()
    began = time.monotonic()
    connection = _present_connection()
    if as_ray:
        _mean_rayjup(connection)
    if connection is not None:
        _check_same(connection, address, name)
        text = f"Joined cluster {connection.name!r} again: this notebook was already connected to it"
    else:
        connection, how = _connect(options)
        text = f"{how} {connection.name!r}"
    snapshot = _watch(connection)
    if not text.startswith("Started"):
        text += _ignored(options.given, options.sizes, snapshot)
    _say(f"{text} ({_size(snapshot)}; {time.monotonic() - began:.1f} s).")
    if text.startswith("Found"):
        alive = import_module("rayjup.notebook.keeping").survivors(snapshot)
        if alive:
            _say(alive)
    return ClusterDisplay(FEED, snapshot)


@dataclass(slots=True)
class InitOptions:
    """What `ray_init` was asked for."""

    sizes: dict[str, Any]
    address: str | None
    name: str | None
    linger_s: float | None
    init: dict[str, Any]
    adaptive: tuple[int, int] | None = None

    @property
    def given(self) -> list[str]:
        return [key for key, value in self.sizes.items() if value is not None]

    def check(self) -> None:
        """Raise for what cannot be meant."""
        if self.address is not None and (self.given or self.name is not None or self.adaptive):
            other = "name" if self.name is not None else [*self.given, "adaptive"][0]
            raise ValueError(
                f"address and {other} exclude each other: address={self.address!r} joins a running cluster "
                "as it is; drop one of them"
            )
        if self.linger_s is not None and not self.linger_s >= 0:
            raise ValueError(
                f"linger of {self.linger_s} s: must be 0 or more seconds; "
                "inf keeps the cluster until it is stopped"
            )
        if self.linger_s == math.inf:
            self.linger_s = None
        wrong = sorted(set(self.init) - set(_init_options()))
        if wrong:
            raise TypeError(
                f"ray_init() has no option {wrong[0]!r}; it has "
                f"{', '.join(sorted({*_OWN_OPTIONS, *_init_options()}))}"
            )


_OWN_OPTIONS: dict[str, Any] = {
    "num_cpus": None,
    "num_gpus": None,
    "resources": None,
    "labels": None,
    "object_store_memory": None,
    "address": None,
    "name": None,
    "linger_s": DEFAULT_LINGER_S,
    "adaptive": None,
    "as_ray": False,
}
"""The options of `ray_init` that a profile may set, with their defaults."""


def _init_options() -> list[str]:
    """What `rayjup.init` takes and `ray_init` only hands on."""
    ours = {*_OWN_OPTIONS, "kwargs", "ignore_reinit_error"}
    return [name for name in inspect.signature(rayjup.init).parameters if name not in ours]


def _mean_rayjup(connection: Connection | None) -> None:
    if "rayjup.as_ray" in sys.modules:
        return
    if connection is not None:
        raise RuntimeError(
            f"this notebook is connected to cluster {connection.name!r} already, whose tasks know no "
            "module `ray`: run %ray_shutdown, then %ray_init --as-ray"
        )
    import_module("rayjup.as_ray")


def ray_status(*, interval_s: float = DEFAULT_INTERVAL_S) -> ClusterDisplay:
    """The cluster this notebook is connected to, as a display that stays live.

    Parameters
    ----------
    interval_s : float
        Seconds between two updates, at least 0.25.

    Raises
    ------
    ConnectionError
        When this notebook isn't connected to a cluster, or the cluster is gone.
    """
    _, snapshot = watched()
    FEED.interval_s = interval_s
    return ClusterDisplay(FEED, snapshot)


def watched() -> tuple[Connection, Any]:
    """The connection and a snapshot of its cluster, which the displays' feed watches from now on.

    Raises
    ------
    ConnectionError
        When this notebook isn't connected to a cluster.
    """
    connection = _present_connection()
    if connection is None:
        raise ConnectionError("this notebook is connected to no cluster: run %ray_init first")
    return connection, _watch(connection)


def ray_shutdown() -> None:
    """Disconnect; stop the cluster if this notebook started it. The displays keep their last state."""
    global _current
    connection = _present_connection()
    if connection is None:
        _say("Not connected to a cluster: nothing to shut down.")
        return
    stops = connection.started and connection.descriptor is not None
    FEED.close("stopped" if stops else "left")
    _current = None
    rayjup.shutdown()
    if not stops:
        _say(f"Left cluster {connection.name!r}; it goes on running, since this notebook didn't start it.")
    elif manager.stop(connection.cluster_id):
        _say(f"Stopped cluster {connection.name!r}.")
    else:
        _say(f"Cluster {connection.name!r} had already stopped.")


# ---------------------------------------------------------------- connecting


def _connect(options: InitOptions) -> tuple[Connection, str]:
    global _current
    own_name = _notebook_name()
    address, init = options.address, options.init
    # A kernel on the cluster is told which one that is.
    wanted = address or options.name or os.environ.get("RAYJUP_ADDRESS") or own_name
    descriptor = descriptors.find(wanted) if wanted else None
    if descriptor is not None:
        rayjup.init(address=descriptor.cluster_id, **init)
        # The name of the notebook in the descriptor is how a restarted kernel knows its own cluster.
        ours = descriptor.name == own_name and descriptor.started_by == "notebook"
        how = "Found this notebook's cluster again and joined it:" if ours else "Joined cluster"
        _current = Connection(descriptor.name, descriptor.cluster_id, descriptor, ours, init)
        return _current, how
    if address is not None:
        rayjup.init(address=address, **init)
        _current = _adopt()
        return _current, "Joined cluster"
    descriptor = manager.start(
        options.name or own_name,
        **options.sizes,
        started_by="notebook",
        linger_s=options.linger_s,
        adaptive=options.adaptive,
    )
    try:
        rayjup.init(address=descriptor.cluster_id, **init)
    except BaseException:  # an interrupt too must not leave a cluster that nobody knows of
        manager.stop(descriptor.cluster_id)
        raise
    _current = Connection(descriptor.name, descriptor.cluster_id, descriptor, True, init)
    return _current, "Started cluster"


def _present_connection() -> Connection | None:
    """The connection of this kernel if it is in working order; leftovers of a dead one are removed."""
    global _current
    connection = _current
    if connection is not None and connection.descriptor is not None and not connection.descriptor.is_alive():
        _say(f"Cluster {connection.name!r} is gone.")
        FEED.close("gone")
        _current = connection = None
        rayjup.shutdown()
    if not rayjup.is_initialized():
        if connection is not None and connection.descriptor is not None:
            # Somebody called shutdown(): the cluster is still ours.
            rayjup.init(address=connection.cluster_id, **connection.options)
        else:
            _current = connection = None
    elif connection is None:
        _current = connection = _adopt()
    return connection


def _adopt() -> Connection:
    """Make the connection rayjup already has (by ``rayjup.init``) this notebook's own."""
    view = observe.current()
    if view is None:
        raise ConnectionError(
            "rayjup is initialized but has no cluster to watch: run rayjup.shutdown(), then %ray_init"
        )
    snapshot = view.snapshot()
    descriptor = descriptors.find(snapshot["cluster_id"])
    return Connection(snapshot["name"], snapshot["cluster_id"], descriptor, started=False)


def _watch(connection: Connection) -> Any:
    """A snapshot of the cluster, which the feed watches from now on."""
    if not FEED.watching:
        if connection.descriptor is not None:
            FEED.open(observe.ClusterView(connection.descriptor))
        else:
            view = observe.current()
            if view is None:
                raise ConnectionError(
                    f"cluster {connection.name!r} can't be watched: run %ray_shutdown, then %ray_init"
                )
            FEED.open(view)
    return FEED.snapshot()


# ---------------------------------------------------------------- what is said and checked


def _check_same(connection: Connection, address: str | None, name: str | None) -> None:
    wanted = address or name
    known = {connection.name, connection.cluster_id}
    if connection.descriptor is not None:
        known.add(connection.descriptor.address)
    if wanted is not None and wanted not in known and connection.descriptor is not None:
        raise RuntimeError(
            f"this notebook is connected to cluster {connection.name!r}, not to {wanted!r}: "
            "a notebook has one cluster at a time; run %ray_shutdown first"
        )


def _ignored(given: list[str], sizes: dict[str, Any], snapshot: Any) -> str:
    """A sentence on the sizes asked for that the running cluster hasn't."""
    total = snapshot.get("resources_total") or {}
    has = {"num_cpus": total.get("CPU", 0), "num_gpus": total.get("GPU", 0)}
    differing = [key for key in given if key not in has or float(sizes[key]) != float(has[key])]
    if not differing:
        return ""
    return (
        f"; {', '.join(differing)} not applied to a running cluster, run %ray_shutdown first to change that"
    )


def _size(snapshot: Any) -> str:
    total = snapshot.get("resources_total") or {}
    counts = {
        "node": len(snapshot.get("nodes") or []),
        "CPU": total.get("CPU", 0),
        "GPU": total.get("GPU", 0),
    }
    parts = [f"{n:g} {what}{'' if n == 1 else 's'}" for what, n in counts.items() if n or what == "CPU"]
    return ", ".join(parts)


def _notebook_name() -> str | None:
    """A name that is the same for every kernel of this notebook; None where the front end tells none."""
    path = os.environ.get("JPY_SESSION_NAME")
    shell = get_ipython()
    if not path and shell is not None:
        path = shell.user_ns.get("__vsc_ipynb_file__")
    if not path:
        return None
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:6]
    return f"{Path(path).stem}-{digest}"


def _say(text: str) -> None:
    print(text)  # noqa: T201 - what a cell says is its output
