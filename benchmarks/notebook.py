"""What the notebook side costs, measured in real kernels on real clusters.

    python benchmarks/notebook.py --out benchmarks/results/notebook.md

Every line has a limit; the exit code is 1 when one is missed. Kernels and clusters live in a runtime
directory of their own: the user's are neither seen nor touched.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from traitlets import default


@dataclass
class Line:
    """One measured line with its limit; ``better``: whether small or large numbers are good."""

    name: str
    unit: str
    limit: float
    better: str = "lower"
    values: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def holds(self) -> bool:
        return self.value <= self.limit if self.better == "lower" else self.value >= self.limit

    def row(self) -> str:
        sign = "≤" if self.better == "lower" else "≥"
        spread = f"{min(self.values):.3g} – {max(self.values):.3g}"
        verdict = "holds" if self.holds else "**missed**"
        return (
            f"| {self.name} | {self.value:.3g} {self.unit} | {spread} | {sign} {self.limit:g} {self.unit} "
            f"| {verdict} | {self.note} |"
        )


class Kernel(KernelManager):
    """A kernel of this interpreter, on unix sockets."""

    @default("transport")
    def _private_sockets(self) -> str:
        return "ipc"

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="bench", language="python")


class Session:
    """A kernel with a client; ``with`` ends both."""

    count = 0

    def __init__(self) -> None:
        Session.count += 1
        stem = Path(os.environ["JUPYTER_RUNTIME_DIR"]) / f"b{Session.count}"
        self.manager = Kernel(ip=str(stem), connection_file=f"{stem}.json")

    def __enter__(self) -> Session:
        self.manager.start_kernel()
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def run(self, code: str) -> str:
        """What the cell printed; raises what it raised."""
        printed, errors = [], []

        def hook(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                printed.append(content["text"])
            elif message["msg_type"] == "error":
                errors.append("\n".join(content["traceback"]))

        self.client.execute_interactive(code, timeout=120, output_hook=hook, allow_stdin=False)
        if errors:
            raise RuntimeError(errors[0])
        return "".join(printed)

    def numbers(self, code: str) -> Any:
        """What the last line of what the cell printed says as JSON."""
        return json.loads(self.run(code).splitlines()[-1])

    def interrupted(self, code: str) -> float:
        """Seconds from an interrupt of ``code`` (which prints "begun" first) to the next prompt."""
        message = self.client.execute(code, allow_stdin=False)
        while "begun" not in self.client.get_iopub_msg(timeout=30)["content"].get("text", ""):
            pass
        time.sleep(0.3)
        began = time.perf_counter()
        os.kill(self.manager.provisioner.process.pid, signal.SIGINT)
        while True:
            reply = self.client.get_shell_msg(timeout=30)
            if reply["parent_header"]["msg_id"] == message:
                break
        took = time.perf_counter() - began
        if reply["content"]["ename"] != "KeyboardInterrupt":
            raise RuntimeError(f"the cell ended with {reply['content']}")
        return took


TIMED = """
import json, time
began = time.perf_counter()
{code}
print()
print(json.dumps(time.perf_counter() - began))
"""

UPDATE = """
import copy, json, time
from rayjup.notebook.displays import ClusterDisplay
from rayjup.notebook.feed import FEED
from IPython.display import display
base = dict(FEED.snapshot())
counts = {{"pending": 1, "running": 1, "finished": 1, "failed": 0}}
worker = {{"class_name": "Worker", "name": "", "state": "ALIVE", "node_id": "n", "pid": 1, "pending": 0}}
base["tasks"] = [dict(counts, name=f"step_{{i}}") for i in range({rows})]
base["actors"] = [dict(worker, actor_id=f"a{{i}}") for i in range({rows})]
shown = ClusterDisplay(FEED, base)
display(shown)
took = []
for i in range(100):
    changed = dict(base, uptime_s=60 * i, tasks=[dict(base["tasks"][0], finished=i), *base["tasks"][1:]])
    began = time.perf_counter()
    assert shown.update_live(changed) or not i
    took.append(time.perf_counter() - began)
