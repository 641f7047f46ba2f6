"""The command line: ``python -m rayjup.serve run|deploy|build|status|config|shutdown|start``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import rayjup
from rayjup.serve import api, build
from rayjup.serve._private import client

__all__ = ["main", "make_parser"]


def make_parser() -> argparse.ArgumentParser:
    """The arguments that are understood."""
    parser = argparse.ArgumentParser("serve", description="Serve applications on a cluster.")
    parser.add_argument(
        "--address", "-a", default=os.environ.get("RAY_ADDRESS"), help="name or id of the cluster"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="start listening, without an application yet")
    start.add_argument("--http-host", default="127.0.0.1")
    start.add_argument("--http-port", type=int, default=8000)
    start.add_argument("--proxy-location", choices=["Disabled", "HeadOnly", "EveryNode"], default="EveryNode")
    start.add_argument("--grpc-port", type=int, default=9000)
    start.add_argument("--grpc-servicer-functions", action="append", default=[])
    for name, text in (("run", "serve until interrupted"), ("deploy", "serve, and return")):
        one = commands.add_parser(name, help=text)
        one.add_argument("target", help="a configuration file, or module:application")
        one.add_argument("arguments", nargs="*", help="key=value, for a function that makes the application")
        one.add_argument("--app-dir", default=".", help="where modules are looked for")
        one.add_argument("--name", default="default")
        one.add_argument("--route-prefix", default="/")
        one.add_argument("--working-dir")
        one.add_argument("--runtime-env-json")
        if name == "run":
            one.add_argument("--non-blocking", action="store_true")
            one.add_argument("--reload", action="store_true", help="deploy again when a file changes")
    make = commands.add_parser("build", help="write the configuration of applications")
    make.add_argument("import_paths", nargs="+")
    make.add_argument("--app-dir", default=".")
    make.add_argument("--output-path", "-o")
    status = commands.add_parser("status", help="what is served, and how it is")
    status.add_argument("--name", "-n")
    config = commands.add_parser("config", help="the configurations of what is served")
    config.add_argument("--name", "-n")
    shutdown = commands.add_parser("shutdown", help="end everything that is served")
    shutdown.add_argument("--yes", "-y", action="store_true")
    commands.add_parser("controller-health", help="how the controller is").add_argument(
        "--json", action="store_true"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    arguments = make_parser().parse_args(argv)
    if arguments.command == "build":
        text = _yaml(build.build_config(arguments.import_paths, arguments.app_dir))
        if arguments.output_path:
            Path(arguments.output_path).write_text(text)
        else:
            _say(text)
        return 0
    _connect(arguments)
    return int(globals()[f"_{arguments.command.replace('-', '_')}"](arguments) or 0)


def _connect(arguments: Any) -> None:
    environment: dict[str, Any] = {}
    if getattr(arguments, "runtime_env_json", None):
        environment = json.loads(arguments.runtime_env_json)
    if getattr(arguments, "working_dir", None):
        environment["working_dir"] = arguments.working_dir
    rayjup.init(
        address=arguments.address,
        namespace="serve",
        ignore_reinit_error=True,
        runtime_env=environment or None,
        log_to_driver=arguments.command == "run",
    )


def _start(arguments: Any) -> None:
    grpc = None
    if arguments.grpc_servicer_functions:
        grpc = {"port": arguments.grpc_port, "grpc_servicer_functions": arguments.grpc_servicer_functions}
    api.start(arguments.proxy_location, {"host": arguments.http_host, "port": arguments.http_port}, grpc)


def _run(arguments: Any) -> None:
    sys.path.insert(0, str(Path(arguments.app_dir).resolve()))
    given = _pairs(arguments.arguments)
    build.run_target(arguments.target, given, arguments.name, arguments.route_prefix)
    _say(f"Serving {arguments.target} at {api._url(arguments.route_prefix) or 'handles only'}\n")
    if arguments.non_blocking:
        return
    try:
        before = _newest(arguments.app_dir) if arguments.reload else 0.0
        while True:
            time.sleep(0.5)
            if arguments.reload and _newest(arguments.app_dir) > before:
                before = _newest(arguments.app_dir)
                for name in [n for n, m in sys.modules.items() if _is_below(m, arguments.app_dir)]:
                    del sys.modules[name]
                build.run_target(arguments.target, given, arguments.name, arguments.route_prefix)
                _say("Deployed again.\n")
    except KeyboardInterrupt:
        api.shutdown()


def _deploy(arguments: Any) -> None:
    sys.path.insert(0, str(Path(arguments.app_dir).resolve()))
    if arguments.target.endswith((".yaml", ".yml")):
        build.deploy(build.load_config(arguments.target))
    else:
        build.deploy(
            {
                "applications": [
                    {
                        "name": arguments.name,
                        "route_prefix": arguments.route_prefix,
                        "import_path": arguments.target,
                        "args": _pairs(arguments.arguments),
                    }
                ]
            }
        )
    _say("Sent: `python -m rayjup.serve status` says when it runs.\n")


def _status(arguments: Any) -> int:
    plain = api.status().to_plain()
    if arguments.name is None:
        _say(_yaml(plain))
        return 0
    if arguments.name not in plain["applications"]:
        _say(f"Application {arguments.name!r} does not exist.\n")
        return 1
    _say(_yaml(plain["applications"][arguments.name]))
    return 0


def _config(arguments: Any) -> int:
    configs = build.current_config() if client.controller() is not None else {}
    if arguments.name is not None:
        configs = {name: c for name, c in configs.items() if name == arguments.name}
    if not configs:
        _say("No configuration was deployed.\n")
    _say("---\n".join(_yaml(config) for config in configs.values()))
    return 0


def _shutdown(arguments: Any) -> int:
    if not arguments.yes:
        answer = input("End everything that is served? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            return 1
    api.shutdown()
    _say("Nothing is served any more.\n")
    return 0


def _controller_health(arguments: Any) -> int:
    if client.controller() is None:
        _say("Nothing is served.\n")
        return 1
    health = build.instance_details().controller_health_metrics.model_dump(exclude_unset=True)
    _say(json.dumps(health) + "\n" if arguments.json else _yaml(health))
    return 0


def _pairs(texts: list[str]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise SystemExit(f"serve: arguments have the form key=value, got {text!r}")
    return dict(text.split("=", 1) for text in texts)


def _newest(directory: str) -> float:
    return max((p.stat().st_mtime for p in Path(directory).rglob("*.py")), default=0.0)


def _is_below(module: Any, directory: str) -> bool:
    file = getattr(module, "__file__", None) or ""
    return bool(file) and Path(file).resolve().is_relative_to(Path(directory).resolve())


def _yaml(data: Any) -> str:
    import yaml  # only the command line writes it

    return str(yaml.safe_dump(data, sort_keys=False))


def _say(text: str) -> None:
    sys.stdout.write(text)
