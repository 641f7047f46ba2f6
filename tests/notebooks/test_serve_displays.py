"""A served application as the result of a cell, in a real kernel: live numbers and the form."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

APP = """
from fastapi import FastAPI
from pydantic import BaseModel
from rayjup import serve

class Item(BaseModel):
    name: str
    count: int = 3

api = FastAPI()

@serve.deployment(ray_actor_options={"num_cpus": 0})
@serve.ingress(api)
class Shop:
    @api.post("/items/{shelf}")
    def put(self, shelf: int, item: Item) -> dict:
        return {"shelf": shelf, "name": item.name, "all": item.count * 2}

    @api.get("/broken")
    def broken(self) -> None:
        raise ValueError("<b>no</b>")

serve.start(http_options={"port": 0})
"""


def test_a_served_application_lives_in_its_cell(kernel: Any) -> None:
    kernel.ok("%ray_init --num-cpus 2 --no-display")
    kernel.ok(APP)
    ran = kernel.ok("handle = serve.run(Shop.bind())\nhandle")
    one = ran.displays[-1]  # before it: how far the cell is
    text, html = one["data"]["text/plain"], one["data"]["text/html"]
    assert "RUNNING at http://127.0.0.1:" in text and "Shop: HEALTHY, 1/1 replicas" in text
    assert "curl http://127.0.0.1:" in html and "/docs" in html
    models = {
        m["content"]["data"]["state"].get("_model_name") for m in ran.comms if "state" in m["content"]["data"]
    }
    assert {"DropdownModel", "TextModel", "TextareaModel", "ButtonModel"} <= models

    # The form, filled from the application's own description; what it sends arrives.
    kernel.ok("from rayjup.notebook.feed import FEED\nfrom rayjup.notebook import serve_displays as sd")
    kernel.ok("url = FEED._displays[-1]._facts['url']\nform = sd.TryIt(url, True)")
    filled = kernel.ok("print(form.method.value, form.path.value, form.body.value)").text
    assert filled.split() == ["POST", "/items/0", "{", '"name":', '"text",', '"count":', "3", "}"]
    kernel.ok("form.start()")
    assert "&quot;all&quot;: 6" in kernel.until("print(form.answer.value)", "200")
    kernel.ok("form.method.value, form.path.value, form.body.value = 'GET', '/broken', ''\nform.start()")
    assert "500" in kernel.until("print(form.answer.value)", "500")
    kernel.ok("form.path.value = '/nowhere'\nform.start()")
    assert "Not Found" in kernel.until("print(form.answer.value)", "404")

    # The numbers follow, and an update costs little.
    shown = kernel.until("print(FEED._displays[-1])", " 1 errors")
    assert "POST /items/0 200" in shown
    cost = kernel.ok(
        "import time\nsnapshot = FEED.snapshot()\nbest = 1.0\n"
        "for _ in range(20):\n"
        "    began = time.perf_counter()\n    FEED._displays[-1].refresh(snapshot)\n"
        "    best = min(best, time.perf_counter() - began)\n"
        "print(best)"
    ).text
    assert float(cost) < 0.05  # 2 ms where nothing else runs
    kernel.ok("serve.delete('default')")
    assert "not served any more" in kernel.until("print(FEED._displays[-1])", "not served any more")
    kernel.ok("serve.shutdown()")


def test_a_constructor_that_raises_is_the_cells_error(kernel: Any) -> None:
    kernel.ok("%ray_init --num-cpus 2 --no-display")
    kernel.ok(
        "from rayjup import serve\nserve.start(http_options={'port': 0})\n"
        "@serve.deployment\nclass Model:\n    def __init__(self):\n        raise LookupError('no weights')"
    )
    ran = kernel.run("serve.run(Model.bind())")
    assert ran.ename == "RuntimeError" and "no weights" in ran.evalue
    assert any("LookupError" in line for line in ran.traceback)
    kernel.ok("serve.shutdown()")


def test_examples_of_schemas() -> None:
    from rayjup.notebook.serve_displays import example

    described = {
        "components": {"schemas": {"Tree": {"type": "object", "properties": {"kids": {"type": "array"}}}}}
    }
    assert example({"$ref": "#/components/schemas/Tree"}, described) == {"kids": [None]}
    assert example({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {}) == 0
    assert example({"enum": ["a", "b"]}, {}) == "a"
    assert example({"type": "string", "default": "x"}, {}) == "x"
    loop = {"components": {"schemas": {"A": {"type": "object", "properties": {"a": {"$ref": "#/x/A"}}}}}}
    assert "a" in example({"$ref": "#/x/A"}, loop)
