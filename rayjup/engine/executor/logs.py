"""What tasks and actors print: to the executor's log file and, by line, to the driver."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any

from rayjup.base.logging_config import LoggingConfig

if TYPE_CHECKING:
    from rayjup.engine.executor.executor import Executor
    from rayjup.engine.runtime.runtime import Runtime

_MAX_LINE = 16 * 1024


class LineStream(io.TextIOBase):
    """A text stream that also forwards complete lines to the driver through the agent."""

    def __init__(self, executor: Executor, stream: str, fd: int) -> None:
        self.executor = executor
        self.stream = stream
        self._fd = fd
        self._rest = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8."""
        return "utf-8"

    def fileno(self) -> int:
        """The log file's descriptor."""
        return self._fd

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, text: str) -> int:
        """Write to the log file and forward the lines that are complete."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        data = text.encode("utf-8", "replace")
        os.write(self._fd, data)
        end = os.lseek(self._fd, 0, os.SEEK_CUR)
        self.executor.events.printed(self.stream, end - len(data), end)
        if "\n" in text:
            *lines, self._rest = (self._rest + text).split("\n")
            self._forward(lines)
        else:
            self._rest += text
            if len(self._rest) > _MAX_LINE:
                self._forward([self._rest])
                self._rest = ""
        return len(text)

    def flush(self) -> None:
        """Everything is in the log file already; lines go to the driver when complete."""

    def _forward(self, lines: list[str]) -> None:
        if self.executor.runtime.closed:
            return  # a child forked by a task: its lines are in the log file
        self.executor.runtime.link.post(
            ("log", self.stream, self.executor.title(), [line[:_MAX_LINE] for line in lines])
        )
        self.executor.runtime.reactor.unpark()


def install(executor: Executor) -> None:
    """Replace ``sys.stdout`` and ``sys.stderr``; set up logging where the job says how."""
    sys.stdout = LineStream(executor, "stdout", 1)
    sys.stderr = LineStream(executor, "stderr", 2)
    if "logging" in executor.job:
        LoggingConfig.from_dict(executor.job["logging"]).apply(lambda: _context(executor))


def process_context(runtime: Runtime) -> dict[str, str]:
    """The ids of a process, for log records."""
    return {
        "job_id": runtime.job_id.hex(),
        "worker_id": runtime.worker_id.hex(),
        "node_id": runtime.node_id,
    }


def _context(executor: Executor) -> dict[str, str]:
    out = process_context(executor.runtime)
    if executor.actor_spec is not None:
        out["actor_id"] = executor.actor_id.hex()
    running = executor.context()
    if running is not None:
        out["task_id"] = running.task_id.hex()
        out["task_name"] = (running.options or {}).get("name") or running.name
        out["task_func_name"] = running.name
    if executor.actor_spec is not None:
        out["actor_name"] = executor.actor_spec.get("name") or ""
    return out


def write_to_driver(stream: str, title: str, lines: list[str]) -> None:
    """Print lines of a task or actor in the driver, each with its origin in front."""
    target: Any = sys.stdout if stream == "stdout" else sys.stderr
    prefix = f"({title})"
    if target.isatty():
        prefix = f"\x1b[36m{prefix}\x1b[0m"
    target.write("".join(f"{prefix} {line}\n" for line in lines))
    target.flush()


def write_as_it_is(stream: str, title: str, lines: list[str]) -> None:
    """Print lines of a task or actor in the driver as they are: where a job says how it logs."""
    target: Any = sys.stdout if stream == "stdout" else sys.stderr
    target.write("".join(f"{line}\n" for line in lines))
    target.flush()
