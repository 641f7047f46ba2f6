"""The command line: ``rayjup …`` (also ``python -m rayjup``).

===============  =========================================================
`app`            the program: groups, and which file a command is in
`output`         rows and records as table, JSON or YAML
`clusters`       start, stop, status, up-to-date lists of clusters
`state`          list, get, summary
`logs`           logs
`jobs`           job submit, status, logs …; dashboard, get-auth-token
`tools`          memory, timeline, stack, kill-actor
`doctor`         what is wrong, or tight, on this machine
===============  =========================================================

Commands carry Ray's names and options; what Ray has no word for (``rayjup clusters``, ``rayjup
doctor``) is added. Exit codes: 0 done, 1 it failed (the reason on stderr), 2 wrong usage.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line; the console script."""
    from rayjup.cli.app import program

    program(prog_name="rayjup")
