"""Coinbase CDP for one machine, as examples use it: `python -m tests.fakes.cdp_server --port 7481`.

It takes requests with tokens of the keys of the example, and says what is paid. What its accounts
hold is worth nothing.
"""

from __future__ import annotations

import argparse
import asyncio

from chassis.clock import SystemClock
from tests.fakes.cdp import FakeCdp
from tests.fakes.cdp_tokens import Doorkeeper


async def serve(port: int) -> None:
    """Serve until the process ends."""
    cdp = FakeCdp(door=Doorkeeper(now=SystemClock().now))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        before = len(cdp.transactions)
        await cdp.serve(reader, writer)
        writer.close()
        for sent in cdp.transactions[before:]:
            print(f"Coinbase has paid {sent.value} wei to {sent.to}", flush=True)  # noqa: T201  # for who watches

    async with await asyncio.start_server(handle, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=7481)
    asyncio.run(serve(parser.parse_args().port))
