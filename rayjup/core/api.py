"""``init``, ``get``, ``put``, ``wait`` and their kin."""

from __future__ import annotations

import atexit
import copy
import inspect
import json
import os
import shlex
import sys
import uuid
import warnings
from collections.abc import Sequence
from typing import Any

from rayjup.base import checks, notebook
from rayjup.base.logging_config import LoggingConfig
from rayjup.base.options import ActorOptions, TaskOptions
from rayjup.base.runtime_env import RuntimeEnv, merged
from rayjup.base.tensors import transport_of
from rayjup.cluster import dashboards, descriptors, gateway, joining, manager
from rayjup.core import cells, driver_logs, environments
from rayjup.core import session as sessions
from rayjup.core.actor import ActorClass, ActorHandle
from rayjup.core.context import RayContext
from rayjup.core.environments import Environments
from rayjup.core.job_config import JobConfig
from rayjup.core.remote_function import RemoteFunction
from rayjup.core.system_config import settings_of
from rayjup.engine.executor import executor as executing
from rayjup.engine.executor import logs
from rayjup.engine.lane import reactor
from rayjup.engine.node.environment_cache import packages_dir
from rayjup.engine.ownership.object_ref import ObjectRef
from rayjup.engine.runtime.runtime import Runtime
from rayjup.engine.runtime.streams import ObjectRefGenerator


def init(
    address: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: int | None = None,
    local_mode: bool = False,
    ignore_reinit_error: bool = False,
    include_dashboard: bool | None = None,
    dashboard_host: str = "127.0.0.1",
    dashboard_port: int | None = None,
    job_config: Any = None,
    configure_logging: bool = True,
    logging_level: Any = "info",
    logging_format: str | None = None,
    logging_config: Any = None,
    log_to_driver: bool = True,
    namespace: str | None = None,
    runtime_env: dict[str, Any] | RuntimeEnv | None = None,
    **kwargs: Any,
) -> RayContext:
    """Connect to a cluster, or start one on this machine.

    Parameters
    ----------
    address
        None or ``"local"``: start a cluster that ends with this program (None first looks at the
        environment variables RAYJUP_ADDRESS and RAY_ADDRESS). ``"auto"``: the newest running
        cluster. The name or id of a running cluster. ``tcp://…`` or ``tls://…``: the Dask
        scheduler of a Dask cluster, which becomes a rayjup cluster.
    num_cpus, num_gpus, resources, object_store_memory
        What the new cluster's node offers; found out where None. Bytes for memory.
    labels
        Labels of the new cluster's node, for the option ``label_selector``.
    ignore_reinit_error
        Do nothing, instead of raising, when this process is connected already.
    include_dashboard, dashboard_host, dashboard_port
        True: start the cluster's REST server now (port 8265, or the next that is free); it is started
        when first needed otherwise.
    job_config
        A :class:`rayjup.job_config.JobConfig` (or a dict for its ``from_json``): namespace, runtime
        environment, import paths and the default lifetime of actors. What is given here as well wins.
    logging_config
        A :class:`rayjup.LoggingConfig`: how this process and all tasks and actors log.
    namespace
        For named actors; a new one where None.
    log_to_driver
        Whether what tasks print appears here.
    runtime_env
        The environment of all tasks and actors of this program; see :mod:`rayjup.runtime_env`.
    **kwargs
        ``_object_spilling_directory``: where the new cluster puts objects for which there is no memory.
        ``_plasma_directory``: where it keeps them otherwise. ``_system_config``: a dict of settings,
        see :mod:`rayjup.core.system_config`. ``adaptive=(least, most)``: the new cluster has as many nodes
        on this machine as it needs, each as large as the first one (not in Ray).

    Returns
    -------
    RayContext
        Also a context manager that disconnects at its end.

    Raises
    ------
    RuntimeError
        Connected already (and not ``ignore_reinit_error``); or ``local_mode``, which Ray has no more.
    ConnectionError
        There is no such cluster.
    ValueError
        Options of a new cluster given together with an ``address``.

    Examples
    --------
    >>> import rayjup as ray
    >>> context = ray.init(num_cpus=2, ignore_reinit_error=True)
    >>> ray.is_initialized()
    True
    """
    adaptive = kwargs.pop("adaptive", None)
    for name in sorted(set(_WITHOUT_EFFECT) & set(kwargs)):
        del kwargs[name]
        warnings.warn(
            f"init({name}=…) has no effect: {_WITHOUT_EFFECT[name]}. Leave it out.",
            DeprecationWarning,
            stacklevel=2,
        )
    private = {name: value for name, value in kwargs.items() if name.startswith("_")}
    unknown = sorted(set(kwargs) - set(private) - _LATER)
    if unknown:
        names = [n for n in inspect.signature(init).parameters if n != "kwargs"]
        raise RuntimeError(
            f"Unknown keyword argument(s) to init(): {', '.join(unknown)}. It takes: {', '.join(names)}."
        )
    _check_amounts(num_cpus=num_cpus, num_gpus=num_gpus, object_store_memory=object_store_memory)
    _check_resources(resources)
    settings = settings_of(private)
    for name, value, kind in (
        ("address", address, str),
        ("namespace", namespace, str),
    ):
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"init({name}=…) must be a {kind.__name__}, not {type(value).__name__}")
    if local_mode:
        raise RuntimeError(
            "init(local_mode=True) is gone from Ray, and rayjup has not got it either. To debug a function "
            "in this process, keep the plain one and call it: write remote = ray.remote(function) beside it."
        )
    job = _job_config(job_config, logging_config)
    if runtime_env is not None and SUBMITTED_ENV in os.environ and job_config is None:
        runtime_env = merged(job.runtime_env, runtime_env)  # the job's own, and what its program adds
    wanted = environments.for_job(runtime_env if runtime_env is not None else job.runtime_env)
    session = sessions.own()
    if session is not None and not session.runtime.closed:
        if ignore_reinit_error:
            return RayContext(session)
        raise RuntimeError(
            "ray.init() was called twice: this process is connected already. Call ray.shutdown() first, or "
            "pass ignore_reinit_error=True to keep the connection there is."
        )
    if job.py_logging_config is not None:
        job.py_logging_config.apply(_log_context)
    namespace = namespace or job.ray_namespace
    runtime_env = runtime_env if runtime_env is not None else job.runtime_env or None
    given = (
        address if address is not None else os.environ.get("RAYJUP_ADDRESS") or os.environ.get("RAY_ADDRESS")
    )
    owned = given in (None, "", "local")
    if not owned:
        clash = [
            name
            for name, value in (
                ("num_cpus", num_cpus),
                ("num_gpus", num_gpus),
                ("resources", resources),
                ("object_store_memory", object_store_memory),
                ("labels", labels),
                ("adaptive", adaptive),
            )
            if value is not None
        ]
        if clash and address is not None:
            raise ValueError(
                f"{' and '.join(clash)} cannot be set for a cluster that runs already: "
                "it has what it has. Leave them out, or leave out the address to start one."
            )
    if owned:
        cluster = manager.start(
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            resources=resources,
            object_store_memory=object_store_memory,
            memory=private.get("_memory"),
            labels=checks.node_labels("labels", labels or {}),
            settings=settings,
            linger_s=0.0,
            adaptive=adaptive,
        )
    else:
        assert given is not None
        cluster = _find(given)
    try:
        session = _connect(cluster, owned, namespace, log_to_driver, wanted, job)
        if include_dashboard:
            dashboards.start(cluster, dashboard_port, dashboard_host)
    except BaseException:
        if owned:
            manager.stop(cluster)
        raise
    return RayContext(session)


