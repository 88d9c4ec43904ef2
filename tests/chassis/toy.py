"""A toy service on both of its ports, served with certificates of an authority of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actionvm.gas.v1 import gas_pb2, gas_pb2_grpc
from chassis.certificates import Revoked
from chassis.config import ServiceConfig
from chassis.identity import Token, current_caller, current_name, format_identities
from chassis.membership import Membership
from chassis.server import Hosted, RunningServer, start_server
from chassis.tls import Mutual
from chassis.unimplemented import refusing_the_rest

DESCRIPTOR = gas_pb2.DESCRIPTOR.services_by_name["GasService"]
# Who may call what of the toy; nobody the rest.
READERS = frozenset({"linker", "runtime", "operator", "viewer"})


@refusing_the_rest(DESCRIPTOR)
class ToyService:
    """Says who calls, once or as often as a test lets it."""

    def __init__(self) -> None:
        self.more = asyncio.Event()

    async def GetBudget(
        self, request: gas_pb2.GetBudgetRequest, context: object
    ) -> gas_pb2.GetBudgetResponse:
        told = (current_caller(), current_name())
        return gas_pb2.GetBudgetResponse(budgets=[gas_pb2.Budget(account=one) for one in told])

    async def WatchCharges(
        self, request: gas_pb2.WatchChargesRequest, context: object
    ) -> AsyncIterator[gas_pb2.WatchChargesResponse]:
        while True:
            yield gas_pb2.WatchChargesResponse()
            await self.more.wait()
            self.more.clear()


@dataclass
class Toy:
    """The toy that runs, and what a test changes of it."""

    folder: Path
    membership: Membership
    service: ToyService = field(default_factory=ToyService)
    revoked: Revoked = field(default_factory=Revoked)
    server: RunningServer | None = None

    @property
    def address(self) -> str:
        """Return where people call."""
        assert self.server is not None
        return self.server.address

    @property
    def peer_address(self) -> str:
        """Return where services call."""
        assert self.server is not None
        return self.server.peer_address

    def let_in(self, tokens: Mapping[str, Token]) -> None:
        """Replace the identities file as `actionvm tokens` does."""
        draft = self.folder / "draft"
        draft.write_bytes(format_identities(tokens))
        draft.replace(self.folder / "identities.json")


@asynccontextmanager
async def serving(
    folder: Path,
    membership: Membership,
    tokens: Mapping[str, Token] | None = None,
    *,
    revoked: Callable[[], Revoked] | None = None,
) -> AsyncIterator[Toy]:
    """Serve the toy with the certificate of a membership."""
    toy = Toy(folder, membership)
    toy.let_in(tokens or {})
    config = ServiceConfig(
        listen="127.0.0.1:0",
        peer_listen="127.0.0.1:0",
        data_dir=folder,
        identities_file=folder / "identities.json",
        ca_file=folder / "ca.pem",
        platform_socket=folder / "platformd.sock",
        issuer_address="127.0.0.1:1",
        issuer_peer_address="127.0.0.1:1",
    )

    def add_to(server: Any) -> None:  # noqa: ANN401  # as generated
        servicer: Any = toy.service
        gas_pb2_grpc.add_GasServiceServicer_to_server(servicer, server)

    callers = dict.fromkeys((method.name for method in DESCRIPTOR.methods), frozenset[str]())
    callers |= {"GetBudget": READERS, "WatchCharges": READERS}
    hosted = Hosted(DESCRIPTOR, add_to, callers)
    toy.server = await start_server(
        config, hosted.of(Mutual(membership, revoked or (lambda: toy.revoked)))
    )
    try:
        yield toy
    finally:
        await toy.server.grpc_server.stop(0)
