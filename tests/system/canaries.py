"""Finds a value in whatever form it left: in files, in arguments, in the memory of a process."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

# Exactly a private key of each curve, so that it goes through every path.
CANARY = b"canary-7f3a-never-seen-outside!!"
assert len(CANARY) == 32

CHUNK_BYTES = 16 * 1024 * 1024
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def encodings(value: bytes) -> dict[str, bytes]:
    """Return how a value may be written, by the name of the encoding."""
    found = {
        "raw": value,
        # As numbers lie in memory.
        "reversed": value[::-1],
        "hex": value.hex().encode(),
        "HEX": value.hex().upper().encode(),
        # Without its last zero, UTF-16 of the other order has it, too.
        "utf-16": value.decode().encode("utf-16-le")[:-1],
    }
    # A longer text may start the same value at each of three places of base64.
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + value)
        inner = encoded[4 if shift else 0 : len(encoded) // 4 * 4 - 4]
        found[f"base64+{shift}"] = inner
        found[f"base64url+{shift}"] = inner.translate(bytes.maketrans(b"+/", b"-_"))
    return found


_WANTED = encodings(CANARY)
# Base64 for URLs is another one only where there is a plus or a slash.
_PATTERNS = {pattern: name for name, pattern in reversed(_WANTED.items())}


def canaries_in(content: bytes) -> list[str]:
    """Return in which encodings the canary is there."""
    return [name for pattern, name in _PATTERNS.items() if pattern in content]


def canaries_in_files(folder: Path) -> dict[str, list[str]]:
    """Return the files below a folder that have it."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return _only_found((str(path), canaries_in(path.read_bytes())) for path in files)


def canaries_in_starts(pids: Iterable[int]) -> dict[str, list[str]]:
    """Return the processes that were started with it, as an argument or in a variable."""
    files = [Path(f"/proc/{pid}/{name}") for pid in pids for name in ("cmdline", "environ")]
    return _only_found((str(path), canaries_in(path.read_bytes())) for path in files)


def canaries_in_memory(pid: int) -> list[str]:
    """Return the encodings in which a process has it where a core file would have it."""
    found = set[str]()
    for content in _memory(pid):
        found.update(canaries_in(content))
    return sorted(found)


def _memory(pid: int) -> Iterator[bytes]:
    """Yield what a process may write to, in chunks that overlap."""
    overlap = max(map(len, _PATTERNS))
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, permissions, *_ = line.split()
            if not permissions.startswith("rw"):
                continue
            start, end = (int(number, 16) for number in span.split("-"))
            for place in range(start, end, CHUNK_BYTES):
                size = min(CHUNK_BYTES + overlap, end - place)
                try:
                    memory.seek(place)
                    yield memory.read(size)
                except OSError:
                    # It was given back since, or is a device.
                    continue


def _only_found(searched: Iterable[tuple[str, list[str]]]) -> dict[str, list[str]]:
    return {name: found for name, found in searched if found}


@dataclass
class Collector:
    """A collector of traces that keeps what it gets, as it came."""

    address: str = ""
    received: list[bytes] = field(default_factory=list)

    def keep(self, content: bytes, _context: object) -> bytes:
        """Take spans, and answer with an empty message."""
        self.received.append(content)
        return b""


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a free port."""
    collector = Collector()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
        collector.keep
    )
    service, _, method = _EXPORT[1:].partition("/")
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    collector.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None)
