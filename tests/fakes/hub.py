"""The hub of Hugging Face on this machine: its HTTP, its headers, its errors, and its bad days."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = ("main", "v1", COMMIT)
BLOCK_BYTES = 64 * 1024

_RESOLVE = re.compile(r"/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/(.+)")


@dataclass(frozen=True)
class Fault:
    """What happens to one request: an error, or an answer that ends or stalls after some bytes."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    break_after: int = -1
    stall_after: int = -1


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class FakeHub:
    """Repositories of files; `bad_bytes` are sent instead of what was promised.

    Like the real one it answers `/resolve/` with the facts of a file and a redirect to another
    origin, which sends the bytes. `faults` and `cdn_faults` are used up by one request each.
    """

    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    licence_accepted: bool = True
    token: str = "hf_good"
    bad_bytes: dict[str, bytes] = field(default_factory=dict)
    in_git: set[str] = field(default_factory=set)
    faults: deque[Fault] = field(default_factory=deque)
    cdn_faults: deque[Fault] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)
    cdn_asked: list[Asked] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    endpoint: str = ""
    cdn: str = ""

    def ranges(self) -> list[str]:
        """Return what was asked of each file: empty for all of it."""
        return [asked.headers.get("range", "") for asked in self.cdn_asked]

    def refusal(self, path: str, authorization: str) -> tuple[int, Mapping[str, str]] | None:
        """Return the status and the headers of a request that gets no file."""
        found = _RESOLVE.fullmatch(path)
        if found is None:
            return 404, {}
        repository, revision, name = found.groups()
        repositories = {known for known, _ in self.files}
        if authorization and authorization != f"Bearer {self.token}":
            return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}
        if repository not in repositories:
            # Without a token, the hub does not say whether it is private or missing.
            return (404, {"X-Error-Code": "RepoNotFound"}) if authorization else (401, {})
        if repository in self.gated and not authorization:
            return 401, {"X-Error-Code": "GatedRepo"}
        if repository in self.gated and not self.licence_accepted:
            return 403, {"X-Error-Code": "GatedRepo"}
        if revision not in REVISIONS:
            return 404, {"X-Error-Code": "RevisionNotFound"}
        if (repository, name) not in self.files:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
        return None


@contextmanager
def serve_hub(hub: FakeHub) -> Iterator[FakeHub]:
    """Serve a hub and its CDN on two free ports, for as long as the block lasts."""
    servers = []
    for kind in (_Hub, _Cdn):
        handler = type(kind.__name__, (kind,), {"hub": hub})
        server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
    hub.endpoint, hub.cdn = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    try:
        yield hub
    finally:
        hub.released.set()
        for server in servers:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing of clients that break off, as some tests do."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name is given
        """Print nothing."""

    def note(self) -> Asked:
        """Return the request."""
        headers = {key.lower(): value for key, value in self.headers.items()}
        return Asked(self.command, self.path, headers)

    def answer(self, status: int, headers: Mapping[str, str]) -> None:
        """Answer without a body."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", "0")
        self.end_headers()


class _Hub(_Handler):
    def do_HEAD(self) -> None:
        """Tell the facts of a file, and where its bytes are."""
        asked = self.note()
        self.hub.asked.append(asked)
        if self.hub.faults:
            fault = self.hub.faults.popleft()
            self.answer(fault.status, fault.headers)
            return
        refusal = self.hub.refusal(self.path, asked.headers.get("authorization", ""))
        if refusal is not None:
            self.answer(*refusal)
            return
        found = _RESOLVE.fullmatch(self.path)
        assert found is not None, "a file that is not refused has a path"
        content = self.hub.files[found[1], found[3]]
        sha256 = hashlib.sha256(content).hexdigest()
        tag = COMMIT if found[3] in self.hub.in_git else sha256
        self.answer(
            302,
            {
                "Location": f"{self.hub.cdn}/{found[1]}/{found[3]}?signature=secret",
                "X-Repo-Commit": COMMIT,
                "X-Linked-Size": str(len(content)),
                "X-Linked-Etag": f'"{tag}"',
                "ETag": f'"{COMMIT}"',
            },
        )

    def do_GET(self) -> None:
        """Answer the same; the bytes are elsewhere."""
        self.do_HEAD()


class _Cdn(_Handler):
    def do_GET(self) -> None:
        """Send a file from where it is asked for."""
        asked = self.note()
        self.hub.cdn_asked.append(asked)
        fault = self.hub.cdn_faults.popleft() if self.hub.cdn_faults else Fault()
        if fault.status:
            self.answer(fault.status, fault.headers)
            return
        owner, repository, name = self.path[1:].partition("?")[0].split("/", 2)
        content = self.hub.bad_bytes.get(name, self.hub.files[f"{owner}/{repository}", name])
        size, start = len(content), 0
        if span := re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", "")):
            start = int(span[1])
        headers = {"Content-Length": str(size - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self.answer(206 if start else 200, headers)
        self._send(content[start:], fault)

    def _send(self, content: bytes, fault: Fault) -> None:
        ends = [end for end in (fault.break_after, fault.stall_after) if end >= 0]
        end = min(ends, default=len(content))
        try:
            for first in range(0, end, BLOCK_BYTES):
                self.wfile.write(content[first : min(first + BLOCK_BYTES, end)])
            self.wfile.flush()
            if fault.stall_after >= 0:
                self.hub.released.wait(60)
            self.close_connection = bool(ends)
        except OSError:
            # Who asked has gone.
            self.close_connection = True
