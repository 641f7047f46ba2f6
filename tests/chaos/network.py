"""Faults of the network, and of whole machines: cables are pulled while programs with known answers run.

Short cuts are over before anybody gives up; long ones end connections between processes while the head still
has both nodes; a machine that is switched off is replaced by another one.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

from chaos.workloads import Tally
from support.machines import Lab, lab

SETTINGS = {
    "RAY_health_check_timeout_ms": "2000",
    "RAY_fetch_fail_timeout_milliseconds": "4000",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
}
_PAUSE_S = 0.7
_KINDS = {"short cut": 6, "long cut": 2, "machine off": 1}

_PROGRAM = """
import random
sys.path.insert(0, {tests!r})
from chaos import workloads
nodes(3)
tally, rng = workloads.Tally(), random.Random({seed})
until = time.monotonic() + {seconds}
say(ready=1)
while time.monotonic() < until and not tally.hangs:
    try:
        workloads.sums(ray, rng, tally)
        workloads.shuffle(ray, rng, tally)
    except ray.exceptions.GetTimeoutError as error:
        tally.hangs.append(f"network: {{error}}")
    except Exception as error:
        tally.wrong.append(f"network: {{type(error).__name__}}: {{error}}")
say(calls=dict(tally.calls), wrong=tally.wrong[:20], hangs=tally.hangs)
"""


def run(seed: int, seconds: float) -> tuple[Tally, Counter[str]]:
    """One run; what came of the calls, and which faults there were."""
    rng = random.Random(f"{seed} network")
    tally: Tally = Tally()
    faults: Counter[str] = Counter()
    program = _PROGRAM.format(tests=str(Path(__file__).parents[1]), seed=seed, seconds=seconds)
    with lab("a b c", environ=SETTINGS) as made, made.driver(program, seconds + 150) as driver:
        driver.hear()
        until = time.monotonic() + seconds
        number = 10
        while time.monotonic() < until:
            number += 1
            faults[_fault(made, rng, number)] += 1
            time.sleep(rng.expovariate(1 / _PAUSE_S))
        said = driver.hear()
    for name, calls in said["calls"].items():
        tally.made(f"{name} between machines", calls)
    tally.wrong += said["wrong"]
    tally.hangs += said["hangs"]
    return tally, faults


def _fault(made: Lab, rng: random.Random, number: int) -> str:
    name = rng.choice("bc")
    (kind,) = rng.choices(list(_KINDS), list(_KINDS.values()))
    if kind == "machine off":
        made.replace(name, number)
        time.sleep(3.0)  # or there would soon be none left
        return kind
    made.cut(name)
    time.sleep(rng.uniform(0.1, 1.0) if kind == "short cut" else 4.0)
    made.mend(name)
    return kind
