"""A linker with one local model, served over gRPC: `python -m benchmarks.linker_process FILE N`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import uvloop

from chassis.config import ServiceConfig
from chassis.server import start_server
from linker.links import ModelConfig
from linker.providers.local import LocalProvider
from linker.service import LinkerService, hosted
from tests.fakes.gas_meter import FakeGasMeter
from tests.grpc_fixtures import identities_json
from tests.linker.orders import make_linker
from tests.linker.shelves import make_shelf

CONTEXT_TOKENS = 8_192


async def serve(model: Path, threads: int) -> None:
    """Serve until the process is ended; the first line of output is the address."""
    provider = LocalProvider(model.parent, threads=threads, context_tokens_max=CONTEXT_TOKENS)
    linker = make_linker(provider, FakeGasMeter())
    await linker.link(ModelConfig(f"local/{model.stem}"))
    with tempfile.TemporaryDirectory() as folder:
        identities = Path(folder) / "identities.json"
        identities.write_text(identities_json())
        config = ServiceConfig(
            listen="127.0.0.1:0",
            data_dir=Path(folder),
            identities_file=identities,
            token_file=Path(folder) / "token",
            tls="off",
        )
        server = await start_server(config, hosted(LinkerService(linker, make_shelf(model.parent))))
        print(server.address, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