SUBMITTED_ENV = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""The variable in which a submitted program finds the configuration of its job."""

_WITHOUT_EFFECT = {
    "driver_object_store_memory": "drivers have no part of the object store to themselves",
}
"""What programs for Ray below 1.0 pass, and Ray refuses since."""

_LATER = {
    "enable_resource_isolation",
    "cgroup_path",
    "system_reserved_cpu",
    "system_reserved_memory",
    "proxy_server_url",
}


def _job_config(job_config: Any, logging_config: Any) -> JobConfig:
    if isinstance(job_config, dict):
        job_config = JobConfig.from_json(job_config)
    for name, value, kind in (
        ("job_config", job_config, JobConfig),
        ("logging_config", logging_config, LoggingConfig),
    ):
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"init({name}=…) must be a {kind.__name__}, not {type(value).__name__}")
    if job_config is None and (told := os.environ.get(SUBMITTED_ENV)):
        job_config = JobConfig.from_json(json.loads(told))
    job = copy.copy(job_config) if job_config is not None else JobConfig()
    if logging_config is not None:
        job.set_py_logging_config(logging_config)
    return job


def _log_context() -> dict[str, str]:
    session = sessions._session
    if session is None or session.runtime.closed:
        return {}
    return logs.process_context(session.runtime)


def _check_resources(resources: Any) -> None:
    if resources is not None and not isinstance(resources, dict):
        raise TypeError(
            f"init(resources=…) must be a dict of names and amounts, not {type(resources).__name__}, "
            'for example {"license": 2}'
        )
    for name, amount in (resources or {}).items():
        if name in ("CPU", "GPU", "memory", "object_store_memory"):
            option = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "_memory"}.get(name, name)
            raise ValueError(f"init(resources={{{name!r}: …}}) is not allowed: use {option}=… instead.")
        if isinstance(amount, bool) or not isinstance(amount, (int, float)):
            raise TypeError(f"init(resources={{{name!r}: …}}) must be a number, not {type(amount).__name__}")
        if amount < 0:
            raise ValueError(f"init(resources={{{name!r}: {amount}}}) must not be negative")


def _check_amounts(**amounts: Any) -> None:
    for name, value in amounts.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"init({name}=…) must be a number, not {type(value).__name__}")
        if value < 0:
            raise ValueError(f"init({name}={value}) must not be negative")


def _find(address: str) -> Any:
    if address == "auto":
        clusters = descriptors.list_clusters()
        if not clusters:
            raise ConnectionError(
                "Could not find any running cluster to connect to. Start one with rayjup.init() (without an "
                "address), in the JupyterLab side panel, or give the address of a Dask scheduler."
            )
        return clusters[-1]
    found = descriptors.find(address)
    if found is not None:
        return found
    for descriptor in descriptors.list_clusters():
        if address in descriptor.names:
            return descriptor
    address = gateway.address_of(address) or address
    if "://" in address or _is_host_port(address):
        return joining.join(address)
    known = ", ".join(d.name for d in descriptors.list_clusters()) or "none"
    raise ConnectionError(
        f"there is no running cluster named {address!r} (running: {known}). Give a name or id from that "
        "list, 'auto', or the address of a Dask scheduler such as 'tcp://host:8786'."
    )


def _is_host_port(address: str) -> bool:
    host, colon, port = address.rpartition(":")
    return bool(host) and bool(colon) and port.isdigit()


def _connect(
    cluster: Any,
    owned: bool,
    namespace: str | None,
    log_to_driver: bool,
    wanted: Environments,
    config: JobConfig,
) -> sessions.Session:
    namespace = namespace or str(uuid.uuid4())
    job = {
        "namespace": namespace,
        "as_ray": "rayjup.as_ray" in sys.modules,
        "sys_path": list(dict.fromkeys([*config.import_paths(), *_paths()])),
        "python_path": _listed(os.environ.get("PYTHONPATH", "")),
        "cwd": os.getcwd(),
        "log_to_driver": log_to_driver,
        "log_lines_per_s": notebook.lines_per_s,
        "entrypoint": shlex.join(sys.orig_argv),
        "environment": wanted.own_key,
        "eager": wanted.own.get("config", {}).get("eager_install", True),
        "packages": packages_dir(),
    }
    detached = config.default_actor_lifetime == "detached"
    job |= {"metadata": config.metadata, "detached": detached}
    logging_config = config.py_logging_config
    if logging_config is not None:
        job["logging"] = logging_config.to_dict()
    try:
        runtime = Runtime("driver", cluster.agent_socket, b"\0\0\0\0", job)
    except OSError as error:
        raise ConnectionError(
            f"the cluster {cluster.name} does not answer at {cluster.agent_socket}: {error}. "
            "It may just have ended; rayjup.init() without an address starts a new one."
        ) from error
    session = sessions.Session(runtime, namespace, cluster, owned, extra={"environments": wanted})
    session.detached = detached
    runtime.reactor.shield()
    receiver = driver_logs.Receiver(as_they_are=logging_config is not None)
    runtime.link.on["log"] = session.extra["logs"] = receiver
    runtime.link.on["warning"] = _warn
    cells.connected(runtime)
    sessions.set_current(session)
    runtime.reactor.start_background()
    runtime.link.hear_early()
    return session


def _warn(text: str) -> None:
    sys.stderr.write(f"(rayjup) {text}\n")
    sys.stderr.flush()


def _paths() -> list[str]:
    """The import paths executors need besides their own: where the driver's script and directory are."""
    paths = [p or os.getcwd() for p in sys.path[:1]]
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if main:
        paths.insert(0, os.path.dirname(os.path.abspath(main)))
    return list(dict.fromkeys(p for p in paths if os.path.isdir(p)))


