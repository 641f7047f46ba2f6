"""``python -m rayjup``: the command line."""

from rayjup.cli import main

main()
