"""The program ``rayjup``: its commands are imported when they are called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

from rayjup._version import __version__

# Command → "module:function" below rayjup.cli; the function is a click command or group.
_COMMANDS = {
    "start": "clusters:start",
    "stop": "clusters:stop",
    "status": "clusters:status",
    "clusters": "clusters:clusters",
    "health-check": "clusters:health_check",
    "up": "operate:up",
    "down": "operate:down",
    "attach": "operate:attach",
    "exec": "operate:execute",
    "submit": "operate:submit",
    "rsync-up": "operate:rsync_up",
    "rsync-down": "operate:rsync_down",
    "get-head-ip": "operate:get_head_ip",
    "get-worker-ips": "operate:get_worker_ips",
    "monitor": "operate:monitor",
    "autoscale": "operate:autoscale",
    "list": "state:list_",
    "get": "state:get",
    "summary": "state:summary",
    "logs": "logs:logs",
    "memory": "tools:memory",
    "timeline": "tools:timeline",
    "stack": "tools:stack",
    "kill-actor": "tools:kill_actor",
    "job": "jobs:job",
    "dashboard": "jobs:dashboard",
    "get-auth-token": "jobs:get_auth_token",
    "rotate-credentials": "upkeep:rotate_credentials",
    "restart-head": "upkeep:restart_head",
    "doctor": "doctor:doctor",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called or described."""

    def __init__(self, *, where: Mapping[str, str], package: str = "rayjup.cli", **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self._where = dict(where)
        self._package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._where)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = self._where.get(cmd_name)
        if where is None:
            return None
        module, name = where.split(":")
        command: click.Command = getattr(importlib.import_module(f"{self._package}.{module}"), name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; what the cluster or the user did wrong is one line, not a traceback."""
        from rayjup.exceptions import RayError

        try:
            return super().invoke(ctx)
        except (RayError, ConnectionError, ValueError) as error:
            raise click.ClickException(str(error)) from error


program = LazyGroup(
    where=_COMMANDS,
    name="rayjup",
    help="Ray's API on Dask distributed: start clusters, look into them, stop them.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
click.version_option(__version__, prog_name="rayjup")(program)
