"""A message board for one machine: it stands in for a social network.

    python board.py --port 7480 --data posts.jsonl

`POST /posts` takes `{"text": "…"}` with these headers, and answers 201 with the post:

- `Idempotency-Key`: the same key gives the same post again, with 200; other words under a key that
  is taken are refused with 409.
- `Author-Key` and `Author-Signature`, in Base64: an Ed25519 public key, and its signature over
  `actionvm/request/v1`, `POST`, the path, the idempotency key and the SHA-256 of the body in
  hexadecimal, with a line feed between them. Anything else is refused with 401.

`GET /posts` answers with all posts, `GET /posts?key=…` with that of one key. A post that was
acknowledged survives a power cut: it is one line of JSON, written before the answer.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import os
import threading
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

BODY_BYTES_MAX = 16 * 1024
KEY_CHARACTERS_MAX = 256
TEXT_CHARACTERS_MAX = 280
SOCKET_SECONDS_MAX = 10


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: HTTPStatus, problem: str) -> None:
        super().__init__(problem)
        self.status = status


class Board:
    """The posts, in memory and in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        self._file.seek(0)
        content = self._file.read()
        # A power cut can leave half a line, which nobody was told about.
        whole = content[: content.rfind(b"\n") + 1]
        self._file.truncate(len(whole))
        self._posts = {post["key"]: post for post in map(json.loads, whole.splitlines())}

    def posts(self, key: str | None = None) -> list[dict[str, str]]:
        """Return all posts, oldest first, or those with a key."""
        with self._lock:
            return [post for post in self._posts.values() if key in (None, post["key"])]

    def add(self, *, key: str, author: str, text: str, time: str) -> tuple[dict[str, str], bool]:
        """Return the post with this key, and whether it is new."""
        with self._lock:
            known = self._posts.get(key)
            if known is not None:
                if (known["author"], known["text"]) != (author, text):
                    raise Refused(HTTPStatus.CONFLICT, "this key was used for another post")
                return known, False
            number = str(len(self._posts) + 1)
            post = {"id": number, "key": key, "author": author, "text": text, "time": time}
            self._file.write(json.dumps(post).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._posts[key] = post
            return post, True


class Desk(BaseHTTPRequestHandler):
    """Takes requests to the board."""

    server: BoardServer
    timeout = SOCKET_SECONDS_MAX
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with posts."""
        url = urlsplit(self.path)
        if url.path != "/posts":
            self._answer(HTTPStatus.NOT_FOUND, {"error": "there is only /posts"})
            return
        keys = parse_qs(url.query).get("key")
        self._answer(HTTPStatus.OK, {"posts": self.server.board.posts(keys[0] if keys else None)})

    def do_POST(self) -> None:
        """Take a post."""
        try:
            post, is_new = self._post()
        except Refused as refused:
            self._answer(refused.status, {"error": str(refused)})
        else:
            self._answer(HTTPStatus.CREATED if is_new else HTTPStatus.OK, post)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as in http.server
        """Stay silent: a log could hold what people post."""

    def _post(self) -> tuple[dict[str, str], bool]:
        body = self._body()
        if urlsplit(self.path).path != "/posts":
            raise Refused(HTTPStatus.NOT_FOUND, "there is only /posts")
        key = self.headers.get("Idempotency-Key", "")
        if not 1 <= len(key) <= KEY_CHARACTERS_MAX:
            raise Refused(HTTPStatus.BAD_REQUEST, "the header Idempotency-Key is required")
        author = self._author(key, body)
        time = datetime.now(UTC).isoformat(timespec="seconds")  # noqa: TID251  # a program of its own
        return self.server.board.add(key=key, author=author, text=_text(body), time=time)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or len(length) > len(str(BODY_BYTES_MAX)):
            self.close_connection = True
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "a short Content-Length is required")
        if int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the post is too long")
        return self.rfile.read(int(length))

    def _author(self, key: str, body: bytes) -> str:
        author = self.headers.get("Author-Key", "")
        digest = hashlib.sha256(body).hexdigest()
        lines = ["actionvm/request/v1", "POST", self.path, key, digest]
        try:
            public_key = base64.b64decode(author, validate=True)
            value = base64.b64decode(self.headers.get("Author-Signature", ""), validate=True)
            signed = "\n".join(lines).encode()
            Ed25519PublicKey.from_public_bytes(public_key).verify(value, signed)
        except (InvalidSignature, ValueError, binascii.Error) as error:
            raise Refused(HTTPStatus.UNAUTHORIZED, "the signature does not fit") from error
        return author

    def _answer(self, status: HTTPStatus, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class BoardServer(ThreadingHTTPServer):
    """Serves one board on this machine only."""

    daemon_threads = True

    def __init__(self, port: int, path: Path) -> None:
        super().__init__(("127.0.0.1", port), Desk)
        self.board = Board(path)


def _text(body: bytes) -> str:
    try:
        value = json.loads(body)
        text = value["text"]
        text.encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Refused(HTTPStatus.BAD_REQUEST, 'the body must be {"text": "…"}') from error
    if not text.strip() or len(text) > TEXT_CHARACTERS_MAX:
        problem = f"a post has 1 to {TEXT_CHARACTERS_MAX} characters"
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, problem)
    return str(text)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A message board for one machine.")
    parser.add_argument("--port", type=int, default=7480, help="0 takes a free one")
    parser.add_argument("--data", type=Path, required=True, help="file that keeps the posts")
    arguments = parser.parse_args()
    with BoardServer(arguments.port, arguments.data) as server:
        print(f"board on http://127.0.0.1:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
