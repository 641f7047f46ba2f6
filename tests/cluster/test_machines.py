"""Nodes on machines of their own: separate network, shared memory and processes, joined by a virtual switch.

Dask's scheduler and workers with TLS, as somebody would start them on real machines. Cables are pulled and
machines switched off while calls and objects are on their way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clusters import poll
from support.machines import Driver, Lab, lab, why_not

pytestmark = [
    pytest.mark.timeout(300),  # four machines and their programs start at once, on whatever this one has
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "machines can be made"),
    pytest.mark.leaks("the machines of a file run until its end; the check per file sees what is left then"),
]

QUICK = {  # how long hosts may be silent
    "RAY_health_check_timeout_ms": "5000",
    "RAY_fetch_fail_timeout_milliseconds": "5000",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
}
BIG = 100_000_000


@pytest.fixture(scope="module")
def four() -> Iterator[Lab]:
    with lab("a b c d", environ=QUICK) as made:
        yield made


@pytest.fixture
def mended(four: Lab) -> Iterator[Lab]:
    """The machines, all fast and connected again afterwards."""
    yield four
    for name in ("b", "c", "d"):
        four.mend(name)
    four.slow("a", "10gbit")


def heard(driver: Driver, **expected: object) -> dict[str, object]:
    said = driver.hear()
    assert {key: said.get(key) for key in expected} == expected, said
    return said


def test_calls_actors_and_objects_go_from_machine_to_machine(mended):
    script = """
    say(nodes=nodes(4))

    @ray.remote
    def double(x):
        return 2 * x

    @ray.remote
    def total(a):
        return float(a.sum()), a.flags.writeable

    @ray.remote
    def ones(n):
        return np.ones(n, np.uint8)

    @ray.remote
    def boxed(refs):
        return float(ray.get(refs[0]).sum())

    @ray.remote
    class Counter:
        def __init__(self):
            self.n = 0
        def add(self, k):
            self.n += k
            return self.n
        def sum_of(self, a):
            return float(a.sum())

    say(doubled=sum(ray.get([double.options(**on(n)).remote(i) for i in range(200) for n in "abcd"])))
    counters = [Counter.options(**on(n)).remote() for n in "bcd"]
    for _ in range(50):
        refs = [c.add.remote(2) for c in counters]
    say(counted=ray.get(refs))
    big = ray.put(np.ones(%d, np.uint8))
    say(sums=ray.get([total.options(**on(n)).remote(big) for n in "bc"]))
    made = ones.options(**on("b")).remote(%d)
    say(read=float(ray.get(made).sum()))
    say(passed=ray.get(total.options(**on("c")).remote(made)))
    say(method=ray.get(counters[1].sum_of.remote(made)))
    say(nested=ray.get(boxed.options(**on("d")).remote([made])))
    say(by_value=ray.get(total.options(**on("d")).remote(np.ones(1 << 20, np.uint8))))
    try:
        ray.get(double.options(**on("d", max_retries=0)).remote(None))
    except ray.exceptions.RayTaskError as error:
        say(error=isinstance(error, TypeError))
    say(there=1)
    wait_for_go()
    del big, made
    say(deleted=1)
    wait_for_go()
    """
    with mended.driver(_dedent(script % (BIG, BIG))) as driver:
        heard(driver, nodes=4)
        heard(driver, doubled=4 * 2 * sum(range(200)))
        heard(driver, counted=[100, 100, 100])
        heard(driver, sums=[[BIG, False], [BIG, False]])
        heard(driver, read=BIG)
        heard(driver, passed=[BIG, False])
        heard(driver, method=BIG)
        heard(driver, nested=BIG)
        heard(driver, by_value=[1 << 20, False])
        heard(driver, error=True)
        heard(driver, there=1)
        assert len(mended.files("c")) >= 2
        driver.go()
        heard(driver, deleted=1)
        # What is kept for the next object of a size goes after two seconds.
        poll(lambda: not any(mended.files(name) for name in "abcd"), 30)
        driver.go()


def test_one_object_for_all_machines_is_passed_on_by_those_that_have_it(mended):
    script = """
    nodes(4)
    @ray.remote
    def total(a):
        return float(a.sum())
    ray.get([total.options(**on(n)).remote(np.ones(4)) for n in "bcd"])
    big = ray.put(np.ones(%d, np.uint8))
    say(ready=1)
    wait_for_go()
    # Several wait on each machine: it is brought there once.
    say(sums=ray.get([total.options(**on(n)).remote(big) for n in "bcd" for _ in range(2)]))
    """
    size = BIG // 4
    with mended.driver(_dedent(script % size)) as driver:
        heard(driver, ready=1)
        before = mended.sent_bytes("a")
        mended.slow("a", "200mbit")  # two seconds for two of them: all three ask while it sends
        driver.go()
        heard(driver, sums=[size] * 6)
        assert mended.sent_bytes("a") - before < 2.4 * size


def test_a_short_cut_delays_calls_and_objects_and_harms_none(mended):
    script = """
    nodes(4)
    @ray.remote(max_retries=0)
    def slow(x, s):
        time.sleep(s)
        return x
    @ray.remote(max_retries=0)
    def total(a):
        return float(a.sum())
    ray.get([slow.options(**on("b")).remote(0, 0), total.options(**on("c")).remote(np.ones(4))])
    big = ray.put(np.ones(%d, np.uint8))
    say(ready=1)
    wait_for_go()
    refs = [slow.options(**on("b")).remote(i, 0.5) for i in range(4)]
    summed = total.options(**on("c")).remote(big)
    say(sent=1)
    say(values=ray.get(refs, timeout=60), total=ray.get(summed, timeout=60))
    """
    with mended.driver(_dedent(script % BIG)) as driver:
        heard(driver, ready=1)
        mended.slow("a", "500mbit")  # 1.6 s
        driver.go()
        heard(driver, sent=1)
        time.sleep(0.5)  # in the middle of both
        mended.cut("b")
        mended.cut("c")
        time.sleep(1.0)
        mended.mend("b")
        mended.mend("c")
        heard(driver, values=[0, 1, 2, 3], total=BIG)


def test_calls_in_flight_when_a_machine_is_cut_off(mended):
    script = """
    nodes(4)
    runs = os.path.dirname(os.path.abspath(__file__)) + "/runs-"  # all machines see this directory
    @ray.remote
    class Sleeper:
        def sleep(self, s):
            open(runs + "actor", "w").close()
            time.sleep(s)
            return s
    @ray.remote(max_retries=0)
    def slow(s):
        open(runs + "once", "w").close()
        time.sleep(s)
        return s
    @ray.remote(max_retries=3)
    def name(home):
        here = ray.get_runtime_context().get_node_id()
        if here == home:
            open(runs + "again", "w").close()
            time.sleep(60)
        return here
    actor = Sleeper.options(resources={"d": 1}, num_cpus=0).remote()
    once = slow.options(resources={"d": 1}, num_cpus=0)
    ray.get([actor.sleep.remote(0), once.remote(0)])
    home = [n["NodeID"] for n in ray.nodes() if n["Resources"].get("d")][0]
    again = name.options(num_cpus=0, scheduling_strategy=ray.util.scheduling_strategies.
        NodeAffinitySchedulingStrategy(home, soft=True))
    ray.get(again.remote(""))
    for kind in ("actor", "once"):
        os.unlink(runs + kind)
    refs = [once.remote(60), actor.sleep.remote(60), again.remote(home)]
    while not all(os.path.exists(runs + kind) for kind in ("actor", "once", "again")):
        time.sleep(0.01)
    say(sent=1)
    began = time.monotonic()
    kinds = []
    for ref in refs[:2]:
        try:
            ray.get(ref, timeout=40)
        except ray.exceptions.RayError as error:
            kinds.append(type(error).__name__)
    say(kinds=kinds, elsewhere=ray.get(refs[2], timeout=40) != home, took=time.monotonic() - began)
    say(nodes=nodes(3))
    """
    with mended.driver(_dedent(script)) as driver:
        heard(driver, sent=1)
        mended.cut("d")
        said = heard(driver, kinds=["WorkerCrashedError", "ActorDiedError"], elsewhere=True)
        assert float(str(said["took"])) < 40
        heard(driver, nodes=3)


def test_the_death_of_the_source_in_the_middle_of_a_transfer(tmp_path: Path):
    script = """
    nodes(4)
    @ray.remote(max_retries=2)
    def ones(n, log=None):
        return np.ones(n, np.uint8)
    @ray.remote(max_retries=0)
    def total(a):
        return float(a.sum())
    @ray.remote
    class Keeper:
        def keep(self, n):
            self.ref = ray.put(np.ones(n, np.uint8))
            return [self.ref]
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    ids = {n["NodeName"]: n["NodeID"] for n in ray.nodes()}
    keeper = Keeper.options(**on("b")).remote()
    (kept,) = ray.get(keeper.keep.remote(1 << 20))
    copied = ones.options(scheduling_strategy=affinity(ids["b"], soft=True)).remote(%d)
    made = ones.options(scheduling_strategy=affinity(ids["b"], soft=True)).remote(%d)
    ray.wait([copied, made], num_returns=2)
    ray.get([total.options(**on(n)).remote(np.ones(4)) for n in "acd"])
    ray.get(total.options(**on("d")).remote(copied))  # now there is a copy
    say(ready=1)
    wait_for_go()
    refs = [total.options(**on("c")).remote(copied), total.options(**on("c")).remote(made)]
    say(sent=1)
    try:
        say(totals=ray.get(refs, timeout=150))
    except BaseException as error:
        say(failed=repr(error))
    try:
        say(kept=float(ray.get(kept, timeout=40).sum()))
    except ray.exceptions.RayError as error:
        say(kept=type(error).__name__)
    """
    with lab("a b c d", environ=QUICK) as made, made.driver(_dedent(script % (BIG, BIG))) as driver:
        heard(driver, ready=1)
        made.slow("b", "400mbit")
        driver.go()
        heard(driver, sent=1)
        time.sleep(0.7)
        made.machines["b"].switch_off()
        heard(driver, totals=[BIG, BIG])
        heard(driver, kept="OwnerDiedError")


def test_a_driver_on_a_machine_without_a_worker(tmp_path: Path):
    script = """
    @ray.remote
    def total(a):
        return float(a.sum())
    @ray.remote
    def ones(n):
        return np.ones(n, np.uint8)
    say(nodes=nodes(3), cpus=ray.cluster_resources()["CPU"])
    summed = ray.get(total.remote(np.ones(1 << 20, np.uint8)))
    say(total=summed, read=float(ray.get(ones.remote(1 << 20)).sum()))
    wait_for_go()
    ray.shutdown()
    say(left=1)
    """
    with lab("a b c", workers="b c", environ=QUICK) as made:
        with made.driver(_dedent(script)) as driver:
            heard(driver, nodes=3, cpus=4)
            heard(driver, total=1 << 20, read=1 << 20)
            driver.go()
            heard(driver, left=1)
        poll(lambda: not made.programs("a", "rayjup.cluster.beside"), 40)
        poll(lambda: made.files("a") == [])


def test_without_encryption_nodes_speak_with_each_other_only_where_that_is_declared():
    script = """
    @ray.remote
    def total(a):
        return float(a.sum())
    say(nodes=nodes(2), total=ray.get(total.options(**on("b")).remote(np.ones(1 << 20, np.uint8))))
    """
    environ = {"RAYJUP_INSECURE_NETWORK": "1"}
    with lab("a b", encrypted=False, environ=environ) as made, made.driver(_dedent(script)) as driver:
        heard(driver, nodes=2, total=1 << 20)


def test_without_encryption_or_declaration_nodes_of_other_machines_are_refused():
    script = """
    say(nodes=nodes(1))
    wait_for_go()
    """
    with lab("a b", encrypted=False, workers="a") as made, made.driver(_dedent(script)) as driver:
        heard(driver, nodes=1)
        made.start_worker(made.machines["b"])
        poll(lambda: "cannot join" in made.log() and "not encrypted" in made.log(), 60)
        driver.go()


def _dedent(script: str) -> str:
    import textwrap

    return textwrap.dedent(script)
