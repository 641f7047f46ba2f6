"""The driver's side of the controller: found, started, asked."""

from __future__ import annotations

import time
from typing import Any

import rayjup
from rayjup.exceptions import RayError, RayTaskError
from rayjup.serve._private.common import CONTROLLER, NAMESPACE, PROXY
from rayjup.serve.exceptions import RayServeException

_GONE_S = 10.0


def controller() -> Any:
    """The controller of this cluster; None when nothing was ever served here, or all was shut down."""
    if not rayjup.is_initialized():
        return None
    try:
        return rayjup.get_actor(CONTROLLER, namespace=NAMESPACE)
    except ValueError:
        return None


def needed() -> Any:
    """The controller.

    Raises
    ------
    RayServeException
        There is none.
    """
    found = controller()
    if found is None:
        raise RayServeException(
            "There is no Serve instance running on this cluster. Start one with serve.run(app) or "
            "serve.start()."
        )
    return found


def start(options: dict[str, Any]) -> dict[str, Any]:
    """Have a controller, and HTTP, started where they are not; the options of HTTP that count.

    Raises
    ------
    OSError
        Another program has the port.
    """
    if not rayjup.is_initialized():
        rayjup.init(namespace=NAMESPACE)
    deadline = time.monotonic() + _GONE_S
    while True:
        try:
            from rayjup.serve._private.controller import Controller  # only needed where one may be started

            actor = (
                rayjup.remote(Controller)
                .options(
                    name=CONTROLLER,
                    namespace=NAMESPACE,
                    lifetime="detached",
                    num_cpus=0,
                    max_restarts=-1,
                    max_concurrency=1_000_000,
                    get_if_exists=True,
                    **(options.get("controller") or {}),
                )
                .remote(options)
            )
            return rayjup.get(actor.start_http.remote(options))  # type: ignore[no-any-return]
        except RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, OSError):
                rayjup.kill(actor)
                raise cause from None
            raise
        except RayError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)  # one that is just being shut down


def ask(method: str, *args: Any, timeout: float | None = None) -> Any:
    """Ask the controller; a question that its restart has cut off is asked again."""
    deadline = time.monotonic() + _GONE_S
    while True:
        actor = needed()
        try:
            return rayjup.get(getattr(actor, method).remote(*args), timeout=timeout)
        except RayTaskError:
            raise
        except rayjup.exceptions.RayActorError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def shutdown() -> None:
    """End everything that is served."""
    actor = controller()
    if actor is None:
        return
    try:
        rayjup.get(actor.shutdown.remote(), timeout=60.0)
    except RayError:
        pass  # it is killed now, and what it has left with it
    for name in (CONTROLLER, PROXY):
        try:
            rayjup.kill(rayjup.get_actor(name, namespace=NAMESPACE))
        except ValueError:
            continue
    deadline = time.monotonic() + _GONE_S
    while controller() is not None and time.monotonic() < deadline:
        time.sleep(0.005)