def _listed(paths: str) -> list[str]:
    return list(dict.fromkeys(p for p in paths.split(os.pathsep) if os.path.isdir(p)))


def shutdown(_exiting_interpreter: bool = False) -> None:
    """Disconnect; a cluster that ``init`` started ends. Does nothing when not connected.

    Examples
    --------
    >>> import rayjup as ray
    >>> ray.shutdown()
    >>> ray.is_initialized()
    False
    """
    session = sessions._session
    if session is None or session.runtime.pid != os.getpid():
        sessions.set_current(None)
        return
    sessions.set_current(None)
    session.runtime.settle_logs()
    session.runtime.close()
    session.extra["logs"].close()
    view = session.extra.pop("view", None)
    if view is not None:
        view.close()
    environments.of(session).close()
    if session.owned:
        manager.stop(session.cluster)


atexit.register(shutdown, True)


def is_initialized() -> bool:
    """Whether this process is connected to a cluster."""
    session = sessions.own()
    if session is None:
        running = executing.executor
        return running is not None and running.runtime.pid == os.getpid()
    return not session.runtime.closed


def remote(*args: Any, **kwargs: Any) -> Any:
    """Make a function or class remote, as ``@remote`` or ``@remote(option=value, …)``.

    Examples
    --------
    >>> import rayjup as ray
    >>> @ray.remote
    ... def square(x):
    ...     return x * x
    >>> ray.get(square.remote(4))
    16
    >>> @ray.remote(num_cpus=0)
    ... class Counter:
    ...     def __init__(self):
    ...         self.n = 0
    ...     def add(self):
    ...         self.n += 1
    ...         return self.n
    >>> counter = Counter.remote()
    >>> ray.get(counter.add.remote())
    1
    """
    if len(args) == 1 and not kwargs and callable(args[0]):
        return _make_remote(args[0], {})
    if args or not kwargs:
        raise TypeError(
            "@ray.remote takes a function or class and nothing else (@ray.remote), or options by keyword "
            "(@ray.remote(num_cpus=2)). Give the options their names."
        )
    return lambda target: _make_remote(target, kwargs)