took.sort()
print(json.dumps(took[len(took) // 2] * 1e3))
"""

LOAD = """
import json, time
import rayjup as ray
@ray.remote
def nothing():
    return None
def rate(seconds=4.0):
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        ray.get([nothing.remote() for _ in range(2000)])
        done += 2000
    return done / (time.perf_counter() - began)
rate(1.0)
"""

HUNDRED = """
from IPython.display import display
from rayjup.notebook import ray_status, ray_top
from rayjup.notebook.feed import FEED
@ray.remote(num_cpus=0)
class Sleeper:
    async def sleep(self):
        import asyncio
        await asyncio.sleep(3600)
sleeper = Sleeper.options(max_concurrency=200).remote()
pending = [sleeper.sleep.remote() for _ in range(90)]
for ref in pending:
    display(ref)
for _ in range(5):
    display(ray_status())
    display(ray_top())
assert sum(one.live for one in FEED._displays) == 100, len(FEED._displays)
"""


def measure(repeats: int) -> list[Line]:
    """All lines."""
    lines = {
        "load": Line("`%load_ext rayjup`", "ms", 150),
        "cold": Line("`%ray_init` to display, starting a cluster", "s", 1.5, note="kernel fresh"),
        "join": Line("`%ray_init` to display, joining a cluster", "s", 0.3, note="kernel fresh"),
        "again": Line("`%ray_init` to display, connected already", "s", 0.3),
        "update": Line("display update, 20 tasks and 20 actors", "ms", 2, note="kernel time per display"),
        "update10k": Line("display update, 10 000 tasks and 10 000 actors", "ms", 2),
        "interrupt": Line("interrupt in `ray.get` to prompt", "s", 0.5),
        "interrupt_cell": Line("interrupt in `%%ray_remote` to prompt", "s", 0.5),
        "throughput": Line("tasks with 100 live displays, of those without", "%", 90, "higher"),
    }
    for _ in range(repeats):
        with Session() as first:
            lines["load"].values.append(first.numbers(TIMED.format(code="%load_ext rayjup")) * 1e3)
            lines["cold"].values.append(
                first.numbers(TIMED.format(code="%ray_init --num-cpus 2 --name bench"))
            )
            lines["again"].values.append(first.numbers(TIMED.format(code="%ray_init --name bench")))
            with Session() as second:
                second.run("%load_ext rayjup")
                lines["join"].values.append(second.numbers(TIMED.format(code="%ray_init --name bench")))
                second.run("%ray_shutdown")
            lines["update"].values.append(first.numbers(UPDATE.format(rows=20)))
            lines["update10k"].values.append(first.numbers(UPDATE.format(rows=10_000)))
            first.run("import rayjup as ray, time\nf = ray.remote(time.sleep)")
            lines["interrupt"].values.append(first.interrupted("print('begun')\nray.get(f.remote(60))"))
            cell = "%%ray_remote\nimport time\nprint('begun')\ntime.sleep(60)"
            lines["interrupt_cell"].values.append(first.interrupted(cell))
            first.run("%ray_shutdown")
    with Session() as kernel:
        kernel.run("%load_ext rayjup\n%ray_init --num-cpus 2 --no-display")
        kernel.run(LOAD)
        kernel.run(HUNDRED)
        freeze = "from rayjup.notebook.feed import FEED\nfor d in FEED._displays: d.freeze(FEED._shell)"
        thaw = "for d in FEED._displays: d.thaw(FEED._shell)\nFEED.wake()"
        rates = []
        for _ in range(max(3, repeats)):
            # Next to each other, because the machine's speed changes within minutes.
            kernel.run(freeze)
            without = kernel.numbers("FEED._before_cell = lambda *a: None\nprint(json.dumps(rate()))")
            kernel.run(thaw)
            rates.append((kernel.numbers("print(json.dumps(rate()))"), without))
        line = lines["throughput"]
        line.values = [100 * with_displays / without for with_displays, without in rates]
        line.note = f"{statistics.median(without for _, without in rates):,.0f} tasks/s without"
        kernel.run("%ray_shutdown")
    return list(lines.values())


def report(lines: list[Line], repeats: int) -> str:
    """The table as Markdown."""
    head = (
        "# The notebook side\n\n"
        f"Measured with `python benchmarks/notebook.py` in real kernels; medians of {repeats} repeats. "
        f"{os.cpu_count()} CPUs, Python {platform.python_version()}, load average "
        f"{os.getloadavg()[1]:.1f} over five minutes when it ended.\n\n"
        "| what | median | range | limit | | |\n|---|---:|---:|---:|---|---|\n"
    )
    return head + "\n".join(line.row() for line in lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="What the notebook side costs.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="file for the table")
    options = parser.parse_args()
    # Short, because the path of a unix socket may have 107 bytes only.
    with tempfile.TemporaryDirectory(prefix="rjb-") as runtime:
        os.environ["JUPYTER_RUNTIME_DIR"] = runtime
        # Imported now that it finds no cluster but those of this run.
        from rayjup.cluster import manager

        try:
            lines = measure(options.repeats)
        finally:
            manager.stop_all()
    text = report(lines, options.repeats)
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    return 0 if all(line.holds for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
