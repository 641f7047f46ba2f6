"""An application for configuration files."""

from __future__ import annotations

from typing import Any

from rayjup import serve


@serve.deployment(ray_actor_options={"num_cpus": 0}, graceful_shutdown_wait_loop_s=0.1)
class Greeter:
    def __init__(self, greeting: str = "hi") -> None:
        self.greeting = greeting
        self.mark = "."

    def reconfigure(self, config: dict[str, Any]) -> None:
        self.mark = config["mark"]

    def __call__(self, request: Any = None) -> str:
        return self.greeting + self.mark


app = Greeter.bind()


def make(args: dict[str, str]) -> Any:
    return Greeter.bind(args["greeting"])
