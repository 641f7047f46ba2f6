"""Small file systems in memory, to be filled up."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def can_mount(directory: Path) -> str:
    """Why no file system can be mounted here; empty where one can."""
    if os.getuid():
        return "mounting a file system takes root"
    try:
        with small_disk(directory, 1):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"this machine forbids mounting: {error}"


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Path]:
    """A file system of that size in memory."""
    directory.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "rayjup-chaos", str(directory)],
        check=True,
        capture_output=True,
    )
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)
