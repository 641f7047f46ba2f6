"""The REST interface, as Ray's dashboard has it, as an application of ASGI.

``app`` may be mounted into any server that checks who asks (a dashboard, Jupyter's). Nothing listens
by itself, for whoever may deploy code may run anything.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rayjup import __version__
from rayjup.serve import build
from rayjup.serve._private import client
from rayjup.serve.api import shutdown
from rayjup.serve.schema import APIType, ScaleDeploymentRequest, ServeDeploySchema

__all__ = ["app"]


async def _version(request: Request) -> Response:
    return JSONResponse({"version": "4", "ray_version": __version__, "ray_commit": "", "session_name": ""})


async def _get(request: Request) -> Response:
    wanted = request.query_params.get("api_type")
    if wanted is not None and wanted not in APIType.get_valid_user_values():
        return Response(
            f"Invalid 'api_type' value: {wanted!r}. Must be one of: "
            f"{', '.join(APIType.get_valid_user_values())}",
            400,
        )
    found = await run_in_threadpool(build.instance_details, wanted)
    return JSONResponse(found.model_dump(mode="json", exclude_unset=True))


async def _put(request: Request) -> Response:
    try:
        config = ServeDeploySchema.model_validate(await request.json())
    except (ValidationError, ValueError) as error:
        return Response(repr(error), 400)
    try:
        await run_in_threadpool(build.deploy, config)
    except (ValueError, TypeError, ImportError, AttributeError) as error:
        return Response(f"{type(error).__name__}: {error}", 400)
    return Response()


async def _delete(request: Request) -> Response:
    await run_in_threadpool(shutdown)
    return Response()


async def _scale(request: Request) -> Response:
    app, deployment = request.path_params["app"], request.path_params["deployment"]
    try:
        wanted = ScaleDeploymentRequest.model_validate(await request.json())
    except (ValidationError, ValueError) as error:
        return JSONResponse({"error": str(error)}, 400)
    if client.controller() is None:
        return JSONResponse({"error": "Serve is not running."}, 503)
    apps: dict[str, Any] = (await run_in_threadpool(client.ask, "details"))["applications"]
    if app not in apps or deployment not in apps[app]["deployments"]:
        return JSONResponse({"error": f"Deployment {deployment!r} of application {app!r} not found."}, 400)
    if not apps[app]["details"].get("external_scaler_enabled"):
        return JSONResponse(
            {"error": f"Application {app!r} does not allow it: deploy it with external_scaler_enabled=True."},
            412,
        )
    await run_in_threadpool(client.ask, "scale", app, deployment, wanted.target_num_replicas)
    return JSONResponse({"message": "Scaling request received. Deployment will get scaled asynchronously."})


app = Starlette(
    routes=[
        Route("/api/ray/version", _version, methods=["GET"]),
        Route("/api/serve/applications/", _get, methods=["GET"]),
        Route("/api/serve/applications/", _put, methods=["PUT"]),
        Route("/api/serve/applications/", _delete, methods=["DELETE"]),
        Route("/api/v1/applications/{app}/deployments/{deployment}/scale", _scale, methods=["POST"]),
    ]
)
