"""What tasks and actors print appears in the cell that made the call, in one block, and nowhere else."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from .conftest import Kernel, Ran

DEFINE = """
import os, sys, time, threading
import rayjup as ray

@ray.remote
def say(text, times=1, pause=0.0):
    for _ in range(times):
        time.sleep(pause)
        print(text)

def until_there(path):
    while not os.path.exists(path):
        time.sleep(0.02)

@ray.remote
def say_when(text, paths):
    for path in paths:
        until_there(path)
        print(text)

@ray.remote
def complain(text):
    print(text, file=sys.stderr)

@ray.remote(num_cpus=0)
class Speaker:
    def __init__(self, text):
        print("made:", text)
        self.text = text
    def say(self, more):
        print(self.text, more)
    def say_later(self, text, path):
        threading.Thread(target=lambda: print(text) if not until_there(path) else None).start()
    def say_until(self, text, path):
        threading.Thread(target=self.repeat, args=(text, path)).start()
    def repeat(self, text, path):
        while not os.path.exists(path):
            print(text, flush=True)
            time.sleep(0.1)
"""

# However long it takes a process to hand over its lines, the cell waits for them.
PATIENT = """
from rayjup.engine.runtime import runtime
from rayjup.notebook import logs
logs._SETTLE_S, runtime._LAST_LINES_S = 20.0, 30.0
"""


def connected(kernel: Kernel, options: str = "--num-cpus 2", patient: bool = True) -> Kernel:
    """A kernel with a cluster; ``patient`` is not for cells that leave tasks running."""
    kernel.ok(f"%ray_init {options} --no-display")
    kernel.ok(DEFINE + PATIENT * patient)
    return kernel


def blocks(ran: Ran) -> list[dict[str, Any]]:
    """The blocks of lines, by the last content of each."""
    found: dict[str, dict[str, Any]] = {}
    for content in (*ran.displays, *ran.updates):
        if "rayjup-logs" in content["data"].get("text/html", ""):
            found[content["transient"]["display_id"]] = content["data"]
    return list(found.values())


def text_of(ran: Ran) -> str:
    """The lines of the cell's block, without process numbers."""
    found = blocks(ran)
    assert len(found) <= 1, found
    return re.sub(r" pid=\d+", "", found[0]["text/plain"]) if found else ""


def late(kernel: Kernel, id: str, wanted: str, timeout_s: float = 30.0) -> Ran:
    """What arrives for an earlier cell without any running, until it has ``wanted``."""
    ran = Ran()
    deadline = time.monotonic() + timeout_s
    while wanted not in text_of(ran):
        left = deadline - time.monotonic()
        assert left > 0, f"no {wanted!r} in {ran}"
        message = kernel.client.get_iopub_msg(timeout=left)
        if message["msg_type"].endswith("display_data"):
            assert message["parent_header"]["msg_id"] == id, "output of another cell"
        kernel.note(message, ran)
    return ran


def test_two_cells_in_turn(kernel: Kernel) -> None:
    connected(kernel)
    first = kernel.ok("ray.get([say.remote('one'), complain.remote('trouble <b>')])")
    assert sorted(text_of(first).splitlines()) == ["(complain) trouble <b>", "(say) one"]
    assert not first.text, "lines are in the block only"
    html = blocks(first)[0]["text/html"]
    assert "trouble &lt;b&gt;" in html and html.count('class="rj-err"') == 1 and "<details" in html
    assert "2 lines of 2 processes" in html
    second = kernel.ok("ray.get(say.remote('two'))")
    assert text_of(second) == "(say) two"
    assert not blocks(kernel.ok("print('no call')"))
    assert not blocks(kernel.listen(1.0))


def test_late_lines_go_to_the_cell_that_made_the_call(kernel: Kernel, tmp_path: Path) -> None:
    connected(kernel, patient=False)
    gates = [tmp_path / f"gate {number}" for number in range(4)]
    id = kernel.send(f"ref = say_when.remote('slow', {[str(gate) for gate in gates[:3]]})")
    assert not blocks(kernel.collect(id))
    # Lines of the earlier call come while another cell runs, and after it.
    other = kernel.send(f"ray.get(say.remote('quick')); until_there({str(gates[3])!r})")
    gates[0].touch()
    texts: dict[str, str] = {}
    deadline = time.monotonic() + 30
    while texts.get(id, "").count("slow") < 3 or other not in texts:
        if "slow" in texts.get(id, ""):  # so one came while the other cell ran
            for gate in gates:
                gate.touch()
        left = deadline - time.monotonic()
        assert left > 0, texts
        message = kernel.client.get_iopub_msg(timeout=left)
        ran = Ran()
        kernel.note(message, ran)
        if blocks(ran):
            text = text_of(ran)
            owner = id if "slow" in text else other
            # What is new is shown on behalf of its own cell; changes may come with that of another.
            if message["msg_type"] == "display_data":
                assert message["parent_header"]["msg_id"] == owner
            texts[owner] = text
    assert texts == {id: "\n".join(["(say_when) slow"] * 3), other: "(say) quick"}


