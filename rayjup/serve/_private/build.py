"""From the graph that ``bind`` makes to deployments that can be sent to the controller."""

from __future__ import annotations

import sys
from typing import Any

from rayjup.serve._private.common import random_id
from rayjup.serve._private.options import for_controller
from rayjup.serve._private.packing import dumps
from rayjup.serve.deployment import Application, Deployment
from rayjup.serve.handle import DeploymentHandle


class Built:
    """An application, taken apart."""

    def __init__(self, name: str, ingress: str) -> None:
        self.name = name
        self.ingress = ingress
        self.deployments: list[tuple[Deployment, str]] = []  # with the names they have in the application

    def packed(self) -> list[dict[str, Any]]:
        """What the controller gets of them.

        Raises
        ------
        TypeError
            Code or arguments that cannot be pickled.
        """
        found = []
        paths = own_paths()
        for deployment, name in self.deployments:
            config = for_controller(deployment._options, deployment._source)
            config["sys_path"] = paths
            try:
                payload = dumps((deployment._source, deployment._init_args, deployment._init_kwargs))
            except Exception as error:
                raise TypeError(
                    f"deployment {name!r} cannot be sent to its replicas: {error}. Make what cannot be "
                    "pickled "
                    "(connections, threads, open files) inside of its constructor."
                ) from error
            # Without a version every deploy is a new one: what has not changed cannot be told for sure.
            code = deployment._version or random_id(12)
            found.append({"name": name, "code": code, "config": config, "payload": payload})
        return found


def own_paths() -> list[str]:
    """Where this process finds modules that others may not find by themselves."""
    return [p for p in sys.path if p and not p.endswith(("site-packages", ".zip"))]


def build(
    app: Application, name: str, make_handle: Any = DeploymentHandle, options: dict[str, Any] | None = None
) -> Built:
    """Take an application apart: bound deployments become handles in each other's arguments.

    Raises
    ------
    TypeError
        ``app`` is no application.
    """
    if not isinstance(app, Application):
        raise TypeError(
            f"`serve.run` expects an `Application` returned by `Deployment.bind()`, got {type(app).__name__}."
        )
    done: dict[int, str] = {}
    used: set[str] = set()
    built = Built(name, "")

    def visit(one: Application) -> str:
        known = done.get(id(one))
        if known is not None:
            return known
        bound = one._bound_deployment
        args = tuple(replaced(a) for a in bound._init_args)
        kwargs = {k: replaced(v) for k, v in bound._init_kwargs.items()}
        chosen = bound.name
        count = 0
        while chosen in used:
            count += 1
            chosen = f"{bound.name}_{count}"
        used.add(chosen)
        done[id(one)] = chosen
        changed = Deployment(
            chosen, bound._source, {**bound._options, **(options or {})}, bound._version, args, kwargs
        )
        built.deployments.append((changed, chosen))
        return chosen

    def replaced(value: Any) -> Any:
        if isinstance(value, Application):
            return make_handle(visit(value), name)
        if isinstance(value, Deployment):
            raise TypeError(f"{value} was passed without its arguments: pass {value.name}.bind() instead.")
        kind = type(value)
        if kind in (list, tuple, set):
            return kind(replaced(v) for v in value)
        if kind is dict:
            return {k: replaced(v) for k, v in value.items()}
        return value

    built.ingress = visit(app)
    return built
