"""A Dask scheduler that makes every task of a graph a task of the cluster.

Values stay in the object store and go from task to task by reference.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import dask
from dask._task_spec import Alias, DataNode, Task, _execute_subgraph, convert_legacy_graph
from dask.callbacks import local_callbacks, unpack_callbacks
from dask.order import order
from dask.utils import ensure_dict

import rayjup as ray
from rayjup.util.dask.callbacks import local_ray_callbacks, unpack_ray_callbacks

_LARGE = 100 * 1024
_FOR_OTHERS = {"num_workers", "pool", "optimize_graph", "traverse", "cache", "rerun_exceptions_locally"}
"""Options of other Dask schedulers, without a meaning here."""


def ray_dask_get(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """Execute a Dask graph: ``x.compute(scheduler=ray_dask_get)``.

    Parameters
    ----------
    dsk
        The graph.
    keys
        Wanted results, in lists of lists of any depth.
    ray_callbacks
        RayDaskCallback objects to use instead of the registered ones.
    ray_persist
        Whether to give ObjectRefs instead of values, without waiting.
    ray_remote_args
        Options of the tasks, such as ``{"num_cpus": 2}``; ``dask.annotate(ray_remote_args=…)`` sets them
        for single layers.

    Returns
    -------
    tuple
        The values, in the shape of ``keys``.

    Examples
    --------
    >>> import dask
    >>> from rayjup.util.dask import ray_dask_get
    >>> dask.delayed(sum)([1, 2, 3]).compute(scheduler=ray_dask_get)
    6
    """
    persist = kwargs.pop("ray_persist", False) or kwargs.pop("_ray_persist", False)
    remote_args = kwargs.pop("ray_remote_args", None) or {}
    ray_callbacks = kwargs.pop("ray_callbacks", None)
    dask_callbacks = kwargs.pop("callbacks", None)
    unknown = sorted(set(kwargs) - _FOR_OTHERS)
    if unknown:
        raise TypeError(
            f"ray_dask_get() got unexpected keyword argument(s) {', '.join(unknown)}: "
            "it takes ray_callbacks, ray_persist and ray_remote_args."
        )
    graph, annotated = _graph(dsk)
    with local_ray_callbacks(ray_callbacks) as active, local_callbacks(dask_callbacks) as plain:
        hooks = unpack_ray_callbacks(active)
        run = _Run(graph, hooks, remote_args, annotated)
        run.submit_all()
        refs = [value for value in run.values.values() if isinstance(value, ray.ObjectRef)]
        for hook in hooks.ray_postsubmit_all_cbs or ():
            hook(refs, graph)
        if plain:
            _tell(plain, run)
        if persist:
            result = run.nested(keys)
        else:
            wanted = {key for key in _flat(keys) if isinstance(run.values[key], ray.ObjectRef)}
            got = dict(zip(wanted, ray.get([run.values[key] for key in wanted]), strict=True))
            result = run.nested(keys, got)
        for hook in hooks.ray_finish_cbs or ():
            hook(result)
    return result


def ray_dask_get_sync(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """:func:`ray_dask_get`, one task after the other, to find errors."""
    graph, annotated = _graph(dsk)
    persist = kwargs.pop("ray_persist", False)
    with local_ray_callbacks(kwargs.pop("ray_callbacks", None)) as active:
        hooks = unpack_ray_callbacks(active)
        run = _Run(graph, hooks, kwargs.pop("ray_remote_args", None) or {}, annotated)
        run.submit_all(one_by_one=True)
        refs = [value for value in run.values.values() if isinstance(value, ray.ObjectRef)]
        for hook in hooks.ray_postsubmit_all_cbs or ():
            hook(refs, graph)
        got = {key: ray.get(v) for key, v in run.values.items() if isinstance(v, ray.ObjectRef)}
        result = run.nested(keys, None if persist else got)
        for hook in hooks.ray_finish_cbs or ():
            hook(result)
    return result


def ray_dask_persist(*args: Any, **kwargs: Any) -> Any:
    """``dask.persist`` whose results stay on the cluster, as ObjectRefs inside the new collections."""
    kwargs["ray_persist"] = True
    return dask.persist(*args, scheduler=ray_dask_get, **kwargs)


def enable_dask_on_ray(shuffle: str | None = "tasks", use_shuffle_optimization: bool | None = True) -> Any:
    """Make :func:`ray_dask_get` the scheduler of all Dask collections.

    Parameters
    ----------
    shuffle
        How data frames are shuffled; ``"tasks"`` needs no other workers.
    use_shuffle_optimization
        Taken for compatibility: Dask's own optimizer joins the steps of a shuffle.

    Returns
    -------
    dask.config.set
        Also a context manager, at whose end it is as before.
    """
    return dask.config.set({"scheduler": ray_dask_get, "dataframe.shuffle.method": shuffle})


def disable_dask_on_ray() -> Any:
    """Undo :func:`enable_dask_on_ray`."""
    return dask.config.set({"scheduler": None, "dataframe.shuffle.method": None})


def dataframe_optimize(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """A graph of data frames without the tasks that ``keys`` don't need."""
    from dask._task_spec import cull

    graph, _ = _graph(dsk)
    return cull(graph, set(_flat(keys)))