def test_actors_speak_where_they_are_called(kernel: Kernel, tmp_path: Path) -> None:
    connected(kernel)
    made = kernel.send("speaker = Speaker.remote('hello')\nray.get(speaker.say.remote('here'))")
    assert text_of(kernel.collect(made)) == "(Speaker) made: hello\n(Speaker) hello here"
    assert text_of(kernel.ok("ray.get(speaker.say.remote('there'))")) == "(Speaker) hello there"
    # A thread of the actor that belongs to no call speaks in the cell that has made the actor.
    gate = tmp_path / "gate"
    assert not blocks(kernel.ok(f"ray.get(speaker.say_later.remote('thread', {str(gate)!r}))"))
    gate.touch()
    update = late(kernel, made, "thread")
    assert text_of(update).splitlines()[-1] == "(Speaker) thread"


def test_calls_of_calls_belong_to_the_cell(kernel: Kernel) -> None:
    connected(kernel)
    kernel.ok(
        "@ray.remote\ndef outer():\n    ray.get(say.remote('inner'))\n    print('outer')\n",
    )
    assert text_of(kernel.ok("ray.get(outer.remote())")) == "(say) inner\n(outer) outer"


def test_the_same_line_of_many_is_shown_once(kernel: Kernel) -> None:
    connected(kernel)
    kernel.ok(
        "@ray.remote(num_cpus=0)\nclass Same:\n    def say(self):\n        print('step 7 done')\n"
        "many = [Same.remote() for _ in range(4)]"
    )
    ran = kernel.ok("ray.get([one.say.remote() for one in many])")
    lines = [line for line in text_of(ran).splitlines() if line.startswith("(")]
    assert lines[0] == "(Same) step 7 done"
    assert lines[1].startswith("(Same) step 7 done [repeated 3x across cluster]") and len(lines) == 2


def test_colours(kernel: Kernel) -> None:
    connected(kernel)
    ran = kernel.ok(r"ray.get(say.remote('\x1b[32mfine\x1b[0m'))")
    assert text_of(ran) == "(say) fine"
    assert '<span style="color:#3c9a3c">fine</span>' in blocks(ran)[0]["text/html"]


def test_a_flood_is_counted_and_does_not_slow_the_kernel(kernel: Kernel) -> None:
    connected(kernel)
    kernel.ok("@ray.remote\ndef flood(n):\n    for i in range(n):\n        print('line', i)\n")
    kernel.ok("ray.get([flood.remote(1), flood.remote(1)])\nimport time")
    began = time.monotonic()
    ran = kernel.ok("t = time.process_time()\nray.get(flood.remote(100_000))\nprint(time.process_time() - t)")
    took = time.monotonic() - began
    text = text_of(ran)
    head, *lines = text.splitlines()
    assert "… 100,000 lines of 1 process:" in head and "left out because they came too fast" in head
    assert "%ray_logs" in head and "/logs" in head
    assert len(lines) <= 200
    assert float(ran.text) < 2.0  # 0.2 where nothing else runs; it would be 5 with all lines in the cell
    assert kernel.ok("t = time.process_time()\n1 + 1\nprint(time.process_time() - t < 0.2)").text == "True\n"
    assert len(blocks(ran)) == 1 and len(ran.updates) <= 2 * 4 * took + 4  # of lines and of progress


def test_bars_are_lines_that_change(kernel: Kernel) -> None:
    connected(kernel)
    kernel.ok(
        """
@ray.remote
def work(name):
    from rayjup.experimental import tqdm_ray
    for _ in tqdm_ray.tqdm(range(20), desc=name, flush_interval_s=0.05):
        time.sleep(0.02)
    print("worked")
"""
    )
    ran = kernel.ok("ray.get([work.remote('a'), work.remote('b')])")
    lines = text_of(ran).splitlines()
    assert len(lines) == 4 and "20/20" in lines[2] and "20/20" in lines[3]
    assert {lines[2][:9], lines[3][:9]} == {"(work) a:", "(work) b:"}


def test_nothing_comes_after_shutdown(kernel: Kernel) -> None:
    connected(kernel, patient=False)
    kernel.ok("ref = say.remote('still', 100, 0.1)")
    kernel.ok("%ray_shutdown")
    assert not blocks(kernel.listen(1.0))
    # A new connection has lines again.
    connected(kernel)
    assert text_of(kernel.ok("ray.get(say.remote('again'))")) == "(say) again"


def test_without_logs(kernel: Kernel) -> None:
    connected(kernel, "--num-cpus 1 --no-logs")
    assert not blocks(kernel.ok("ray.get(say.remote('hush'))"))


