"""Ray's client mode (mirrors ``ray.util.client``).

rayjup has no second kind of connection: every driver is a full member of its cluster, and
``rayjup.init(address=…)`` is all it takes. What is here answers programs that ask.
"""

from __future__ import annotations

from typing import Any, NoReturn

import rayjup


class RayAPIStub:
    """What ``ray.util.client.ray`` is: the API, and the state of a client connection (there is none)."""

    def connect(self, *args: Any, **kw_args: Any) -> NoReturn:
        """Raise: there are no client connections."""
        raise ConnectionError(
            "rayjup has no client servers (ray://…). Join the cluster itself with "
            "rayjup.init(address='tcp://host:port'), or with its name."
        )

    def disconnect(self, *args: Any, **kw_args: Any) -> None:
        """Nothing: there is no client connection to end."""

    def is_connected(self, *args: Any, **kwargs: Any) -> bool:
        """False: a connection is never a client's; see :func:`rayjup.is_initialized`."""
        return False

    def is_default(self) -> bool:
        """True: there is one context, that of the process."""
        return True

    def get_context(self) -> RayAPIStub:
        """This object."""
        return self

    def set_context(self, cxt: Any) -> Any:
        """Take None or this object: there is one context."""
        if cxt is not None and cxt is not self:
            raise ValueError(
                "rayjup has one connection in a process, so contexts can't be changed: "
                "use rayjup.shutdown() and rayjup.init(address=…)."
            )
        return self

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """:func:`rayjup.init`."""
        return rayjup.init(*args, **kwargs)

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        """:func:`rayjup.shutdown`."""
        rayjup.shutdown(*args, **kwargs)

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """:func:`rayjup.remote`."""
        return rayjup.remote(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(rayjup, name)


ray = RayAPIStub()


def num_connected_contexts() -> int:
    """0: how many client connections this process has."""
    return 0


def __getattr__(name: str) -> Any:
    if name == "JobConfig":
        from importlib import import_module

        return import_module("rayjup.job_config").JobConfig
    raise AttributeError(f"module 'rayjup.util.client' has no attribute {name!r}")
