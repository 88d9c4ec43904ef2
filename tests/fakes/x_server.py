"""X for one machine, as examples use it: `python -m tests.fakes.x_server --port 7481`.

It takes requests that are signed with the credential of the example, and says what is posted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from oauthlib.oauth1 import Client

from tests.fakes.x import ME, Asked, FakeX

CREDENTIAL = Path(__file__).resolve().parents[2] / "examples" / "x-brief" / "credential.json"


@dataclass
class SigningX(FakeX):
    """X that looks at signatures (OAuth 1.0a, RFC 5849)."""

    credential: dict[str, str] = field(default_factory=dict)

    def is_authorized(self, asked: Asked) -> bool:
        """Tell whether a request is signed with the credential."""
        header = asked.headers.get("authorization", "")
        given = {name: unquote(value) for name, value in re.findall(r'(\w+)="([^"]*)"', header)}
        if not {"oauth_nonce", "oauth_timestamp", "oauth_signature"} <= {*given}:
            return False
        client = Client(
            self.credential["consumer_key"],
            self.credential["consumer_secret"],
            self.credential["token"],
            self.credential["token_secret"],
            nonce=given["oauth_nonce"],
            timestamp=given["oauth_timestamp"],
        )
        url = f"http://{asked.headers['host']}{asked.target}"
        _, signed, _ = client.sign(url, http_method=asked.method)
        return f'oauth_signature="{_quoted(header)}"' in signed["Authorization"]

    def add_post(self, text: str, author: str = ME) -> str:
        """Let there be a post, and say so."""
        post = super().add_post(text, author)
        print(f"X has a post, {post}: {text}", flush=True)  # noqa: T201  # for who watches
        return post


def _quoted(header: str) -> str:
    return next(iter(re.findall(r'oauth_signature="([^"]*)"', header)), "")


async def serve(port: int) -> None:
    """Serve until the process ends."""
    x = SigningX(credential=json.loads(CREDENTIAL.read_text(encoding="utf-8")))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await x.serve(reader, writer)
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=7481)
    asyncio.run(serve(parser.parse_args().port))
