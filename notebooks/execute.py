"""Execute a notebook headless through a real kernel and report what it checked.

    python notebooks/execute.py notebooks/01_tour.ipynb --out out/

writes the executed notebook and an HTML page to ``out/``, prints one line per check, and ends
with exit code 1 if a check failed or a cell raised. The checks are read from the outputs of
`rayjup.notebook.Checks`, which carry a form for programs beside the one for people.

Clusters the notebook starts live in a runtime directory of their own: the user's are neither seen
nor touched, and what a failed notebook leaves running is stopped.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from traitlets import default

CHECK_MIME = "application/vnd.rayjup.check+json"


class ThisPythonsKernelManager(AsyncKernelManager):
    """Starts the kernel with the interpreter that runs this program, whatever specs are installed."""

    @default("transport")
    def _private_sockets(self) -> str:
        return "ipc"  # unix sockets instead of TCP ports

    @default("ip")
    def _private_path(self) -> str:
        # With unix sockets, "ip" is what their paths begin with.
        return str(Path(os.environ["JUPYTER_RUNTIME_DIR"]) / "kernel")

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


@dataclass
class Report:
    """What a notebook did. ``error``: why it ended early."""

    checks: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    error: str = ""

    @property
    def passed(self) -> bool:
        return not self.error and bool(self.checks) and all(check["passed"] for check in self.checks)


def execute(path: Path, out: Path, timeout_s: float) -> Report:
    """Execute the notebook ``path``, write both forms of it to the folder ``out``."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=timeout_s,
        kernel_manager_class=ThisPythonsKernelManager,
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,  # the outputs hold HTML; a live widget has nothing to add to a file
    )
    report = Report()
    began = time.monotonic()
    try:
        client.execute()
    except CellExecutionError as error:
        report.error = describe(notebook, error)
    except CellTimeoutError as error:
        report.error = f"a cell took more than {timeout_s:.0f} s: {error}"
    except DeadKernelError as error:
        report.error = f"the kernel died in cell [{last_count(notebook)}]: {error}"
    except AssertionError as error:
        # nbclient's own clean-up stumbles over a dead kernel and hides what it was about to say.
        if not isinstance(error.__context__, DeadKernelError):
            raise
        report.error = f"the kernel died in the cell after [{last_count(notebook)}]"
    report.seconds = time.monotonic() - began
    report.checks = collect_checks(notebook)
    if not report.error and not report.checks:
        report.error = (
            "the notebook checked nothing: a notebook run by this program uses rayjup.notebook.Checks"
        )

    out.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, out / path.name)
    page, _ = HTMLExporter().from_notebook_node(notebook)
    (out / path.with_suffix(".html").name).write_text(page, encoding="utf-8")
    return report


def collect_checks(notebook: nbformat.NotebookNode) -> list[dict[str, Any]]:
    """All checks in the outputs of the notebook, in order, each with the execution count of its cell."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {}).get(CHECK_MIME)
            if data is not None:
                found.append({**data, "cell": cell.get("execution_count")})
    return found


def last_count(notebook: nbformat.NotebookNode) -> int:
    """The execution count of the cell that ran last."""
    return max((cell.get("execution_count") or 0 for cell in notebook.cells), default=0)


def describe(notebook: nbformat.NotebookNode, error: CellExecutionError) -> str:
    """The exception of a cell with the end of its traceback, free of terminal colours."""
    count = last_count(notebook)
    trace = re.sub(r"\x1b\[[0-9;]*m", "", error.traceback).rstrip().splitlines()
    return "\n".join([f"cell [{count}] raised {error.ename}: {error.evalue}", *trace[-25:]])


def summary(path: Path, report: Report) -> str:
    """The table that is printed."""
    width = max([len(check["name"]) for check in report.checks], default=0)
    lines = [
        f"{path.name}: {len(report.checks)} checks, {report.seconds:.1f} s with the start of the kernel",
        "",
    ]
    for check in report.checks:
        verdict = "passed" if check["passed"] else "FAILED"
        line = (
            f"  cell {check['cell']:>2}  {verdict}  {check['seconds']:7.2f} s  {check['name'].ljust(width)}"
        )
        lines.append(f"{line}  {check['detail']}".rstrip())
    if report.error:
        lines += ["", "ENDED EARLY", report.error]
    failed = sum(not check["passed"] for check in report.checks)
    lines += ["", "all checks passed" if report.passed else f"NOT PASSED: {failed} checks failed"]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("notebook", type=Path)
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help="folder for the results (default: out/)"
    )
    parser.add_argument(
        "--timeout", type=float, default=300.0, help="seconds one cell may take (default 300)"
    )
    options = parser.parse_args(argv)
    if not options.notebook.is_file():
        parser.error(f"there is no notebook {options.notebook}")

    # Short, because the path of a unix socket may have 107 bytes only.
    with tempfile.TemporaryDirectory(prefix="rjx-") as runtime:
        os.environ["JUPYTER_RUNTIME_DIR"] = runtime
        # Imported now that it would find no cluster but those of this run.
        from rayjup.cluster import manager

        try:
            report = execute(options.notebook, options.out, options.timeout)
        finally:
            manager.stop_all()
    print(summary(options.notebook, report))
    print(f"written: {options.out / options.notebook.name}, {options.out / options.notebook.stem}.html")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
