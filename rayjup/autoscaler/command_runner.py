"""Commands on a machine, as ``ray.autoscaler.command_runner``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from rayjup.cluster.ssh import Machine

__all__ = ["CommandRunnerInterface", "SshCommandRunner"]


class CommandRunnerInterface:
    """Runs commands on a machine and copies files; to be subclassed."""

    def run(
        self,
        cmd: str | None = None,
        timeout: int = 120,
        exit_on_fail: bool = False,
        port_forward: list[tuple[int, int]] | None = None,
        with_output: bool = False,
        environment_variables: Mapping[str, object] | None = None,
        run_env: str = "auto",
        ssh_options_override_ssh_key: str = "",
        shutdown_after_run: bool = False,
    ) -> str:
        """Run a shell command; what it wrote, where ``with_output`` asks for that."""
        raise self._missing("run")

    def run_rsync_up(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        """Copy files there."""
        raise self._missing("run_rsync_up")

    def run_rsync_down(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        """Copy files from there."""
        raise self._missing("run_rsync_down")

    def remote_shell_command_str(self) -> str:
        """A command line that opens a shell there."""
        raise self._missing("remote_shell_command_str")

    def run_init(self, *, as_head: bool, file_mounts: dict[str, str], sync_run_yet: bool) -> bool | None:
        """Prepare the machine, before anything else runs there."""
        return None

    def _missing(self, method: str) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} runs no commands: it does not define {method}().")


class SshCommandRunner(CommandRunnerInterface):
    """Runs them by ssh.

    Parameters
    ----------
    machine
        The machine.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def run(
        self,
        cmd: str | None = None,
        timeout: int = 120,
        exit_on_fail: bool = False,
        port_forward: list[tuple[int, int]] | None = None,
        with_output: bool = False,
        environment_variables: Mapping[str, object] | None = None,
        run_env: str = "auto",
        ssh_options_override_ssh_key: str = "",
        shutdown_after_run: bool = False,
    ) -> str:
        """Run a shell command that has to succeed.

        Raises
        ------
        RaySystemError
            The machine cannot be reached, or the command fails.
        """
        variables = "".join(
            f"export {name}={shlex.quote(str(value))}; "
            for name, value in (environment_variables or {}).items()
        )
        after = " && sudo shutdown -h now" if shutdown_after_run else ""
        said = self.machine.must(f"{variables}{cmd or 'true'}{after}", timeout_s=float(timeout))
        return said if with_output else ""

    def run_rsync_up(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        """Copy files there."""
        self.machine.rsync(source, target, down=False, options=_excludes(options))

    def run_rsync_down(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        """Copy files from there."""
        self.machine.rsync(source, target, down=True, options=_excludes(options))

    def remote_shell_command_str(self) -> str:
        """A command line that opens a shell there."""
        return shlex.join(self.machine.command(None, terminal=True))


def _excludes(options: dict[str, Any] | None) -> tuple[str, ...]:
    return tuple(f"--exclude={each}" for each in (options or {}).get("rsync_exclude", ()))
