"""A served application in a cell: live numbers, and a form to try it with."""

from __future__ import annotations

import contextlib
import html as markup
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from rayjup.exceptions import RayError
from rayjup.notebook.displays import LiveDisplay
from rayjup.notebook.feed import FEED
from rayjup.notebook.table import wrap_html
from rayjup.serve._private import card

_TIMEOUT_S = 30.0
_MOST_SHOWN = 20_000
_OPENAPI_S = 2.0
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_FREE = "any path"
_ENDED = "not served any more; this is how it was"


class ServeDisplay(LiveDisplay):
    """The application of a handle of `rayjup.serve`."""

    max_live = 5

    def __init__(self, handle: Any, snapshot: Mapping[str, Any]) -> None:
        super().__init__(FEED)
        self._title = repr(handle)
        self._app_name = handle.app_name
        self._snapshot = snapshot
        found = card.facts(handle)
        if found is None:
            raise ValueError(f"{handle!r} is not served now")
        self._facts: Mapping[str, Any] = found
        self._ended = False

    def refresh(self, snapshot: Mapping[str, Any]) -> None:
        self._snapshot = snapshot
        # A cluster that is just going away leaves the last known state.
        with contextlib.suppress(ConnectionError, RayError):
            found = card.latest(self._app_name)
            self._ended = found is None or found["status"] == "DELETING"
            if found is not None and not self._ended:
                self._facts = found

    def html(self, *, status: str = "", stamp: bool = False) -> str:
        shown = card.as_html(self._facts)
        note = f'<div class="rj-soft">{_ENDED}</div>' if self._ended else ""
        timed = self._snapshot if stamp and self._snapshot.get("time") else None
        return wrap_html([note, shown], timed)

    def text(self, *, status: str = "", stamp: bool = False) -> str:
        return card.as_text(self._facts, self._title) + (f"\n  ({_ENDED})" if self._ended else "")

    def footer(self) -> list[Any]:
        """The form, where the application answers over HTTP."""
        url = self._facts["url"]
        return [] if url is None else [TryIt(url, self._facts["docs"] is not None).box]


class TryIt:
    """Method, path and body of a request, and its answer.

    Parameters
    ----------
    url
        Where the application answers.
    described
        It says itself what can be asked of it (FastAPI's ``openapi.json``).
    """

    def __init__(self, url: str, described: bool) -> None:
        import ipywidgets as widgets

        self.url = url.rstrip("/")
        self.operations = operations(self.url) if described else []
        wide = widgets.Layout(width="auto", flex="1 1 auto")
        self.method = widgets.Dropdown(options=_METHODS, layout=widgets.Layout(width="110px"))
        self.path = widgets.Text("/", layout=wide)
        self.body = widgets.Textarea("", placeholder="body (JSON, or any text)", rows=3, layout=wide)
        self.send = widgets.Button(description="Send", button_style="", layout=widgets.Layout(width="80px"))
        self.answer = widgets.HTML()
        self.send.on_click(lambda _: self.start())
        first: list[Any] = []
        if self.operations:
            names = [f"{one['method']} {one['path']}" for one in self.operations]
            self.chosen = widgets.Dropdown(options=[*names, _FREE], layout=wide)
            self.chosen.observe(lambda change: self.choose(change["new"]), "value")
            self.choose(names[0])
            first = [self.chosen]
        line = widgets.HBox([self.method, self.path, self.send])
        self.box = widgets.VBox([*first, line, self.body, self.answer])

    def choose(self, name: str) -> None:
        """Fill the form for one of the operations."""
        for one in self.operations:
            if name == f"{one['method']} {one['path']}":
                self.method.value = one["method"]
                self.path.value = one["path"] + one["query"]
                self.body.value = one["body"]

    def start(self) -> None:
        """Send what the form says, without holding up the kernel."""
        self.send.disabled = True
        given = (self.method.value, self.path.value, self.body.value)
        threading.Thread(target=self._run, args=given, name="rayjup-try-it", daemon=True).start()

    def _run(self, method: str, path: str, body: str) -> None:
        try:
            self.answer.value = shown_answer(*ask(self.url, method, path, body))
        finally:
            self.send.disabled = False


def ask(url: str, method: str, path: str, body: str) -> tuple[str, str, str]:
    """Send a request: the answer's status line, type and text, or what went wrong."""
    data = body.encode() if body else None
    request = urllib.request.Request(url + "/" + path.lstrip("/"), data, method=method)
    if data is not None:
        request.add_header("content-type", "application/json" if _is_json(body) else "text/plain")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return _read(answer, f"{answer.status} {answer.reason}")
    except urllib.error.HTTPError as error:
        with error:
            return _read(error, f"{error.code} {error.reason}")
    except (OSError, ValueError) as error:
        return "no answer", "", str(error)


def _read(answer: Any, status: str) -> tuple[str, str, str]:
    kind = answer.headers.get("content-type") or ""
    text = answer.read(_MOST_SHOWN).decode("utf-8", "replace")
    if "json" in kind:
        with contextlib.suppress(ValueError):
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return status, kind, text


def shown_answer(status: str, kind: str, text: str) -> str:
    """An answer as HTML; what it contains is shown, not run."""
    head = markup.escape(" ".join(filter(None, (status, kind))))
    return (
        f"<small>{head}</small><pre style='max-height:20em;overflow:auto;margin:2px 0'>"
        f"{markup.escape(text)}</pre>"
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def operations(url: str) -> list[dict[str, str]]:
    """What an application of FastAPI can be asked: method, path, query and an example of a body each."""
    try:
        with urllib.request.urlopen(url + "/openapi.json", timeout=_OPENAPI_S) as answer:
            described = json.load(answer)
    except (OSError, ValueError):
        return []
    found = []
    for path, item in (described.get("paths") or {}).items():
        for method, operation in item.items():
            if method.upper() not in _METHODS:
                continue
            content = ((operation.get("requestBody") or {}).get("content") or {}).get("application/json")
            body = ""
            if content is not None:
                body = json.dumps(example(content.get("schema") or {}, described), indent=2)
            filled = path
            asked = [p for p in operation.get("parameters") or () if p["in"] == "query"]
            query = "&".join(f"{p['name']}={_plain(p.get('schema') or {}, described)}" for p in asked)
            for one in operation.get("parameters") or ():
                if one["in"] == "path":
                    value = _plain(one.get("schema") or {}, described)
                    filled = filled.replace("{" + one["name"] + "}", value)
            found.append(
                {
                    "method": method.upper(),
                    "path": filled,
                    "query": "?" + query if query else "",
                    "body": body,
                }
            )
    return found


def _plain(schema: Mapping[str, Any], described: Mapping[str, Any]) -> str:
    value = example(schema, described)
    return value if isinstance(value, str) else json.dumps(value)


def example(schema: Mapping[str, Any], described: Mapping[str, Any], depth: int = 0) -> Any:
    """A value that fits a schema of OpenAPI, to begin with."""
    if "$ref" in schema and depth < 8:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        inner = ((described.get("components") or {}).get("schemas") or {}).get(name) or {}
        return example(inner, described, depth + 1)
    for key in ("default", "example"):
        if key in schema:
            return schema[key]
    if schema.get("examples"):
        return schema["examples"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return example(schema[key][0], described, depth + 1)
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        properties = schema.get("properties") or {}
        return (
            {name: example(one, described, depth + 1) for name, one in properties.items()}
            if depth < 8
            else {}
        )
    if kind == "array":
        return [example(schema.get("items") or {}, described, depth + 1)] if depth < 8 else []
    return {"integer": 0, "number": 0.0, "boolean": False, "string": "text"}.get(str(kind))
