"""Results of compiled graphs that may still be under way."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayjup.dag.compiled_dag_node import CompiledDAG


class _Result:
    """A result of one execution: of all of it, or of one of its outputs."""

    def __init__(self, dag: CompiledDAG, execution_index: int, channel_index: int | None) -> None:
        self._dag = dag
        self._execution_index = execution_index
        self._channel_index = channel_index
        self._taken = False

    def __str__(self) -> str:
        return (
            f"{type(self).__name__}({self._dag.get_id()}, execution_index={self._execution_index}, "
            f"channel_index={self._channel_index})"
        )

    __repr__ = __str__

    def __copy__(self) -> Any:
        raise ValueError(f"{type(self).__name__} cannot be copied.")

    def __deepcopy__(self, memo: Any) -> Any:
        raise ValueError(f"{type(self).__name__} cannot be deep copied.")

    def __reduce__(self) -> Any:
        raise ValueError(
            f"{type(self).__name__} cannot be pickled: get its value first, and pass that to tasks "
            "and actors."
        )

    def __del__(self) -> None:
        dag = self.__dict__.get("_dag")
        if dag is not None and not self.__dict__.get("_taken", True):
            dag._forget_result(self._execution_index, self._channel_index)


class CompiledDAGRef(_Result):
    """The result of ``CompiledDAG.execute``, for one :func:`rayjup.get`.

    Unlike an ObjectRef it can be asked for its value once, and can be neither copied, pickled, waited
    for with :func:`rayjup.wait` nor passed to tasks.
    """

    def get(self, timeout: float | None = None) -> Any:
        """The value.

        Parameters
        ----------
        timeout
            Seconds to wait at most: None for ``DAGContext.get_timeout``, -1 for no limit, 0 not to wait.

        Raises
        ------
        RayChannelTimeoutError
            The execution took longer.
        """
        if self._taken:
            raise ValueError(
                "ray.get() can only be called once on a CompiledDAGRef, and it was already called: "
                "keep the value instead of the ref."
            )
        self._dag._execute_until(self._execution_index, timeout)
        self._taken = True
        return self._dag._take_result(self._execution_index, self._channel_index)

    def __rayjup_get__(self, timeout: float | None = None) -> Any:
        return self.get(timeout)


class CompiledDAGFuture(_Result):
    """The result of ``CompiledDAG.execute_async``, to be awaited once."""

    def __init__(
        self,
        dag: CompiledDAG,
        execution_index: int,
        fut: asyncio.Future[Any],
        channel_index: int | None = None,
    ) -> None:
        super().__init__(dag, execution_index, channel_index)
        self._fut = fut

    def __await__(self) -> Generator[Any, None, Any]:
        if self._taken:
            raise ValueError(
                "CompiledDAGFuture can only be awaited upon once, and it has already been awaited upon."
            )
        self._taken = True
        yield from asyncio.shield(self._fut).__await__()
        return self._dag._take_result(self._execution_index, self._channel_index)
