"""Results that may still be under way."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

T = TypeVar("T")


class DAGOperationFuture(Generic[T]):
    """What an operation of a compiled graph gives when its result may not be there yet."""

    def wait(self) -> T:
        """The result, once it is there."""
        raise TypeError(f"{type(self).__name__} does not say how to wait: use a subclass that does")


class ResolvedFuture(DAGOperationFuture[Any]):
    """A result that is there."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def wait(self) -> Any:
        """The result."""
        return self._result


class GPUFuture(DAGOperationFuture[Any]):
    """A result that a CUDA stream is about to make.

    Parameters
    ----------
    buf
        The result, usable once the stream has come to the point where this was made.
    fut_id
        Names the future among those of the process; an older one of that id is destroyed.
    stream
        The stream; by default torch's current one.
    """

    _futures: ClassVar[dict[int, GPUFuture]] = {}

    def __init__(self, buf: Any, fut_id: int, stream: Any = None) -> None:
        import torch

        if not torch.cuda.is_available():
            raise RuntimeError(
                "a GPUFuture needs a CUDA device, and torch finds none: use the value as it is"
            )
        stream = torch.cuda.current_stream() if stream is None else stream
        self._buf = buf
        self._event: Any = torch.cuda.Event()
        self._event.record(stream)
        GPUFuture.add_gpu_future(fut_id, self)

    def wait(self) -> Any:
        """The result; later work of the current stream waits for it, this thread does not."""
        import torch

        torch.cuda.current_stream().wait_event(self._event)
        return self._buf

    def destroy_event(self) -> None:
        """Let go of the CUDA event."""
        self._event = None

    @staticmethod
    def add_gpu_future(fut_id: int, fut: GPUFuture) -> None:
        """Keep ``fut`` until another of the same id comes."""
        GPUFuture.remove_gpu_future(fut_id)
        GPUFuture._futures[fut_id] = fut

    @staticmethod
    def remove_gpu_future(fut_id: int) -> None:
        """Destroy the future of this id, if there is one."""
        old = GPUFuture._futures.pop(fut_id, None)
        if old is not None:
            old.destroy_event()
