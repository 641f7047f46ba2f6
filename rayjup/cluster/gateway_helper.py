"""The process that speaks with dask-gateway: ``python -m rayjup.cluster.gateway_helper WHAT``.

It reads one JSON object and prints one.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from urllib.parse import urlsplit


async def answer(what: str, about: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked for."""
    import dask.config
    from dask_gateway import Gateway

    address = about.get("address") or dask.config.get("gateway.address", None)
    if address is None and about.get("scheduler"):  # by default the proxy has one port for both
        address = f"http://{urlsplit(about['scheduler']).netloc}"
    async with Gateway(address, about.get("proxy_address"), asynchronous=True) as gateway:
        if what == "runs":
            listed = [each.name for each in await gateway.list_clusters()]
            return {"runs": about["id"] in listed}
        if what == "down":
            await gateway.stop_cluster(about["id"])
            return {}
        made = about.get("id")
        if what == "up" and made not in [each.name for each in await gateway.list_clusters()]:
            made = await gateway.submit(**(about.get("options") or {}))
        async with gateway.connect(made) as cluster:
            if what == "up":
                await gateway.scale_cluster(made, int(about["workers"]))
            return {
                "id": made,
                "scheduler": cluster.scheduler_address,
                "certificate": cluster.security.tls_cert,
                "key": cluster.security.tls_key,
            }


def main() -> None:
    """Answer, or say why not."""
    about = json.load(sys.stdin)
    try:
        from aiohttp import ClientError
        from dask_gateway import GatewayClusterError, GatewayServerError
    except ImportError:
        _say({"error": "clusters of dask-gateway need its client: pip install 'rayjup[gateway]'."})
        return
    try:
        said = asyncio.run(answer(sys.argv[1], about))
    except (GatewayClusterError, GatewayServerError, ClientError, OSError, ValueError, TypeError) as error:
        said = {"error": f"dask-gateway refuses: {error or type(error).__name__}"}
    _say(said)


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