# -- inside


class _Run:
    """One execution of a graph."""

    def __init__(
        self, graph: dict[Any, Any], hooks: Any, remote_args: dict[str, Any], annotated: dict[Any, Any]
    ) -> None:
        self.graph = graph
        self.hooks = hooks
        self.remote_args = remote_args
        self.annotated = annotated
        self.values: dict[Any, Any] = {}  # a ref or, for small data, the value
        self._functions: dict[Any, Any] = {}

    def submit_all(self, one_by_one: bool = False) -> None:
        """Submit all tasks, what others wait for first."""
        priority = order(self.graph)
        for key in sorted(self.graph, key=priority.__getitem__):
            if key not in self.values:
                self._submit(key, one_by_one)

    def nested(self, keys: Any, got: Mapping[Any, Any] | None = None) -> Any:
        """The results in the shape of ``keys``; refs where ``got`` does not have them."""
        if isinstance(keys, list):
            return tuple(self.nested(key, got) for key in keys)
        return (got or {}).get(keys, self.values[keys])

    def _submit(self, key: Any, one_by_one: bool) -> None:
        stack = [key]
        while stack:  # dependencies first, without recursion: graphs may be deep
            key = stack[-1]
            if key in self.values:
                stack.pop()
                continue
            node = self.graph[key]
            missing = [d for d in node.dependencies if d not in self.values]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            self.values[key] = value = self._value(key, node)
            if one_by_one and isinstance(value, ray.ObjectRef):
                ray.get(value)

    def _value(self, key: Any, node: Any) -> Any:
        if isinstance(node, Alias):
            return self.values[node.target]
        if isinstance(node, DataNode):
            value = node.value
            large = not isinstance(value, ray.ObjectRef) and _size(value) > _LARGE
            return ray.put(value) if large else value
        names = list(node.dependencies)
        deps = [self.values[name] for name in names]
        for hook in self.hooks.ray_presubmit_cbs or ():
            instead = hook(node, key, deps)
            if instead is not None:
                return instead
        beside = (self.hooks.ray_pretask_cbs, self.hooks.ray_posttask_cbs)
        if not any(beside):
            ref = self._function(key).remote(node, names, *deps)
        else:
            refs = [d for d in deps if isinstance(d, ray.ObjectRef)]
            ref = self._function(key).remote(_WithHooks(node, key, beside, refs), names, *deps)
        for hook in self.hooks.ray_postsubmit_cbs or ():
            hook(node, key, deps, ref)
        return ref

    def _function(self, key: Any) -> Any:
        options = {**self.remote_args, **self.annotated.get(key, {})}
        kind = repr(sorted(options.items(), key=lambda item: item[0]))
        function = self._functions.get(kind)
        if function is None:
            function = _remote.options(**options) if options else _remote
            self._functions[kind] = function
        return function


