"""Discord, Slack, Telegram and a receiver of webhooks as sites, as far as messages are sent there.

Sources: the developer documentation of Discord (Create Message, API v10) and Slack
(chat.postMessage), Telegram's Bot API (sendMessage), Standard Webhooks 1.0.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.internet import Site
from tests.fakes.x import json_answer

CHANNEL = "1234567890123456789"
SLACK_CHANNEL = "C0123456789"
CHAT = "-1001234567890"


@dataclass
class JsonSite(Site):
    """A site that takes JSON; `messages` are what it has taken, by what it knows them by."""

    token: str = ""
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, value in (one.split(": ", 1) for one in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, target, _ = first.split(" ")
        assert headers["content-type"].startswith("application/"), "a body has a type"
        writer.write(json_answer(*self.answer(f"{method} {target}", headers, body)))
        await writer.drain()

    def answer(
        self, asked: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any]]:
        """Return the status and the object of an answer."""
        raise NotImplementedError


@dataclass
class FakeDiscord(JsonSite):
    """A channel, which knows a nonce again where that is to be enforced."""

    def answer(
        self, asked: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any]]:
        if headers.get("authorization") != f"Bot {self.token}":
            return 401, {"message": "401: Unauthorized", "code": 0}
        if asked != f"POST /api/v10/channels/{CHANNEL}/messages":
            return 404, {"message": "Unknown Channel", "code": 10003}
        message = json.loads(body)
        nonce = message.get("nonce", "")
        if len(nonce) > 25 or not 1 <= len(message["content"]) <= 2_000:
            return 400, {"message": "Invalid Form Body", "code": 50035, "errors": {}}
        known = f"{len(self.messages)}"
        if message.get("enforce_nonce"):
            known = nonce
        number = 9_000_000_000 + len(self.messages)
        made = {"id": str(number), "channel_id": CHANNEL, **message}
        return 200, self.messages.setdefault(known, made)


@dataclass
class FakeSlack(JsonSite):
    """A channel of a workspace; whatever it refuses, it says so with status 200."""

    def answer(
        self, asked: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any]]:
        if headers.get("authorization") != f"Bearer {self.token}":
            return 200, {"ok": False, "error": "invalid_auth"}
        assert asked == "POST /api/chat.postMessage"
        message = json.loads(body)
        if message["channel"] != SLACK_CHANNEL:
            return 200, {"ok": False, "error": "channel_not_found"}
        time = f"17672256{len(self.messages):02}.000100"
        self.messages[time] = message
        return 200, {"ok": True, "channel": SLACK_CHANNEL, "ts": time, "message": message}


@dataclass
class FakeTelegram(JsonSite):
    """A chat with a bot, whose token is in the path."""

    def answer(
        self, asked: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any]]:
        found = re.fullmatch(r"POST /bot([^/]+)/sendMessage", asked)
        if not found or found[1] != self.token:
            return 404, {"ok": False, "error_code": 404, "description": "Not Found"}
        message = json.loads(body)
        if message["chat_id"] != CHAT:
            told = "Bad Request: chat not found"
            return 400, {"ok": False, "error_code": 400, "description": told}
        number = len(self.messages) + 1
        self.messages[str(number)] = message
        chat = {"id": int(CHAT), "type": "supergroup"}
        return 200, {"ok": True, "result": {"message_id": number, "date": 1767225600, "chat": chat}}


@dataclass
class FakeReceiver(JsonSite):
    """A program that checks who signed an event, and takes each once."""

    key: bytes = b""

    def answer(
        self, asked: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any]]:
        event, time = headers["webhook-id"], headers["webhook-timestamp"]
        code = hmac.digest(self.key, b".".join([event.encode(), time.encode(), body]), "sha256")
        if headers["webhook-signature"] != f"v1,{base64.b64encode(code).decode()}":
            return 401, {"error": "the signature is another one"}
        self.messages.setdefault(event, json.loads(body))
        return 200, {}
