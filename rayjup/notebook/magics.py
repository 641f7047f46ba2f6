"""Magics that connect: ``%ray_init``, ``%ray_status``, ``%ray_shutdown``, ``%ray_dashboard``.

Each explains itself with ``--help``. Those that run something are in ``work_magics``, those that
show what goes on in ``watch_magics``; all are registered by ``%load_ext rayjup``.
"""

from __future__ import annotations

import json
from typing import Any

from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.display import display

from rayjup.notebook.parsing import HELP, amounts, byte_count, mapping, parse, span


@magics_class
class RayMagics(Magics):
    """The magics of the connection; their Python twins are in `rayjup.notebook`."""

    @magic_arguments()
    @argument("--num-cpus", type=float, help="CPUs of a cluster that is started (default: the machine's)")
    @argument("--num-gpus", type=float, help="GPUs of a cluster that is started (default: the machine's)")
    @argument("--resources", help="more resources of a cluster that is started: license=2,special=1 or JSON")
    @argument("--labels", help="labels of a cluster that is started: zone=a,tier=b or JSON")
    @argument("--object-store-memory", help="shared memory of a cluster that is started, such as 2GB")
    @argument("--address", help="join the running cluster of this id, name or address; start nothing")
    @argument("--name", help="join the cluster of this name, or start it under this name")
    @argument("--profile", help="take options not given here from this profile of rayjup.json")
    @argument(
        "--linger",
        type=float,
        default=None,
        help="seconds a started cluster lives on without a driver (default 20; inf: until stopped)",
    )
    @argument(
        "--adaptive",
        metavar="MIN:MAX",
        help="least and most number of nodes of a new cluster, which has as many as it needs",
    )
    @argument("--namespace", help="namespace of named actors")
    @argument("--runtime-env", help="JSON, a JSON file or the name of a dict of this notebook")
    @argument(
        "--on-interrupt",
        choices=["cancel", "leave"],
        help="what becomes of the calls of a cell that is interrupted (default: cancel)",
    )
    @argument("--no-logs", action="store_true", help="don't show what tasks print")
    @argument("--set", action="append", metavar="OPTION=JSON", help="any other option of rayjup.init")
    @argument("--as-ray", action="store_true", help="have `import ray` mean rayjup")
    @argument("--no-display", action="store_true", help="only say what happened")
    @HELP
    @no_var_expand
    @line_magic
    def ray_init(self, line: str) -> None:
        """Connect this notebook to a cluster, starting one if need be. Running it again joins it again."""
        from rayjup import notebook
        from rayjup.notebook import session

        assert self.shell is not None
        variables = self.shell.user_ns
        options = parse(RayMagics.ray_init, line, variables)
        if options is None:
            return
        given: dict[str, Any] = {
            "num_cpus": options.num_cpus,
            "num_gpus": options.num_gpus,
            "address": options.address,
            "name": options.name,
            "profile": options.profile,
            "namespace": options.namespace,
            "linger_s": options.linger,
        }
        given = {key: value for key, value in given.items() if value is not None}
        if options.resources is not None:
            given["resources"] = amounts(options.resources, variables)
        if options.labels is not None:
            given["labels"] = mapping(options.labels, variables, "zone=a,tier=b")
        if options.object_store_memory is not None:
            given["object_store_memory"] = byte_count(options.object_store_memory)
        if options.adaptive is not None:
            given["adaptive"] = span(options.adaptive)
        if options.runtime_env is not None:
            given["runtime_env"] = mapping(options.runtime_env, variables, '{"env_vars": {"A": "1"}}')
        if options.no_logs:
            given["log_to_driver"] = False
        if options.as_ray:
            given["as_ray"] = True
        if options.on_interrupt is not None:
            notebook.on_interrupt = options.on_interrupt
        given |= dict(_setting(text) for text in options.set or ())
        shown = session.ray_init(**given)
        if not options.no_display:
            display(shown)

    @magic_arguments()
    @argument(
        "--interval", type=float, default=1.0, help="seconds between two updates (default 1, at least 0.25)"
    )
    @argument("--text", action="store_true", help="print the present state as text instead of a live display")
    @HELP
    @line_magic
    def ray_status(self, line: str) -> None:
        """Show the nodes, tasks and actors of the cluster; the display stays live."""
        from rayjup.notebook import session

        options = parse(RayMagics.ray_status, line)
        if options is None:
            return
        shown = session.ray_status(interval_s=options.interval)
        if options.text:
            print(shown)  # noqa: T201
        else:
            display(shown)

    @magic_arguments()
    @HELP
    @line_magic
    def ray_shutdown(self, line: str) -> None:
        """Disconnect this notebook; stop the cluster if this notebook started it."""
        from rayjup.notebook import session

        if parse(RayMagics.ray_shutdown, line) is not None:
            session.ray_shutdown()

    @magic_arguments()
    @HELP
    @line_magic
    def ray_dashboard(self, line: str) -> None:
        """Open the cluster's page: a link in JupyterLab, text elsewhere."""
        from rayjup.notebook import dashboard

        if parse(RayMagics.ray_dashboard, line) is not None:
            display(dashboard.ray_dashboard())


def _setting(text: str) -> tuple[str, Any]:
    """``"logging_level=\"debug\""`` as a name and a value; a value that is no JSON is a text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text}: write OPTION=VALUE, such as --set logging_level=debug")
    try:
        return name.replace("-", "_"), json.loads(value)
    except json.JSONDecodeError:
        return name.replace("-", "_"), value
