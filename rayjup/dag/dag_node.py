"""The base of all graph nodes: what they are bound to, and how a graph is walked and executed."""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from rayjup.dag import _scan

if TYPE_CHECKING:
    from rayjup.dag.compiled_dag_node import CompiledDAG

T = TypeVar("T")


class DAGNode:
    """A call that ``bind`` noted down instead of making it.

    Parameters
    ----------
    args, kwargs
        What the call gets; other nodes in them stand for their results.
    options
        What ``.options()`` of the function, class or method gets.
    other_args_to_resolve
        What else the node depends on, by the keys in :mod:`rayjup.dag.constants`.
    """

    def __init__(
        self,
        args: Any,
        kwargs: dict[str, Any] | None,
        options: dict[str, Any] | None,
        other_args_to_resolve: dict[str, Any] | None,
    ) -> None:
        self._bound_args: Any = args or []
        self._bound_kwargs: dict[str, Any] = kwargs or {}
        self._bound_options: dict[str, Any] = options or {}
        self._bound_other_args_to_resolve: dict[str, Any] = other_args_to_resolve or {}
        self._stable_uuid = uuid.uuid4().hex  # the same in copies of the node
        self._downstream_nodes: list[DAGNode] = []
        self._upstream_nodes: list[DAGNode] = self._get_all_child_nodes()
        for node in self._upstream_nodes:
            node._downstream_nodes.append(self)
        self._type_hint: Any = None
        self.cache_from_last_execute: dict[str, Any] = {}
        self.is_cgraph_output_node = False

    # -- what it is bound to

    def get_args(self) -> Any:
        """The bound positional arguments."""
        return self._bound_args

    def get_kwargs(self) -> dict[str, Any]:
        """The bound keyword arguments."""
        return self._bound_kwargs.copy()

    def get_options(self) -> dict[str, Any]:
        """The bound options."""
        return self._bound_options.copy()

    def get_other_args_to_resolve(self) -> dict[str, Any]:
        """What else the node depends on."""
        return self._bound_other_args_to_resolve.copy()

    def get_stable_uuid(self) -> str:
        """An id that copies and pickles of the node keep."""
        return self._stable_uuid

    @property
    def type_hint(self) -> Any:
        """How the node's result travels in a compiled graph."""
        if self._type_hint is None:
            from rayjup.experimental.channel import ChannelOutputType

            self._type_hint = ChannelOutputType()
        return self._type_hint

    @type_hint.setter
    def type_hint(self, type_hint: Any) -> None:
        self._type_hint = type_hint

    def with_tensor_transport(
        self,
        transport: Any = "auto",
        device: Literal["default", "cpu", "gpu", "cuda"] = "default",
        _static_shape: bool = False,
        _direct_return: bool = False,
    ) -> DAGNode:
        """Say how tensors in this node's result travel in a compiled graph; returns the node.

        Parameters
        ----------
        transport
            ``"auto"`` or ``"shm"``: through shared memory. ``"nccl"`` and ``"accelerator"`` are
            refused when the graph is compiled: rayjup has no transport between GPUs.
        device
            Where the receiver gets the tensors: ``"default"`` (where they were), ``"cpu"`` or ``"cuda"``.
        """
        from rayjup.experimental.channel.torch_tensor_type import AutoTransportType, TorchTensorType

        options: dict[str, Any] = {
            "device": device,
            "_static_shape": _static_shape,
            "_direct_return": _direct_return,
        }
        if transport == "auto":
            self._type_hint = AutoTransportType(**options)
        else:
            if transport == "nccl":
                transport = "accelerator"
            self._type_hint = TorchTensorType(transport=transport, **options)
        return self

    # -- the last execution

    async def get_object_refs_from_last_execute(self) -> dict[str, Any]:
        """What each node gave in the last ``execute(_ray_cache_refs=True)``, by its stable id."""
        return {
            key: await value if isinstance(value, asyncio.Task) else value
            for key, value in self.cache_from_last_execute.items()
        }

    def clear_cache(self) -> None:
        """Forget the results of the last execution."""
        self.cache_from_last_execute = {}

    # -- walking

    def _get_all_child_nodes(self) -> list[DAGNode]:
        return _scan.find([self._bound_args, self._bound_kwargs, self._bound_other_args_to_resolve])

    def apply_recursive(self, fn: Callable[[Any], T]) -> T:
        """Apply ``fn`` to each node of the graph once, children first.

        ``fn`` gets copies of the nodes, in which the children are replaced by what ``fn`` made of them.

        Raises
        ------
        AssertionError
            The graph has more than one InputNode.
        """
        walk = fn if isinstance(fn, _Once) else _Once(fn)
        made: T = walk(self)
        return made

    def traverse_and_apply(self, fn: Callable[[DAGNode], T]) -> None:
        """Apply ``fn`` to all nodes connected with this one, upstream or downstream."""
        seen = {self._stable_uuid}
        waiting = deque([self])
        compiled: DAGNode | None = None
        while waiting:
            node = waiting.popleft()
            node._refuse_nested_nodes()
            if node.is_cgraph_output_node:
                if compiled is not None:
                    raise ValueError(
                        "the graph was compiled more than once: experimental_compile() was called on "
                        f"{compiled!r} and on {node!r}. Compile the last node only."
                    )
                compiled = node
            fn(node)
            for neighbour in (*node._downstream_nodes, *node._upstream_nodes):
                if neighbour._stable_uuid not in seen:
                    seen.add(neighbour._stable_uuid)
                    waiting.append(neighbour)

    def _refuse_nested_nodes(self) -> None:
        """Compiled graphs take nodes as arguments, not inside of lists and the like."""
        for arg in self._bound_args:
            if not isinstance(arg, DAGNode) and (nested := _scan.find(arg)):
                raise ValueError(
                    f"Found {len(nested)} DAGNodes from the arg {arg} in {self!r}: in a compiled "
                    "graph a node "
                    "must be an argument itself, not inside of a container. Pass the nodes as "
                    "separate arguments."
                )

    def apply_functional(
        self, source_input_list: Any, predicate_fn: Callable[..., Any], apply_fn: Callable[..., Any]
    ) -> Any:
        """``source_input_list`` with each node for which the predicate holds replaced by "
        "``apply_fn(node)``."""
        made: dict[int, Any] = {}

        def change(node: DAGNode) -> Any:
            if not predicate_fn(node):
                return node
            if id(node) not in made:
                made[id(node)] = apply_fn(node)
            return made[id(node)]

        return _scan.replace(source_input_list, change)

    # -- executing

    def execute(self, *args: Any, _ray_cache_refs: bool = False, **kwargs: Any) -> Any:
        """Make all calls of the graph; each node is executed once.

        Parameters
        ----------
        args, kwargs
            The input: what ``InputNode`` stands for.
        _ray_cache_refs
            Keep what each node gave, for :meth:`get_object_refs_from_last_execute`.

        Returns
        -------
        ObjectRef, ActorHandle or list
            What the last node gives: a list for a ``MultiOutputNode``.

        Examples
        --------
        >>> import rayjup as ray
        >>> from rayjup.dag import InputNode
        >>> @ray.remote
        ... def double(x):
        ...     return 2 * x
        >>> with InputNode() as x:
        ...     graph = double.bind(double.bind(x))
        >>> ray.get(graph.execute(3))
        12
        """
        walk = _Once(lambda node: node._execute_impl(*args, **kwargs))
        result = walk(self)
        if _ray_cache_refs:
            self.cache_from_last_execute = walk.made
        return result

    def experimental_compile(
        self,
        _submit_timeout: float | None = None,
        _buffer_size_bytes: int | None = None,
        enable_asyncio: bool = False,
        _max_inflight_executions: int | None = None,
        _max_buffered_results: int | None = None,
        _overlap_gpu_communication: bool | None = None,
        _default_communicator: Any = "create",
    ) -> CompiledDAG:
        """Connect the actors of the graph by channels, through which executions go without being scheduled.

        All nodes must be methods of actors that exist (``Actor.remote()``), on one machine.

        Parameters
        ----------
        _submit_timeout
            Seconds that ``execute()`` waits for room in the input channel.
        _buffer_size_bytes
            Room for one message; larger ones get a buffer of their own.
        enable_asyncio
            Use ``await execute_async()`` instead of ``execute()``.
        _max_inflight_executions
            Executions under way before ``RayCgraphCapacityExceeded`` is raised.
        _max_buffered_results
            Results kept for refs that were not asked for yet.
        """
        from rayjup.dag.compiled_dag_node import build_compiled_dag_from_ray_dag

        if self.is_cgraph_output_node:
            raise ValueError(
                "It is not allowed to call `experimental_compile` on the same DAG object multiple times: "
                "use the compiled graph that the first call gave, or build the graph again."
            )
        self.is_cgraph_output_node = True
        return build_compiled_dag_from_ray_dag(
            self,
            _submit_timeout,
            _buffer_size_bytes,
            enable_asyncio,
            _max_inflight_executions,
            _max_buffered_results,
            _overlap_gpu_communication,
            _default_communicator,
        )

    # -- for the kinds of nodes

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"a {type(self).__name__} has nothing to execute: use one of the nodes bind() makes")

    def _copy_impl(self, args: Any, kwargs: Any, options: Any, other: Any) -> DAGNode:
        return type(self)(args, kwargs, options, other)

    def _copy(self, args: Any, kwargs: Any, options: Any, other: Any) -> DAGNode:
        made = self._copy_impl(args, kwargs, options, other)
        made._stable_uuid = self._stable_uuid
        made._type_hint = copy.copy(self._type_hint)
        return made

    def _label(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        return f"({type(self).__name__}, {self._stable_uuid})({self._label()})"

    def __getattr__(self, name: str) -> Any:
        if name == "bind":
            raise AttributeError(f".bind() cannot be used again on {type(self)}")
        if name == "remote":
            raise AttributeError(
                f".remote() cannot be used on {type(self)}: to run the graph, call .execute() on its "
                "last node."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class _Once:
    """Applies a function to the nodes of a graph, children first, and to none of them twice."""

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        self.fn = fn
        self.made: dict[str, Any] = {}
        self._input = ""

    def __call__(self, node: DAGNode) -> Any:
        from rayjup.dag.input_node import InputNode

        key = node._stable_uuid
        if key in self.made:
            return self.made[key]
        if isinstance(node, InputNode):
            if self._input not in ("", key):
                raise AssertionError("Each DAG should only have one unique InputNode.")
            self._input = key
        args, kwargs, other = _scan.replace(
            (node._bound_args, node._bound_kwargs, node._bound_other_args_to_resolve), self
        )
        result = self.made[key] = self.fn(node._copy(args, kwargs, node.get_options(), other))
        return result
