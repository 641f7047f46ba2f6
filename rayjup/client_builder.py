"""Ray's builder of client connections (mirrors ``ray.client_builder``, deprecated there).

Every driver of rayjup is a full member of its cluster, so a builder does what ``rayjup.init`` does.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import rayjup

__all__ = ["ClientBuilder", "ClientContext", "client"]


@dataclass
class ClientContext:
    """A connection made by a builder; also a context manager that ends it.

    Parameters
    ----------
    dashboard_url, python_version, ray_version, ray_commit
        What the cluster says of itself.
    """

    dashboard_url: str | None
    python_version: str
    ray_version: str
    ray_commit: str
    _num_clients: int = 1
    _context_to_restore: Any = None

    def disconnect(self) -> None:
        """Same as ``rayjup.shutdown()``."""
        rayjup.shutdown()

    def __enter__(self) -> ClientContext:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()


class ClientBuilder:
    """Collects what a connection needs; ``connect`` makes it.

    Examples
    --------
    >>> from rayjup.client_builder import ClientBuilder
    >>> builder = ClientBuilder("local").namespace("experiments")
    """

    def __init__(self, address: str | None) -> None:
        self.address = address
        self._namespace: str | None = None
        self._runtime_env: dict[str, Any] | None = None

    def env(self, env: dict[str, Any]) -> ClientBuilder:
        """Set the runtime environment."""
        self._runtime_env = env
        return self

    def namespace(self, namespace: str) -> ClientBuilder:
        """Set the namespace for named actors."""
        self._namespace = namespace
        return self

    def connect(self) -> ClientContext:
        """Connect to the address, or start a cluster here where it is None or ``"local"``.

        Raises
        ------
        ConnectionError
            There is no such cluster.
        RuntimeError
            This process is connected already.
        """
        given: dict[str, Any] = {"namespace": self._namespace, "runtime_env": self._runtime_env}
        context = rayjup.init(self.address, **{k: v for k, v in given.items() if v is not None})
        return ClientContext(
            dashboard_url=context.dashboard_url,
            python_version=context.python_version,
            ray_version=context.ray_version,
            ray_commit=rayjup.__version__,
        )


def client(address: str | None = None) -> ClientBuilder:
    """A builder for a connection to ``address``; deprecated in Ray: use ``rayjup.init(address=…)``."""
    warnings.warn("ray.client() is deprecated: use rayjup.init(address=…).", DeprecationWarning, stacklevel=2)
    return ClientBuilder(address)
