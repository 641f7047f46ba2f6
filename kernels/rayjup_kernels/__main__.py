"""``python -m rayjup_kernels [--user | --prefix PREFIX] [--name NAME]``."""

from __future__ import annotations

import argparse
import sys

from rayjup_kernels.spec import KERNEL_NAME, install


def main(argv: list[str] | None = None) -> int:
    """Install the kernelspec as the command line says; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m rayjup_kernels",
        description="Install the kernelspec 'Python 3 (rayjup)' so that it starts this Python.",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--user", action="store_true", help="for this user, whatever the environment")
    where.add_argument("--prefix", help="into this environment (default: the running one)")
    parser.add_argument("--name", default=KERNEL_NAME, help="name of the kernelspec (default: %(default)s)")
    parser.add_argument("--display-name", help="what the launcher shows")
    args = parser.parse_args(argv)
    path = install(user=args.user, prefix=args.prefix, kernel_name=args.name, display_name=args.display_name)
    sys.stdout.write(f"Installed kernelspec {args.name} in {path}; it starts {sys.executable}.\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
