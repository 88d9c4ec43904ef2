"""One servicer that plays every peer of the runtime over real gRPC, told what to answer."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from grpc import aio

from actionvm.assembler.v1 import assembler_pb2_grpc
from actionvm.gas.v1 import gas_pb2_grpc, metering_pb2_grpc
from actionvm.keymanager.v1 import keymanager_pb2_grpc, policy_pb2_grpc, use_pb2_grpc
from actionvm.knowledge.v1 import knowledge_pb2_grpc
from actionvm.linker.v1 import linker_pb2_grpc
from chassis.errors import ServiceError
from chassis.interceptors import status_of
from chassis.tls import Bearer

_ADDERS = (
    assembler_pb2_grpc.add_AssemblerServiceServicer_to_server,
    gas_pb2_grpc.add_GasServiceServicer_to_server,
    metering_pb2_grpc.add_MeteringServiceServicer_to_server,
    policy_pb2_grpc.add_PolicyServiceServicer_to_server,
    use_pb2_grpc.add_UseServiceServicer_to_server,
    keymanager_pb2_grpc.add_KeymanagerServiceServicer_to_server,
    knowledge_pb2_grpc.add_KnowledgeServiceServicer_to_server,
    linker_pb2_grpc.add_LinkerServiceServicer_to_server,
)


@dataclass(eq=False)
class Refusal(ServiceError):
    """An error of a peer."""

    message = "no"

    code: str  # type: ignore[misc]  # of the instance here
    reason: str  # type: ignore[misc]  # of the instance here


@dataclass(eq=False)
class ApprovalRequired(Refusal):
    """As the key manager's error."""

    approval: str
    rule: str


class Peers:
    """Gives its answers in order: a message, a list of messages for a stream, or a refusal."""

    def __init__(self) -> None:
        self.answers: deque[Any] = deque()
        self.requests: list[Any] = []
        self.authorizations: list[str] = []
        self.address = ""

    def __getattr__(self, method: str) -> Any:  # noqa: ANN401  # any method of any service
        return self._stream if method in {"Generate", "PullModel"} else self._unary

    async def _unary(self, request: object, context: Any) -> object:  # noqa: ANN401  # of grpc
        self.requests.append(request)
        shown = dict(context.invocation_metadata())
        self.authorizations.append(shown.get("authorization", ""))
        answer = self.answers.popleft()
        if isinstance(answer, Refusal):
            await _abort(context, answer)
        return answer

    async def _stream(self, request: object, context: Any) -> AsyncIterator[object]:  # noqa: ANN401  # of grpc
        answers = await self._unary(request, context)
        assert isinstance(answers, list)
        for answer in answers:
            yield answer


async def _abort(context: Any, refusal: Refusal) -> None:  # noqa: ANN401  # of grpc
    status = status_of(refusal, "peer.actionvm")
    trailer = ("grpc-status-details-bin", status.SerializeToString())
    await context.abort(grpc.StatusCode[refusal.code], status.message, (trailer,))


@asynccontextmanager
async def serving(peers: Peers) -> AsyncIterator[aio.Channel]:
    """Serve the peers on a free port, and give a channel to them."""
    server = aio.server()
    for add in _ADDERS:
        add(peers, server)  # type: ignore[arg-type]  # it has every method
    port = server.add_insecure_port("127.0.0.1:0")
    peers.address = f"127.0.0.1:{port}"
    await server.start()
    async with Bearer("token").connect(peers.address, "peer") as channel:
        yield channel
    await server.stop(0)
