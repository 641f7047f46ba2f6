"""Requests to services, many at a time, with a limit per second and with patience."""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rayjup.data.datasource.json import as_json
from rayjup.data.llm.stages import Work

_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


class HttpRequest(Work):
    """Sends ``payload`` as JSON and puts the answer into ``http_response``.

    Parameters
    ----------
    url, headers, qps, max_retries, base_retry_wait_time_in_s, session_factory
        As for ``HttpRequestProcessorConfig``.
    threads
        How many requests at a time.
    """

    needed = ("payload",)

    def __init__(
        self,
        url: str,
        headers: dict[str, Any] | None,
        qps: int | None,
        max_retries: int,
        base_retry_wait_time_in_s: float,
        session_factory: Callable[[], Any] | None,
        threads: int,
    ) -> None:
        self._url, self._retries, self._wait = url, max_retries, base_retry_wait_time_in_s
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._session = None if session_factory is None else session_factory()
        self._pool = ThreadPoolExecutor(threads)
        self._pause, self._lock, self._next = 1 / qps if qps else 0.0, threading.Lock(), 0.0

    def process(self, rows: list[dict[str, Any]]) -> None:
        """Send all, and wait for all."""
        for row, answer in zip(rows, self._pool.map(self._answer, rows), strict=True):
            row["http_response"] = answer

    def _my_turn(self) -> None:
        if not self._pause:
            return
        with self._lock:
            now = time.monotonic()
            self._next = max(now, self._next) + self._pause
            wait = self._next - self._pause - now
        if wait > 0:
            time.sleep(wait)

    def _answer(self, row: dict[str, Any]) -> Any:
        for attempt in range(self._retries + 1):
            self._my_turn()
            status, content = self._send(row["payload"])
            if status < 400:
                return json.loads(content)
            if status not in _AGAIN or attempt == self._retries:
                break
            # Not all at the same moment again.
            time.sleep(self._wait * 2**attempt * random.uniform(0.5, 1.5))
        text = content.decode(errors="replace")[:300]
        why = f"status {status}" if status < 600 else "no answer"
        raise RuntimeError(f"A request to {self._url} failed after {attempt + 1} attempts: {why}: {text}")

    def _send(self, payload: Any) -> tuple[int, bytes]:
        if self._session is not None:
            answer = self._session.post(self._url, json=payload, headers=self._headers)
            return answer.status_code, answer.content
        body = json.dumps(payload, default=as_json).encode()
        request = urllib.request.Request(self._url, data=body, headers=self._headers)
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if self._retries:
                return 503, str(error).encode()
            raise
