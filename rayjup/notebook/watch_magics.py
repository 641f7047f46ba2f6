"""Magics that look at what goes on or went wrong: ``%ray_top``, ``%ray_logs``, …"""

from __future__ import annotations

from typing import Any

from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.display import display

from rayjup.notebook.parsing import HELP, parse


@magics_class
class WatchMagics(Magics):
    """The magics that watch; their Python twins are in `rayjup.notebook`."""

    @magic_arguments()
    @argument(
        "--sort",
        choices=["what", "pid", "state", "cpu", "memory", "gpu_memory", "pending"],
        help="column of the processes to sort by",
    )
    @argument("--text", action="store_true", help="print the present state as text instead of a live display")
    @HELP
    @line_magic
    def ray_top(self, line: str) -> None:
        """Show tasks with their rates, and what each process of the cluster uses; stays live."""
        from rayjup.notebook.top import ray_top

        options = parse(WatchMagics.ray_top, line)
        if options is None:
            return
        shown = ray_top(sort=options.sort)
        if options.text:
            print(shown)  # noqa: T201
        else:
            display(shown)

    @magic_arguments()
    @argument("path", nargs="?", help="file for the trace, which trace viewers open")
    @HELP
    @no_var_expand
    @line_magic
    def ray_timeline(self, line: str) -> None:
        """Draw what ran where and when."""
        from rayjup.notebook.timeline import ray_timeline

        options = parse(WatchMagics.ray_timeline, line, self.shell.user_ns if self.shell else None)
        if options is not None:
            display(ray_timeline(options.path))

    @magic_arguments()
    @argument("whose", nargs="?", help="name or id of an actor, id of a task or node, pid, or name of a file")
    @argument("--tail", type=int, default=100, metavar="N", help="show the last N lines (default 100)")
    @argument("--follow", type=float, metavar="S", help="go on for S seconds with what is written")
    @argument("--err", action="store_true", help="what was written to standard error")
    @HELP
    @no_var_expand
    @line_magic
    def ray_logs(self, line: str) -> None:
        """Show the log of a process of the cluster; without a name, what logs there are."""
        from rayjup.notebook.logs_files import ray_logs

        options = parse(WatchMagics.ray_logs, line, self.shell.user_ns if self.shell else None)
        if options is not None:
            ray_logs(options.whose, tail=options.tail, follow_s=options.follow, err=options.err)

    @magic_arguments()
    @argument("cell", nargs="?", type=int, help="number beside the cell (default: the last that made calls)")
    @argument("--text", action="store_true", help="print it as text")
    @HELP
    @no_var_expand
    @line_magic
    def ray_why(self, line: str) -> None:
        """Say where the time of a cell went: running, waiting for resources, its own code, …"""
        from rayjup.notebook.why import ray_why

        options = parse(WatchMagics.ray_why, line, self.shell.user_ns if self.shell else None)
        if options is None:
            return
        shown = ray_why(options.cell)
        if options.text:
            print(shown)  # noqa: T201
        else:
            display(shown)

    @magic_arguments()
    @argument("switch", nargs="?", choices=["on", "off"], help="keep the frames of failed calls, or not")
    @argument("--commands", help="commands of pdb, separated by semicolons, instead of asking for them")
    @HELP
    @no_var_expand
    @line_magic
    def ray_debug(self, line: str) -> None:
        """Debug the last failed call where it failed; %ray_debug on has failures kept for that."""
        from rayjup.notebook import debugging

        options = parse(WatchMagics.ray_debug, line)
        if options is None:
            return
        if options.switch is not None:
            print(debugging.switch(options.switch == "on"))  # noqa: T201
            return
        commands: Any = None
        if options.commands is not None:
            commands = [command.strip() for command in options.commands.split(";")]
        debugging.ray_debug(commands=commands)
