"""Functions and classes defined, defined again and nested in cells, with a real kernel."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def connected(kernel: Any) -> Any:
    """A kernel connected to a cluster of two CPUs."""
    kernel.ok("%ray_init --num-cpus 2 --no-display\nimport rayjup as ray")
    return kernel


def test_an_edited_helper_reaches_the_cluster(connected: Any) -> None:
    connected.ok("def helper():\n    return 1")
    connected.ok("@ray.remote\ndef work():\n    return helper() + offset\noffset = 0")
    assert connected.ok("print(ray.get(work.remote()))").text == "1\n"
    connected.ok("def helper():\n    return 2")
    assert connected.ok("print(ray.get(work.remote()))").text == "2\n"
    connected.ok("offset = 10")
    assert connected.ok("print(ray.get(work.remote()))").text == "12\n"
    # Two steps away, and through another remote function.
    connected.ok("def deep():\n    return 100\ndef helper():\n    return deep()")
    connected.ok("@ray.remote\ndef outer():\n    return ray.get(work.remote())")
    assert connected.ok("print(ray.get(outer.remote()))").text == "110\n"
    connected.ok("def deep():\n    return 200")
    assert connected.ok("print(ray.get([outer.remote(), work.remote()]))").text == "[210, 210]\n"


def test_what_did_not_change_is_not_sent_again(connected: Any) -> None:
    connected.ok("def helper():\n    return 1\n@ray.remote\ndef work():\n    return helper()")
    connected.ok("ray.get(work.remote())")
    before = connected.ok("print(id(work._packed))").text
    connected.ok("unrelated = 5")
    connected.ok("ray.get(work.remote())")
    assert connected.ok("print(id(work._packed))").text == before
    connected.ok("import rayjup.core.captured as captured\nprint(captured.forget_changed())")


def test_an_edited_actor_class(connected: Any) -> None:
    define = "@ray.remote\nclass Counter:\n    def value(self):\n        return {n} + base()\n"
    connected.ok("def base():\n    return 0")
    connected.ok(define.format(n=1))
    connected.ok("old = Counter.remote()")
    assert connected.ok("print(ray.get(old.value.remote()))").text == "1\n"
    # A helper of the class changes: new actors have it, the old one goes on as it was.
    connected.ok("def base():\n    return 40")
    assert connected.ok("print(ray.get([old.value.remote(), Counter.remote().value.remote()]))").text == (
        "[1, 41]\n"
    )
    connected.ok(define.format(n=2) + "    def extra(self):\n        return 'extra'")
    assert connected.ok("print(ray.get(Counter.remote().extra.remote()))").text == "extra\n"
    stale = connected.run("old.extra.remote()")
    assert stale.ename == "AttributeError"
    assert "this actor was made from an earlier definition of Counter" in stale.text


def test_an_old_instance_meets_a_new_class(connected: Any) -> None:
    connected.ok("class Model:\n    def __init__(self, k):\n        self.k = k\nmodel = Model(3)")
    connected.ok("@ray.remote\ndef double(m):\n    return m.double()")
    connected.ok(
        "class Model:\n    def __init__(self, k):\n        self.k = k\n"
        "    def double(self):\n        return 2 * self.k"
    )
    stale = connected.run("ray.get(double.remote(model))")
    assert stale.ename == "RayTaskError(AttributeError)"
    assert "this object was made by an earlier definition of Model" in stale.text
    assert "Make it anew." in stale.text
    assert connected.ok("print(ray.get(double.remote(Model(3))))").text == "6\n"
    # An ordinary mistake gets no such hint.
    other = connected.run("Model(1).triple()")
    assert other.ename == "AttributeError" and "Hint" not in other.text
    pickled = connected.run("import pickle\npickle.dumps(model)")
    assert "the class Model was defined again" in pickled.text


def test_instances_come_back_as_instances_of_the_notebooks_class(connected: Any) -> None:
    connected.ok(
        "from dataclasses import dataclass\nimport enum\n"
        "@dataclass\nclass Point:\n    x: int\n    y: int = 0\n"
        "class Colour(enum.Enum):\n    RED = 1\n"
        "@ray.remote\ndef make(x):\n    return Point(x), Colour.RED"
    )
    connected.ok("point, colour = ray.get(make.remote(4))")
    code = "print(isinstance(point, Point), point, colour is Colour.RED)"
    assert connected.ok(code).text == "True Point(x=4, y=0) True\n"
    # The class is defined again: from now on tasks make instances of the new one.
    connected.ok("@dataclass\nclass Point:\n    x: int\n    z: int = 7")
    code = "point, _ = ray.get(make.remote(4))\nprint(isinstance(point, Point), point)"
    assert connected.ok(code).text == "True Point(x=4, z=7)\n"


def test_nested_definitions(connected: Any) -> None:
    connected.ok(
        "class Base:\n    def scale(self):\n        return 2\n"
        "class Model(Base):\n"
        "    class Part:\n        size = 5\n"
        "    @staticmethod\n    def parts(n):\n        return [Model.Part() for _ in range(n)]\n"
        "    @classmethod\n    def build(cls):\n        return cls()\n"
        "    def total(self):\n        return sum(p.size for p in self.parts(3)) * super().scale()\n"
        "def factory(k):\n"
        "    def inner(x):\n        return [Model.build().total() + k + x for x in range(x)]\n"
        "    return inner"
    )
    assert connected.ok("print(ray.get(ray.remote(factory(1)).remote(2)))").text == "[31, 32]\n"
    assert connected.ok("print(ray.get(ray.remote(lambda: Model().total()).remote()))").text == "30\n"
    connected.ok(
        "class Base:\n    def scale(self):\n        return 3"
    )  # Model keeps the base it was made with
    assert connected.ok("print(ray.get(ray.remote(lambda: Model().total()).remote()))").text == "30\n"


def test_large_captured_variables_are_reported_by_name(connected: Any) -> None:
    connected.ok("import numpy as np\nfeatures = np.zeros(2_000_000)\nsmall = [1, 2]")
    ran = connected.ok(
        "@ray.remote\ndef work():\n    return features.sum() + len(small)\nray.get(work.remote())"
    )
    assert "features (15.3 MiB)" in ran.text and "features_ref = ray.put(features)" in ran.text
    assert "small" not in ran.text.partition("captured variables")[2].partition("features_ref")[0]
    assert "captured variables" not in connected.ok("ray.get(work.remote())").text  # once
    actor = connected.ok(
        "class Holder:\n    def get(self):\n        return features[0]\nray.remote(Holder).remote()"
    )
    assert "the actor class Holder takes" in actor.text


def test_what_cannot_travel_is_named(connected: Any) -> None:
    connected.ok(
        "import threading\nguard = threading.Lock()\ndef locked():\n    with guard:\n        return 1"
    )
    ran = connected.run("@ray.remote\ndef work():\n    return locked()\nwork.remote()")
    assert ran.ename == "TypeError" and "the variable 'guard'" in ran.evalue
    assert "make that inside of the function" in ran.evalue
