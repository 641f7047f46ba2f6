"""The description of the interface: made from the routes themselves, so that it cannot lag behind."""

from __future__ import annotations

import re
from typing import Any

from rayjup_lab.services.handlers import ApiHandler, Operation, operation

METHODS = ("get", "head", "post", "put", "patch", "delete")
_GROUP = re.compile(r"\([^()]*\)")
_NAMES = {"runs/": "kind", "clusters/": "cluster_id", "submissions/": "job", "applications/": "name"}
_ERROR = {"$ref": "#/components/schemas/Error"}


def describe(routes: list[tuple[str, Any]], version: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document.

    Parameters
    ----------
    routes
        Patterns and handlers, whose methods carry an ``operation``.
    version
        Of the interface.
    """
    paths: dict[str, Any] = {}
    for pattern, handler in routes:
        path, parameters = _template(pattern)
        entry: dict[str, Any] = {"parameters": parameters} if parameters else {}
        for method in METHODS:
            about: Operation | None = getattr(getattr(handler, method, None), "operation", None)
            if about is not None:
                entry[method] = _described(about, f"{method}{re.sub('[^a-z_]+', '_', path)}")
        paths[path] = entry
    error = {
        "type": "object",
        "required": ["message"],
        "properties": {"message": {"type": "string"}, "field": {"type": "string"}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "rayjup in JupyterLab", "version": version},
        "paths": paths,
        "components": {
            "schemas": {"Error": error},
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "Authorization"}},
        },
        "security": [{"token": []}],
    }


def _template(pattern: str) -> tuple[str, list[dict[str, Any]]]:
    parameters: list[dict[str, Any]] = []

    def name(match: re.Match[str]) -> str:
        before = pattern[: match.start()]
        label = next((n for end, n in _NAMES.items() if before.endswith(end)), "")
        choices = [c for c in match.group()[1:-1].split("|") if re.fullmatch("[a-z_]+", c)]
        if not label:
            label = "what" if choices else ("path" if match.group() == "(.*)" else "item")
        schema: dict[str, Any] = {"type": "string", **({"enum": choices} if choices else {})}
        parameters.append({"name": label, "in": "path", "required": True, "schema": schema})
        return f"{{{label}}}"

    return _GROUP.sub(name, pattern), parameters


def _described(about: Operation, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": name,
        "summary": about.summary,
        "responses": {
            str(about.status): {"description": "done"}
            | ({} if about.status in (101, 204) else {"content": {about.media_type: {}}}),
            "default": {"description": "refused", "content": {"application/json": {"schema": _ERROR}}},
        },
    }
    if about.query:
        found["parameters"] = [
            {"name": name, "in": "query", "schema": schema} for name, schema in about.query.items()
        ]
    if about.body is not None:
        found["requestBody"] = {"content": {"application/json": {"schema": about.body}}}
    return found


class DescriptionHandler(ApiHandler):
    """``/rayjup/openapi.json``."""

    @operation("This description")
    async def get(self) -> None:
        self.reply(self.settings["rayjup_description"])


description_handlers = [(r"/rayjup/openapi\.json", DescriptionHandler)]
