"""A message board as an HTTP transport: it drops duplicates, and it can lose answers."""

from __future__ import annotations

import json
from collections import deque

import httpx


class FakeBoard(httpx.AsyncBaseTransport):
    """Keeps posts by their idempotency key, and notes in `arrivals` every one that came.

    `fail_next` takes, for one request each, a status to answer with, or `"lost"`: the request
    arrives and its answer does not, or `"unsent"`: the request does not arrive.
    """

    def __init__(self) -> None:
        self.posts: dict[str, dict[str, str]] = {}
        self.arrivals: list[str] = []
        self.requests: list[httpx.Request] = []
        self.error = "told to"
        self._failures: deque[int | str] = deque()

    def fail_next(self, *failures: int | str) -> None:
        """Fail the next requests, in order."""
        self._failures.extend(failures)

    def stop_failing(self) -> None:
        """Forget what it was told."""
        self._failures.clear()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        failure = self._failures.popleft() if self._failures else None
        if failure == "unsent":
            raise httpx.ConnectError("refused", request=request)
        if isinstance(failure, int):
            return httpx.Response(failure, json={"error": self.error})
        response = self._answer(request, (await request.aread()).decode())
        if failure == "lost":
            raise httpx.ReadTimeout("lost", request=request)
        return response

    def _answer(self, request: httpx.Request, body: str) -> httpx.Response:
        if request.method == "GET":
            post = self.posts.get(request.url.params["key"])
            return httpx.Response(200, json={"posts": [post] if post else []})
        key = request.headers["Idempotency-Key"]
        self.arrivals.append(key)
        is_new = key not in self.posts
        post = {"id": str(len(self.posts) + 1), "text": json.loads(body)["text"]}
        return httpx.Response(201 if is_new else 200, json=self.posts.setdefault(key, post))
