"""``%ray_init``, ``%ray_status`` and ``%ray_shutdown``; each explains itself with ``--help``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring
from IPython.display import display

_HELP = argument("-h", "--help", action="store_true", help="show this text and do nothing")


@magics_class
class RayMagics(Magics):
    """The line magics; their Python twins are in `rayjup.notebook`."""

    @magic_arguments()
    @argument("--num-cpus", type=float, help="CPUs of a cluster that is started (default: the machine's)")
    @argument("--num-gpus", type=float, help="GPUs of a cluster that is started (default: the machine's)")
    @argument("--address", help="join the running cluster of this id, name or address; start nothing")
    @argument("--name", help="join the cluster of this name, or start it under this name")
    @argument(
        "--linger",
        type=float,
        default=None,
        help="seconds a started cluster lives on without a driver (default 20; inf: until stopped)",
    )
    @argument("--no-display", action="store_true", help="only say what happened")
    @_HELP
    @line_magic
    def ray_init(self, line: str) -> None:
        """Connect this notebook to a cluster, starting one if need be. Running it again joins it again."""
        from rayjup.notebook import session

        options = _parse(RayMagics.ray_init, line)
        if options is None:
            return
        shown = session.ray_init(
            num_cpus=options.num_cpus,
            num_gpus=options.num_gpus,
            address=options.address,
            name=options.name,
            linger_s=session.DEFAULT_LINGER_S if options.linger is None else options.linger,
        )
        if not options.no_display:
            display(shown)

    @magic_arguments()
    @argument(
        "--interval", type=float, default=1.0, help="seconds between two updates (default 1, at least 0.25)"
    )
    @argument("--text", action="store_true", help="print the present state as text instead of a live display")
    @_HELP
    @line_magic
    def ray_status(self, line: str) -> None:
        """Show the nodes, tasks and actors of the cluster; the display stays live."""
        from rayjup.notebook import session

        options = _parse(RayMagics.ray_status, line)
        if options is None:
            return
        shown = session.ray_status(interval_s=options.interval)
        if options.text:
            print(shown)  # noqa: T201
        else:
            display(shown)

    @magic_arguments()
    @_HELP
    @line_magic
    def ray_shutdown(self, line: str) -> None:
        """Disconnect this notebook; stop the cluster if this notebook started it."""
        from rayjup.notebook import session

        if _parse(RayMagics.ray_shutdown, line) is not None:
            session.ray_shutdown()


def _parse(magic: Callable[..., Any], line: str) -> Any:
    """The parsed options; None after ``--help``, which is printed."""
    options = parse_argstring(magic, line)
    if options.help:
        text = magic.parser.format_help()  # type: ignore[attr-defined]
        print(text.replace("::\n\n", "", 1).rstrip())  # noqa: T201
        return None
    return options
