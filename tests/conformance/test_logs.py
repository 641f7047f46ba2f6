"""What tasks and actors print comes to the driver, with its origin in front."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time

ENGINE = os.environ.get("RAYJUP_CONFORMANCE_ENGINE", "rayjup")


def lines_of(program, *, until=lambda lines: True, env=None):
    """What the program writes, by lines; it goes on to its end as soon as it has written what is wanted."""
    command = [sys.executable] if ENGINE == "ray" else [sys.executable, "-m", "rayjup.as_ray"]
    process = subprocess.Popen(
        [*command, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    lines = []

    def read(stream):
        for line in stream:
            lines.append(line.rstrip())

    readers = [threading.Thread(target=read, args=(s,)) for s in (process.stdout, process.stderr)]
    try:
        for reader in readers:
            reader.start()
        deadline = time.monotonic() + 90
        while not until(lines.copy()):
            assert time.monotonic() < deadline, lines
            assert process.poll() is None, lines
            time.sleep(0.02)
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(timeout=90) == 0, lines
    finally:
        process.kill()
        process.wait()
        for reader in readers:
            reader.join()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
    return lines


PROGRAM = """
    import sys
    import ray

    ray.init(num_cpus=2, {init})

    @ray.remote
    def speak(text):
        print(text)
        print(text + " as an error", file=sys.stderr)

    @ray.remote
    class Speaker:
        def speak(self, text):
            print(text)

    ray.get(speak.remote("hello from a task"))
    ray.get(Speaker.remote().speak.remote("hello from an actor"))
    print("all is said", flush=True)
    input()
    {before_the_end}
    ray.shutdown()
"""


def test_lines_come_to_the_driver_with_name_and_pid():
    wanted = (
        ("speak", "hello from a task"),
        ("speak", "hello from a task as an error"),
        ("Speaker", "hello from an actor"),
    )

    def all_there(lines):
        return all(any(line.endswith(text) for line in lines) for _, text in wanted)

    lines = lines_of(PROGRAM.format(init="", before_the_end=""), until=all_there)
    for name, text in wanted:
        (line,) = [line for line in lines if line.endswith(text)]
        assert f"({name} pid=" in line


def test_log_to_driver_false_shows_nothing():
    # There is nothing to wait for: lines that come although they should not take their time.
    late = "import time; time.sleep(1.0)"
    lines = lines_of(PROGRAM.format(init="log_to_driver=False", before_the_end=late))
    assert "all is said" in lines
    assert not [line for line in lines if "hello" in line]


SAME = """
    import ray

    ray.init(num_cpus=3)

    @ray.remote
    class Worker:
        def speak(self, text):
            print(text)

    workers = [Worker.remote() for _ in range(3)]
    ray.get([w.speak.remote("the same line") for w in workers])
    # What each says after it tells that its line has come, too.
    ray.get([w.speak.remote("end of " + name) for w, name in zip(workers, ("anna", "bert", "cleo"))])
    input()
    ray.shutdown()
"""


def all_have_spoken(lines):
    return all(any(line.endswith(f"end of {name}") for line in lines) for name in ("anna", "bert", "cleo"))


def test_the_same_line_of_several_processes_is_shown_once_with_their_number():
    written = lines_of(SAME, until=all_have_spoken, env={"RAY_DEDUP_LOGS_AGG_WINDOW_S": "300"})
    lines = [line for line in written if "the same line" in line]
    assert 1 <= len(lines) <= 2
    assert "[repeated 2x across cluster]" in lines[-1]


def test_all_lines_are_shown_when_asked_for():
    written = lines_of(SAME, until=all_have_spoken, env={"RAY_DEDUP_LOGS": "0"})
    assert sum("the same line" in line for line in written) == 3
