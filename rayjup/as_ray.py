"""Makes ``import ray`` mean rayjup.

``python -m rayjup.as_ray program.py args`` (or ``-m module``, ``-c code``) runs an unmodified Ray
program; ``import rayjup.as_ray`` does the same for the imports after it. ``ray.x.y`` and
``rayjup.x.y`` are the same module objects, in the driver and in all executors, so classes are the
same and pickles may name either.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from types import ModuleType

from rayjup.base.alias import install

__all__ = ["install", "main"]


def main(argv: list[str]) -> None:
    """Run a program as ``python`` would, with ``ray`` meaning rayjup."""
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(
            "usage: python -m rayjup.as_ray program.py [args]  |  -m module [args]  |  -c code [args]\n"
        )
        raise SystemExit(0 if argv else 2)
    install()
    if argv[0] == "-m":
        if len(argv) < 2:
            raise SystemExit("rayjup.as_ray: -m needs the name of a module")
        sys.argv = argv[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    elif argv[0] == "-c":
        if len(argv) < 2:
            raise SystemExit("rayjup.as_ray: -c needs code")
        sys.argv = ["-c", *argv[2:]]
        sys.path[0] = ""
        main_module = _fresh_main()
        exec(compile(argv[1], "<string>", "exec"), main_module.__dict__)
    else:
        sys.argv = argv
        path = argv[0]
        if not os.path.exists(path):
            raise SystemExit(f"rayjup.as_ray: can't open file {path!r}: no such file")
        if os.path.isdir(path):
            runpy.run_path(path, run_name="__main__")
            return
        sys.path[0] = os.path.dirname(os.path.abspath(path))
        main_module = _fresh_main()
        main_module.__file__ = path
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec")
        exec(code, main_module.__dict__)


def _fresh_main() -> ModuleType:
    """A new ``__main__`` that stays there until the interpreter ends."""
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    return module


if __name__ == "__main__":
    # This module runs under the name __main__ now; the alias must live in the importable one.
    importlib.import_module("rayjup.as_ray").main(sys.argv[1:])
else:
    install()
