"""A hub for one machine, as examples use it: `python -m tests.fakes.farcaster_server --port 7481`.

It takes what is signed with the key of the example, and says what is cast.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis.clock import SystemClock
from tests.fakes.farcaster import ME, FakeHub, read_fields

KEY = Path(__file__).resolve().parents[2] / "examples" / "farcaster-notice" / "key.txt"


async def serve(port: int) -> None:
    """Serve until the process ends."""
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(KEY.read_text(encoding="utf-8")))
    signers = {ME: {key.public_key().public_bytes_raw()}}
    hub = FakeHub(signers=signers, now=SystemClock().now)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        before = {*hub.casts}
        await hub.serve(reader, writer)
        writer.close()
        for cast in (hub.casts[one] for one in hub.casts.keys() - before):
            text = read_fields(cast.data[5][0])[4][0].decode()
            print(f"the hub has a cast, 0x{cast.hash.hex()}: {text}", flush=True)  # noqa: T201  # for who watches

    async with await asyncio.start_server(handle, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=7481)
    asyncio.run(serve(parser.parse_args().port))