def _make_remote(target: Any, options: dict[str, Any]) -> RemoteFunction | ActorClass:
    if isinstance(target, (RemoteFunction, ActorClass)):
        raise TypeError(f"{target!r} is remote already: apply @ray.remote once.")
    if inspect.isclass(target):
        return ActorClass(target, ActorOptions.parse(**options))
    if inspect.isfunction(target) or callable(target):
        return RemoteFunction(target, TaskOptions.parse(**options))
    raise TypeError(f"@ray.remote is for functions and classes, not for {type(target).__name__} objects.")


def get(object_refs: Any, *, timeout: float | None = None, _use_object_store: bool = False) -> Any:
    """The value of a ref, or of each in a list.

    Arrays come back read-only and without a copy where they lie in the object store.

    Parameters
    ----------
    object_refs
        An ObjectRef or a list of them.
    timeout
        Seconds to wait at most; 0 only looks.

    Raises
    ------
    GetTimeoutError
        Not all values were there in time.
    RayTaskError
        The task raised; also an instance of the class of what it raised.

    Examples
    --------
    >>> import rayjup as ray
    >>> ray.get([ray.put(1), ray.put(2)])
    [1, 2]
    """
    if type(object_refs) is ObjectRef:
        session = sessions._session
        if session is None or session.runtime.closed:
            session = sessions.require()
        return session.runtime.get(object_refs, timeout)
    session = sessions.require()
    if isinstance(object_refs, ObjectRef):
        return session.runtime.get(object_refs, timeout)
    if not isinstance(object_refs, (list, tuple)):
        if hasattr(object_refs, "__rayjup_get__"):
            return object_refs.__rayjup_get__(timeout)
        raise ValueError(
            f"get() was given {type(object_refs)}: it takes an ObjectRef or a list of ObjectRefs, as "
            ".remote() and put() return them."
        )
    for ref in object_refs:
        if type(ref) is not ObjectRef:
            if all(hasattr(other, "__rayjup_get__") for other in object_refs):
                return [other.__rayjup_get__(timeout) for other in object_refs]
            raise ValueError(
                f"Invalid type of object ref, {type(ref)}, is given in the list: get() takes ObjectRefs, "
                "as .remote() and put() return them."
            )
    return session.runtime.get_many(object_refs, timeout)


def put(value: Any, *, _owner: Any = None, _tensor_transport: str | None = None) -> ObjectRef:
    """Store a value in the object store of this node.

    With ``_tensor_transport`` the tensors of torch inside it stay where they are until another process
    reads the value; see :func:`rayjup.method`.

    Raises
    ------
    TypeError
        For a ref (it is stored already), or a value that cannot be serialized.
    ObjectStoreFullError
        There is no room.

    Examples
    --------
    >>> import rayjup as ray
    >>> ray.get(ray.put({"a": 1}))
    {'a': 1}
    """
    session = sessions._session
    if session is None or session.runtime.closed:
        session = sessions.require()
    if isinstance(value, ObjectRef):
        raise TypeError(
            "put() was given an ObjectRef, whose value is stored already: pass the ref itself on, or put a "
            "list that holds it."
        )
    ref = session.runtime.put(value, _tensor_transport and transport_of(_tensor_transport))
    if reactor.postponed:
        reactor.deliver()
    return ref


