"""Magics that run something on the cluster: ``%%ray_remote``, ``%%ray_map``, ``%ray_attach``."""

from __future__ import annotations

import re
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.display import display

from rayjup.notebook.parsing import HELP, names, parse

_CPUS = argument("--num-cpus", type=float, help="CPUs that each task or the actor holds")
_GPUS = argument("--num-gpus", type=float, help="GPUs that each task or the actor holds")


@magics_class
class WorkMagics(Magics):
    """The magics that run cells; their Python twins are `run_cell` and `map_cell`."""

    @magic_arguments()
    @_CPUS
    @_GPUS
    @argument("--out", help="variables to bring back: a,b")
    @argument("--actor", help="run in the actor of this name, which keeps the variables of its cells")
    @HELP
    @no_var_expand
    @line_cell_magic
    def ray_remote(self, line: str, cell: str | None = None) -> Any:
        """Run the cell on the cluster, with the notebook's variables it uses; errors show its own lines."""
        from rayjup.notebook.running import run_cell

        shell = self._shell()
        options = parse(WorkMagics.ray_remote, line, shell.user_ns)
        if options is None:
            return None
        cell = _body("ray_remote", cell)
        with Shown(shell):
            value, found = run_cell(
                shell.transform_cell(cell),
                shell.user_ns,
                out=names(options.out),
                actor=options.actor,
                num_cpus=options.num_cpus,
                num_gpus=options.num_gpus,
                magic_line=f"%%ray_remote {line}".rstrip(),
                filename=f"<cell [{shell.execution_count}] on the cluster>",
            )
        shell.user_ns.update(found)
        return value

    @magic_arguments()
    @argument("what", nargs="*", help="the item's name and the items: x in xs")
    @argument("--into", help="variable for the list of results (default: the cell's value)")
    @argument("--out", help="variables that make an item's result (default: the last expression)")
    @argument("--keep-errors", action="store_true", help="put errors among the results and go on")
    @argument("--quiet", action="store_true", help="show no progress")
    @_CPUS
    @_GPUS
    @HELP
    @no_var_expand
    @line_cell_magic
    def ray_map(self, line: str, cell: str | None = None) -> Any:
        """Run the cell once per item, in parallel: %%ray_map x in range(10) --into squares."""
        from rayjup.notebook.progress import Progress
        from rayjup.notebook.running import map_cell

        shell = self._shell()
        loop, rest = _loop(line)
        options = parse(WorkMagics.ray_map, rest, shell.user_ns)
        if options is None:
            return None
        cell = _body("ray_map", cell)
        if loop is None:
            raise UsageError("%%ray_map needs items: %%ray_map x in xs [--into results]")
        item, items = loop[0], shell.ev(loop[1])
        into = names(options.into)
        progress = None if options.quiet else Progress(shell)
        with Shown(shell):
            results = map_cell(
                shell.transform_cell(cell),
                item,
                items,
                shell.user_ns,
                out=names(options.out),
                num_cpus=options.num_cpus,
                num_gpus=options.num_gpus,
                errors="keep" if options.keep_errors else "raise",
                progress=progress,
                magic_line=f"%%ray_map {line}".rstrip(),
                filename=f"<cell [{shell.execution_count}] on the cluster>",
            )
        if not into:
            return results
        shell.user_ns[into[0]] = results
        return None

    @magic_arguments()
    @argument("kept", nargs="?", help="name of a kept value or of a run; without it, all are listed")
    @argument("--into", help="variable for the ref (default: the name of the value)")
    @HELP
    @no_var_expand
    @line_magic
    def ray_attach(self, line: str) -> None:
        """Get the ref to a value that `rayjup.notebook.keep` kept, or see a run, also after a restart."""
        from rayjup.notebook import keeping, run_displays

        shell = self._shell()
        options = parse(WorkMagics.ray_attach, line, shell.user_ns)
        if options is None:
            return
        if options.kept is None:
            display(keeping.kept())
            display(run_displays.runs())
            return
        if options.kept not in keeping.names() and run_displays.find(options.kept) is not None:
            display(run_displays.watch_run(options.kept))
            return
        variable = (names(options.into) or [re.sub(r"\W", "_", options.kept)])[0]
        shell.user_ns[variable] = keeping.attach(options.kept)
        print(f"{variable} is the ref to the kept value {options.kept!r}.")  # noqa: T201

    def _shell(self) -> Any:
        assert self.shell is not None
        return self.shell


class Shown:
    """Shows errors of remote cells with the remote traceback alone: the local one leads nowhere."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, kind: Any, error: Any, _: Any) -> None:
        if error is not None and hasattr(error, "traceback_str"):
            lines = str(error).splitlines()
            lines += getattr(error, "__notes__", [])
            # IPython asks an exception for this before it formats a traceback by itself.
            error._render_traceback_ = lambda *_: lines


def _body(name: str, cell: str | None) -> str:
    # These are line magics, too, so that `%ray_map --help` works: IPython refuses an empty cell.
    if cell is None:
        raise UsageError(f"%{name} runs a cell: write %%{name} in its first line, and code below")
    return cell


def _loop(line: str) -> tuple[tuple[str, str] | None, str]:
    """``x in xs --into y`` as (("x", "xs"), "--into y")."""
    match = re.match(r"\s*(\w+)\s+in\s+(.*?)(?=\s--?[a-z]|$)(.*)$", line)
    if match is None:
        return None, line
    return (match[1], match[2].strip()), match[3]