class _WithHooks:
    """A task with the hooks that run beside it."""

    def __init__(self, node: Any, key: Any, beside: Any, refs: list[Any]) -> None:
        self.node, self.key, self.beside, self.refs = node, key, beside, refs

    def __call__(self, values: dict[Any, Any]) -> Any:
        pretasks, posttasks = self.beside
        before = [hook(self.key, self.refs) if hook is not None else None for hook in pretasks or ()]
        result = self.node(values)
        for index, hook in enumerate(posttasks or ()):
            if hook is not None:
                hook(self.key, result, before[index] if index < len(before) else None)
        return result


def _dask_task(node: Any, names: Sequence[Any], *values: Any) -> Any:
    return _opened(node)(dict(zip(names, values, strict=True)))


def _opened(node: Any) -> Any:
    """A task without refs inside: fusing puts what ``ray_dask_persist`` left in a graph into tasks."""
    if isinstance(node, DataNode):
        is_ref = isinstance(node.value, ray.ObjectRef)
        return DataNode(node.key, ray.get(node.value)) if is_ref else node
    if isinstance(node, _WithHooks):
        return _WithHooks(_opened(node.node), node.key, node.beside, node.refs)
    if not (isinstance(node, Task) and node.func is _execute_subgraph):
        return node
    inner = {key: _opened(part) for key, part in node.args[0].items()}
    if all(part is node.args[0][key] for key, part in inner.items()):
        return node
    opened = copy.copy(node)
    opened.args = (inner, *node.args[1:])
    return opened


_remote = ray.remote(_dask_task)


def _graph(dsk: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """The graph as a dict of Dask's task objects, and options of tasks by key."""
    annotated: dict[Any, Any] = {}
    if hasattr(dsk, "__dask_annotations__"):
        annotated = dsk.__dask_annotations__().get("ray_remote_args", {})
    if hasattr(dsk, "__dask_graph__"):
        dsk = dsk.__dask_graph__()
    for layer in getattr(dsk, "layers", {}).values():
        options = (getattr(layer, "annotations", None) or {}).get("ray_remote_args")
        if options:
            annotated = {**annotated, **dict.fromkeys(layer, options)}
    return convert_legacy_graph(ensure_dict(dsk)), annotated


def _flat(keys: Any) -> list[Any]:
    if isinstance(keys, list):
        return [key for part in keys for key in _flat(part)]
    return [keys]


def _size(value: Any) -> int:
    return int(nbytes) if isinstance(nbytes := getattr(value, "nbytes", 0), int) else 0


def _tell(callbacks: Any, run: _Run) -> None:
    """Call Dask's own callbacks (``dask.diagnostics.ProgressBar`` is one) as tasks become ready."""
    start, start_state, pretask, posttask, finish = unpack_callbacks(callbacks)
    by_ref = {value: key for key, value in run.values.items() if isinstance(value, ray.ObjectRef)}
    state: dict[str, Any] = {
        "dependencies": {key: set(node.dependencies) for key, node in run.graph.items()},
        "finished": set(run.graph) - set(by_ref.values()),
        "running": set(by_ref.values()),
        "waiting": {},
        "ready": [],
        "released": set(),
        "cache": {},
    }
    for hook in start or ():
        hook(run.graph)
    for hook in start_state or ():
        hook(run.graph, state)
    for key in by_ref.values():
        for hook in pretask or ():
            hook(key, run.graph, state)
    failed = True
    try:
        waiting = list(by_ref)
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=1)
            late, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=0) if waiting else ([], [])
            for ref in [*ready, *late]:
                key = by_ref[ref]
                state["running"].discard(key)
                state["finished"].add(key)
                for hook in posttask or ():
                    hook(key, ray.get(ref), run.graph, state, "ray")
        failed = False
    finally:
        for hook in finish or ():
            hook(run.graph, state, failed)
