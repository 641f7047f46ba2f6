"""LitServe's server of ``serve.py``: a file of its own, because its processes import the class anew."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

import litserve


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None: ...

    def decode_request(self, request: Any) -> Any:
        return request

    def predict(self, x: Any) -> str:
        return "hello"

    def encode_response(self, output: str) -> str:
        return output


def wait() -> None:
    time.sleep(6)  # until its processes are up
    print("READY", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=wait, daemon=True).start()
    server = litserve.LitServer(Api(api_path="/"), accelerator="cpu")
    server.run(port=int(sys.argv[2]), generate_client_file=False, log_level="error")