def wait(
    object_refs: Sequence[ObjectRef],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[ObjectRef], list[ObjectRef]]:
    """Wait until ``num_returns`` of the refs have their value, or ``timeout`` seconds have passed.

    Returns
    -------
    ready, not_ready
        Lists in the order given; ``ready`` has at most ``num_returns`` refs.

    Examples
    --------
    >>> import rayjup as ray
    >>> ready, others = ray.wait([ray.put(1), ray.put(2)])
    >>> len(ready), len(others)
    (1, 1)
    """
    session = sessions.require()
    if isinstance(object_refs, (ObjectRef, ObjectRefGenerator)):
        raise TypeError("wait() takes a list of ObjectRefs, not a single one: write wait([ref])")
    if not isinstance(object_refs, (list, tuple)):
        raise TypeError(f"wait() takes a list of ObjectRefs, not {type(object_refs)}")
    refs = list(object_refs)
    kinds = set(map(type, refs))
    if kinds - {ObjectRef, ObjectRefGenerator}:
        wrong = next(kind for kind in kinds if kind not in (ObjectRef, ObjectRefGenerator))
        raise TypeError(f"wait() takes a list of ObjectRefs; this one also holds {wrong}")
    if timeout is not None and timeout < 0:
        raise ValueError(f"wait(timeout={timeout}): seconds to wait cannot be negative")
    if not refs:
        return [], []
    if len(set(map(id, refs))) != len(refs):  # there is one ref per object in a process
        raise ValueError(
            "wait() was given the same ref twice: each may be there once, give a list of unique refs"
        )
    if num_returns <= 0:
        raise ValueError(f"wait(num_returns={num_returns}) must be at least 1")
    if num_returns > len(refs):
        raise ValueError(f"wait(num_returns={num_returns}) wants more than the {len(refs)} refs it was given")
    return session.runtime.wait(refs, num_returns, timeout)


def cancel(ref: ObjectRef, *, force: bool = False, recursive: bool = True) -> None:
    """Cancel the task or actor call that makes ``ref``; ``get`` then raises TaskCancelledError.

    A call that has not started never will; a running one is interrupted (``KeyboardInterrupt``
    in tasks, ``asyncio.CancelledError`` in async actors). ``force`` ends the process of a task.
    """
    session = sessions.require()
    if isinstance(ref, ObjectRefGenerator):
        ref = ref.completed()
    if not isinstance(ref, ObjectRef):
        raise TypeError(f"cancel() takes the ObjectRef of a call, not {type(ref)}; ray.kill() ends an actor.")
    task = ref._task
    if force and task is not None and task.pool is None:
        raise ValueError("force=True is not supported for actor tasks: use ray.kill() to end the actor.")
    session.runtime.tasks.cancel(ref, force, recursive)


def kill(actor: ActorHandle, *, no_restart: bool = True) -> None:
    """End an actor at once; unanswered calls get an ActorDiedError.

    With ``no_restart=False`` an actor with ``max_restarts`` is made again.
    """
    session = sessions.require()
    if not isinstance(actor, ActorHandle):
        raise ValueError(f"kill() takes the handle of an actor, not {type(actor)}; ray.cancel() ends a task.")
    session.runtime.actors.kill(actor._id, no_restart)


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """A handle to the named actor.

    Raises
    ------
    ValueError
        There is none of this name in the namespace.
    """
    session = sessions.require()
    if not name:
        raise ValueError("get_actor() needs the name of an actor, not an empty string")
    found = session.runtime.link.request("get_actor", namespace or session.namespace, name)
    return ActorHandle(found["actor_id"], found["meta"], None)


def nodes() -> list[dict[str, Any]]:
    """The nodes of the cluster, living ones first."""
    rows: list[dict[str, Any]] = sessions.connected().runtime.link.request("nodes")
    return rows


def cluster_resources() -> dict[str, float]:
    """What the living nodes offer in all."""
    total: dict[str, float] = sessions.connected().runtime.link.request("cluster_resources")
    return total


def available_resources() -> dict[str, float]:
    """What is free now in all."""
    runtime = sessions.connected().runtime
    runtime.tasks.release_idle()
    free: dict[str, float] = runtime.link.request("available_resources")
    return {name: amount for name, amount in free.items() if amount > 0}