SHOWN = """
from rayjup.notebook import cells
(logs,) = (part for part in cells.current().parts if type(part).__name__ == "Logs")
deadline = time.monotonic() + 30
while not any(block.printed >= {} and not block.dirty for block in list(logs._blocks.values())):
    assert time.monotonic() < deadline, logs._blocks
    time.sleep(0.02)
"""


def test_headless_runs_keep_the_lines() -> None:
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(source)
            for source in (
                "%load_ext rayjup\n%ray_init --num-cpus 2 --no-display",
                DEFINE,
                "early = say.remote('early', 8, 0.1)\nray.get(say.remote('kept'))\n" + SHOWN.format(2),
                # Here the last lines are shown while the next cell runs, which then has nothing to add.
                "ray.get(early)\n" + SHOWN.format(9),
                "%ray_shutdown",
            )
        ]
    )
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    texts = [
        re.sub(r" pid=\d+", "", output["data"]["text/plain"]) for output in _log_blocks(notebook.cells[2])
    ]
    assert len(texts) == 1
    # Later lines are in the block of the cell that has made the call, though another one ran then.
    assert sorted(texts[0].splitlines()) == ["(say) early"] * 8 + ["(say) kept"]
    assert not _log_blocks(notebook.cells[3])


def _log_blocks(cell: Any) -> list[Any]:
    shown = [output for output in cell.outputs if output["output_type"] == "display_data"]
    return [output for output in shown if "rayjup-logs" in output["data"].get("text/html", "")]


def test_ray_logs(kernel: Kernel, tmp_path: Path) -> None:
    connected(kernel, "--num-cpus 2 --no-logs")
    kernel.ok("speaker = Speaker.options(name='orator').remote('word')")
    kernel.ok("ray.get([speaker.say.remote(n) for n in range(5)])")
    ref = kernel.ok("ref = say.remote('of the task')\nray.get(ref)\nprint(ref.task_id().hex())").text.strip()
    assert kernel.ok("%ray_logs orator --tail 2").text == "word 3\nword 4\n"
    assert kernel.ok("%ray_logs Speaker --tail 1").text == "word 4\n"
    assert kernel.ok(f"%ray_logs {ref}").text == "of the task\n"
    pid = kernel.ok("print(__import__('rayjup.util.state').util.state.list_actors()[0].pid)").text.strip()
    assert kernel.ok(f"%ray_logs {pid} --tail -1").text.startswith("made: word\nword 0\n")
    assert kernel.ok(f"%ray_logs {pid} --err").text == ""
    listed = kernel.ok("%ray_logs").text
    assert "worker_out" in listed and "cluster.log" in listed and "/logs" in listed
    assert kernel.run("%ray_logs cluster.log --tail 1").ename == ""
    gate = tmp_path / "gate"
    kernel.ok(f"ray.get(speaker.say_until.remote('followed', {str(gate)!r}))")
    began = time.monotonic()
    assert "followed" in kernel.ok("%ray_logs orator --tail 0 --follow 1.5").text
    assert time.monotonic() - began > 1.4
    gate.touch()
    wrong = kernel.run("%ray_logs nobody")
    assert wrong.ename == "ValueError" and "is called 'nobody'" in wrong.evalue
    kernel.ok("other = Speaker.remote('x')\nray.get(other.say.remote(''))")
    several = kernel.run("%ray_logs Speaker")
    assert several.ename == "ValueError" and "2 actors are called 'Speaker'" in several.evalue
    found = kernel.client.complete("%ray_logs ora", reply=True, timeout=60)["content"]["matches"]
    assert "orator" in found
    twin = kernel.ok("from rayjup.notebook import ray_logs\nray_logs('orator', tail=1)")
    assert twin.text == "followed\n"


def test_in_a_terminal_lines_go_there(tmp_path: Path) -> None:
    code = """
%load_ext rayjup
%ray_init --num-cpus 1 --no-display
import rayjup as ray
@ray.remote
def say(): print("spoken")
ray.get(say.remote())
from rayjup.core import session
from rayjup.engine.runtime import runtime
runtime._LAST_LINES_S = 30.0
session.own().runtime.settle_logs(20.0)
%ray_shutdown
"""
    script = tmp_path / "session.ipy"
    script.write_text(code)
    command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert re.search(r"^\(say pid=\d+\) spoken$", done.stdout, re.MULTILINE), done


def test_what_the_cluster_has_to_say_is_in_the_cell(kernel: Kernel) -> None:
    connected(kernel)
    kernel.ok("from rayjup.core import session\nlink = session.own().runtime.link")
    ran = kernel.ok("link.on['warning']('nothing will come of this')\nray.get(say.remote('x'))")
    assert text_of(ran) == "(rayjup) nothing will come of this\n(say) x"
    kernel.ok("%unload_ext rayjup")
    assert "nothing will" in kernel.ok("link.on['warning']('nothing will come of this')").text
