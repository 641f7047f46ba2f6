"""What every launcher does: a program that checks it, to be run on a machine of a cluster."""

CONTRACT = """
import json, os, signal, sys, time
from concurrent.futures import ThreadPoolExecutor
from rayjup.base.exceptions import RaySystemError
from rayjup.cluster import descriptors, launchers
from rayjup.cluster.scaling.settings import NodeType
from rayjup.observe import ClusterView

name, options, nowhere = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
more = json.loads(sys.argv[4])
cluster = descriptors.which(name)
launcher = launchers.make(cluster, options)
view = ClusterView(cluster)

def nodes():
    try:
        return {row["NodeName"]: row for row in view.request("nodes") if row["Alive"]}
    except ConnectionError:  # there is no head just now
        return {}

def until(condition, what, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, (what, nodes().keys(), launcher.instances(), launcher.log("one"))
        time.sleep(0.05)

own = {"CPU": 1, "memory": 300 << 20, "object_store_memory": 80 << 20, "license": 2}
config = json.loads(sys.argv[5]) if len(sys.argv) > 5 else {}
kind = NodeType("small", own, 0, 4, {"disk": "ssd"}, node_config=config)
assert launcher.instances() == {}
began = time.monotonic()
launcher.start(kind, "one")
until(lambda: "one" in nodes(), "one joins")
took = time.monotonic() - began
row = nodes()["one"]
assert {key: row["Resources"][key] for key in own} == own, row
assert (row["Labels"]["disk"], row["Labels"]["ray.io/node-group"]) == ("ssd", "small"), row
launcher.start(kind, "two")
until(lambda: "two" in nodes(), "two joins")
until(lambda: {i.state for i in launcher.instances().values()} == {"running"}, "both are said to run")
assert set(launcher.instances()) == {"one", "two"}
assert all(instance.place for instance in launcher.instances().values())
assert isinstance(launcher.log("two"), str) and launcher.log("nobody") == "" or options["launcher"] == "local"

if os.environ.get("RAYJUP_TEST_CLUSTERS") == "1":
    head = cluster.head()
    os.kill(head[0], signal.SIGKILL)
    until(lambda: cluster.head() != head and {"one", "two"} <= set(nodes()), "a new head has all nodes")
# The process that scales may be another one from now on: it finds what the one before has asked for.
launcher = launchers.make(cluster, options)
assert set(launcher.instances()) == {"one", "two"}, launcher.instances()
launcher.stop("nobody")
launcher.stop("one")
until(lambda: "one" not in nodes(), "one goes")
assert "two" in nodes()
until(lambda: set(launcher.instances()) == {"two"}, "one is not listed any more")
with ThreadPoolExecutor(2) as several:
    asked = [several.submit(launcher.start, kind, name) for name in more]
for each in asked:
    each.result()
until(lambda: set(more) <= set(nodes()), "others take its place, asked for at once")
assert set(launcher.instances()) == {"two", *more}
if nowhere is not None:
    try:
        launcher.start(NodeType("no", {"CPU": 1}, 0, 1, node_config={**config, **nowhere}), "four")
        raise AssertionError("what cannot be had was had")
    except RaySystemError as error:
        print(error)
assert "four" not in launcher.instances()
launcher.close()
until(lambda: set(nodes()) == {"node-0"}, "all go")
until(lambda: not launcher.instances(), "nothing is left of them")
view.close()
print("took", round(took, 2))
"""
