"""Training with ``torchft``, whose replica groups survive each other's failures."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import rayjup
from rayjup.train.backend import Backend, BackendConfig
from rayjup.train.torch.config import TorchBackend, TorchConfig

if TYPE_CHECKING:
    from rayjup.train.controller.group import WorkerGroup

__all__ = ["LighthouseServerActor", "TorchftConfig"]


class TorchftConfig(TorchConfig):
    """As `TorchConfig`, with a lighthouse that all workers know.

    Parameters
    ----------
    lighthouse_kwargs
        Arguments of ``torchft.coordination.LighthouseServer``.
    kwargs
        Those of `TorchConfig`.
    """

    def __init__(self, lighthouse_kwargs: dict[str, Any], **kwargs: Any) -> None:
        self.lighthouse_kwargs = dict(lighthouse_kwargs)
        super().__init__(**kwargs)

    @property
    def backend_cls(self) -> type[Backend]:
        """The backend's class."""
        return TorchftBackend


class _Lighthouse:
    """Runs torchft's lighthouse."""

    def __init__(self, lighthouse_kwargs: dict[str, Any]) -> None:
        from rayjup.runs.extras import load

        module = load("torchft.coordination", "TorchftConfig", "torchft")
        self._server = module.LighthouseServer(**{"bind": "[::]:0", **lighthouse_kwargs})

    def address(self) -> str:
        """Where it listens."""
        found: str = self._server.address()
        return found


LighthouseServerActor = rayjup.remote(_Lighthouse)


class TorchftBackend(TorchBackend):
    """Starts the lighthouse, then makes the process group."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lighthouse: Any = None

    def on_start(self, worker_group: WorkerGroup, backend_config: BackendConfig) -> None:
        """Tell all workers where the lighthouse is, and have them join the group."""
        assert isinstance(backend_config, TorchftConfig)
        if self._lighthouse is None:
            self._lighthouse = LighthouseServerActor.options(num_cpus=0).remote(
                backend_config.lighthouse_kwargs
            )
        address = rayjup.get(self._lighthouse.address.remote())
        worker_group.execute(os.environ.update, {"TORCHFT_LIGHTHOUSE": address})
        super().on_start(worker_group, backend_config)
