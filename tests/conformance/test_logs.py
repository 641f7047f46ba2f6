"""What tasks and actors print comes to the driver, with its origin in front."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

ENGINE = os.environ.get("RAYJUP_CONFORMANCE_ENGINE", "rayjup")


def output_of(program, *, env=None, **kw):
    command = [sys.executable] if ENGINE == "ray" else [sys.executable, "-m", "rayjup.as_ray"]
    done = subprocess.run(
        [*command, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, **(env or {})},
        check=False,
        **kw,
    )
    assert done.returncode == 0, done.stderr
    return done


PROGRAM = """
    import sys, time
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
    time.sleep(2.0)
    ray.shutdown()
"""


def test_lines_come_to_the_driver_with_name_and_pid():
    done = output_of(PROGRAM.format(init=""))
    lines = (done.stdout + done.stderr).splitlines()
    for name, text in (
        ("speak", "hello from a task"),
        ("speak", "hello from a task as an error"),
        ("Speaker", "hello from an actor"),
    ):
        (line,) = [line for line in lines if line.endswith(text)]
        assert f"({name} pid=" in line


def test_log_to_driver_false_shows_nothing():
    done = output_of(PROGRAM.format(init="log_to_driver=False"))
    assert "hello" not in done.stdout + done.stderr


SAME = """
    import time
    import ray

    ray.init(num_cpus=3)

    @ray.remote
    class Worker:
        def speak(self, text):
            print(text)

    workers = [Worker.remote() for _ in range(3)]
    ray.get([w.speak.remote("the same line") for w in workers])
    time.sleep(1.0)
    ray.shutdown()
"""


def test_the_same_line_of_several_processes_is_shown_once_with_their_number():
    done = output_of(SAME, env={"RAY_DEDUP_LOGS_AGG_WINDOW_S": "1"})
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "the same line" in line]
    assert 1 <= len(lines) <= 2
    assert "[repeated 2x across cluster]" in lines[-1]


def test_all_lines_are_shown_when_asked_for():
    done = output_of(SAME, env={"RAY_DEDUP_LOGS": "0"})
    assert (done.stdout + done.stderr).count("the same line") == 3
