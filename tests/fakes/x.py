"""X as a site: users, their posts and likes, and what X refuses."""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.internet import Site, answering

ME = "2244994945"
TEXT_CHARACTERS_MAX = 280
DUPLICATE = "You are not allowed to create a Tweet with duplicate content."
_FOUND = "https://api.x.com/2/problems/resource-not-found"
_REASONS = {200: "OK", 201: "Created", 302: "Found", 429: "Too Many Requests"}


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """Return the path, as it is on the wire."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """Return the parameters, decoded."""
        return {name: one for name, [one] in parse_qs(urlsplit(self.target).query).items()}


Said = tuple[int, dict[str, Any]]


@dataclass
class FakeX(Site):
    """Keeps posts by id and likes by user.

    `fail_next` takes, for one request each, a status to answer with; `"lost"`: the request takes
    effect and nobody is told; `"failed"`: it does not, and nobody is told; `""`: it is answered; or
    the answer as it is on the wire.
    """

    posts: dict[str, dict[str, str]] = field(default_factory=dict)
    likes: set[tuple[str, str]] = field(default_factory=set)
    users: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    # What an answer with a status of `fail_next` carries.
    error_headers: tuple[str, ...] = ()
    error: dict[str, Any] = field(default_factory=dict)
    _failures: deque[int | str | bytes] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.add_user(ME, "me")

    def fail_next(self, *failures: int | str | bytes) -> None:
        """Fail the next requests, in order."""
        self._failures.extend(failures)

    def is_authorized(self, asked: Asked) -> bool:
        """Tell whether a request has what `FakeSigner` gives it."""
        return asked.headers.get("authorization", "").startswith("oauth1 ")

    def add_user(self, user: str, name: str, description: str = "") -> None:
        """Let there be a user."""
        told = {"id": user, "username": name, "name": name.title(), "description": description}
        self.users[user] = told

    def add_post(self, text: str, author: str = ME) -> str:
        """Let there be a post; return its id."""
        post = str(1346889436626259000 + len(self.posts))
        self.posts[post] = {"id": post, "text": text, "author_id": author}
        return post

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, or hang up."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {
                name.lower(): value for name, value in (line.split(": ", 1) for line in lines)
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, target, _ = first.split(" ")
            asked = Asked(method, target, headers, body)
            self.asked.append(asked)
            writer.write(self._wire(asked))
            await writer.drain()

    def _wire(self, asked: Asked) -> bytes:
        failure = self._failures.popleft() if self._failures else ""
        if failure == "failed":
            return b""
        if isinstance(failure, bytes):
            return failure
        if isinstance(failure, int):
            return json_answer(failure, self.error, *self.error_headers)
        status, value = self._answer(asked)
        return b"" if failure == "lost" else json_answer(status, value)

    def _answer(self, asked: Asked) -> Said:
        if not self.is_authorized(asked):
            return _problem(401, "Unauthorized")
        routes = {
            r"POST /2/tweets": self._create,
            r"DELETE /2/tweets/([0-9]+)": self._delete,
            r"POST /2/users/([0-9]+)/likes": self._like,
            r"GET /2/users/me": lambda _: (200, {"data": self.users[ME]}),
            r"GET /2/users/by/username/(\w+)": self._user,
            r"GET /2/tweets/search/recent": self._search,
            r"GET /2/users/([0-9]+)/mentions": self._mentions,
        }
        for pattern, answer in routes.items():
            if re.fullmatch(pattern, f"{asked.method} {asked.path}"):
                return answer(asked)
        return _problem(404, "there is no such path")

    def _create(self, asked: Asked) -> Said:
        body = json.loads(asked.body)
        text, parent = body["text"], body.get("reply", {}).get("in_reply_to_tweet_id")
        mine = {post["text"] for post in self.posts.values() if post["author_id"] == ME}
        if text in mine:
            return _problem(403, DUPLICATE)
        if len(text) > TEXT_CHARACTERS_MAX:
            return _problem(400, "Your Tweet text is too long.")
        for other in (parent, body.get("quote_tweet_id")):
            if other and other not in self.posts:
                return _problem(403, "You attempted to reply to a Tweet that is not visible.")
        return 201, {"data": {"id": self.add_post(text), "text": text}}

    def _delete(self, asked: Asked) -> Said:
        post = self.posts.get(_last(asked))
        if post is None:
            return _problem(404, "Could not find tweet.")
        if post["author_id"] != ME:
            return _problem(403, "You are not authorized to delete this Tweet.")
        del self.posts[post["id"]]
        return 200, {"data": {"deleted": True}}

    def _like(self, asked: Asked) -> Said:
        user, post = asked.path.split("/")[3], json.loads(asked.body)["tweet_id"]
        if user != ME:
            return _problem(403, "You are not permitted to like as somebody else.")
        if post not in self.posts:
            return _problem(404, "Could not find tweet.")
        self.likes.add((user, post))
        return 200, {"data": {"liked": True}}

    def _user(self, asked: Asked) -> Said:
        for user in self.users.values():
            if user["username"] == _last(asked):
                return 200, {"data": user}
        detail = f"Could not find user with username: [{_last(asked)}]."
        return 200, {"errors": [{"type": _FOUND, "title": "Not Found Error", "detail": detail}]}

    def _search(self, asked: Asked) -> Said:
        return self._page(asked, unquote(asked.query["query"]))

    def _mentions(self, asked: Asked) -> Said:
        return self._page(asked, f"@{self.users[ME]['username']}")

    def _page(self, asked: Asked, word: str) -> Said:
        query = asked.query
        found = [
            post if "author_id" in query.get("expansions", "") else {**post, "author_id": ""}
            for post in reversed(self.posts.values())
            if word in post["text"] and int(post["id"]) > int(query.get("since_id", "0"))
        ][: int(query["max_results"])]
        meta = {"meta": {"result_count": len(found)}}
        return 200, {"data": found, **meta} if found else meta


def _last(asked: Asked) -> str:
    return asked.path.rpartition("/")[2]


def _problem(status: int, detail: str) -> Said:
    return status, {"title": "Refused", "detail": detail, "type": "about:blank", "status": status}


def json_answer(status: int, value: dict[str, Any], *headers: str) -> bytes:
    """Return an answer as it is on the wire."""
    line = f"{status} {_REASONS.get(status, 'Refused')}"
    return answering(json.dumps(value).encode(), *headers, status=line, kind="application/json")
