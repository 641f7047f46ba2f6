"""Commands and files on other machines, by the program ``ssh`` and so with the user's own settings for it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from rayjup.base.exceptions import RaySystemError

_CONNECT_S = 10


@dataclass(frozen=True)
class Machine:
    """A machine that is reached by ssh.

    Parameters
    ----------
    host
        Its name or address.
    user, port, key
        None: what the user's ``~/.ssh/config`` says. ``key`` is the file of a private key.
    known_hosts
        The file of host keys; None: the user's. New keys are added, changed ones refused.
    proxy_command
        What connects to it, as of ssh's option ProxyCommand.
    """

    host: str
    user: str | None = None
    port: int | None = None
    key: str | None = None
    known_hosts: str | None = None
    proxy_command: str | None = None

    def options(self, interactive: bool = False) -> list[str]:
        """The options of ``ssh`` for this machine."""
        options = ["-o", f"ConnectTimeout={_CONNECT_S}", "-o", "StrictHostKeyChecking=accept-new"]
        options += ["-o", "LogLevel=ERROR"]
        if not interactive:
            options += ["-o", "BatchMode=yes"]
        if self.known_hosts is not None:
            options += ["-o", f"UserKnownHostsFile={os.path.expanduser(self.known_hosts)}"]
        if self.key is not None:
            options += ["-i", os.path.expanduser(self.key), "-o", "IdentitiesOnly=yes"]
        if self.port is not None:
            options += ["-o", f"Port={self.port}"]
        if self.proxy_command is not None:
            options += ["-o", f"ProxyCommand={self.proxy_command}"]
        return options

    @property
    def target(self) -> str:
        """User and host, as ``ssh`` takes them."""
        return f"{self.user}@{self.host}" if self.user else self.host

    def command(
        self, script: str | None, *, terminal: bool = False, forward: tuple[str, ...] = ()
    ) -> list[str]:
        """What runs a shell script there; without one, a shell."""
        ports = [part for each in forward for part in ("-L", each)]
        return [
            _program("ssh"),
            *(["-tt"] if terminal else []),
            *self.options(interactive=terminal),
            *ports,
            self.target,
            *([script] if script is not None else []),
        ]

    def run(
        self, script: str, *, given: str = "", timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script there, with ``given`` as its input.

        Raises
        ------
        RaySystemError
            It cannot be reached, or the script does not end in time.
        """
        try:
            done = subprocess.run(
                self.command(script),
                input=given,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RaySystemError(
                f"a command on {self.target} did not end within {timeout_s:g} s: {_shown(script)}"
            ) from error
        if done.returncode == 255:  # ssh's own errors
            raise RaySystemError(f"{self.target} cannot be reached by ssh: {done.stderr.strip()[-500:]}")
        return done

    def must(self, script: str, **options: Any) -> str:
        """Run a shell script that has to succeed; what it wrote.

        Raises
        ------
        RaySystemError
            As :meth:`run`; or it failed.
        """
        done = self.run(script, **options)
        if done.returncode:
            raise RaySystemError(
                f"a command failed on {self.target} (exit code {done.returncode}): {_shown(script)}\n"
                f"{(done.stderr or done.stdout).strip()[-1500:]}"
            )
        return done.stdout

    def put_private(self, text: str, path: str) -> None:
        """Write a file there that only the user can read. The text is in no command line."""
        place = shell_path(path)
        directory = shell_path(path.rpartition("/")[0] or ".")
        self.must(
            f"umask 077 && mkdir -p {directory} && cat > {place}.new && mv {place}.new {place}",
            given=text,
        )

    def rsync(self, source: str, target: str, *, down: bool, options: tuple[str, ...] = ()) -> None:
        """Copy files there (or, with ``down``, from there) with the program ``rsync``.

        Raises
        ------
        RaySystemError
            It failed, or is not installed on either side.
        """
        shell = shlex.join([_program("ssh"), *self.options()])
        far = f"{self.target}:{source if down else target}"
        ends = [far, target] if down else [source, far]
        command = [_program("rsync"), "-az", *options, "-e", shell, *ends]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RaySystemError(
                f"rsync with {self.target} failed (exit code {done.returncode}): "
                f"{done.stderr.strip()[-1000:]}"
            )


def shell_path(path: str) -> str:
    """A path as a word of a shell script; a tilde at its beginning stays one.

    Examples
    --------
    >>> shell_path("~/my files/a")
    '~/"my files/a"'
    """
    if path == "~" or path.startswith("~/"):
        rest = path[2:]
        return f'~/"{rest}"' if rest else "~"
    return shlex.quote(path)


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise RaySystemError(
            f"the program {name} is not installed on this machine: install it (OpenSSH, rsync)."
        )
    return path


def _shown(script: str) -> str:
    return script if len(script) <= 200 else f"{script[:200]}…"
