"""The linker as the command line sees it: models that come and go, and pulls that break off."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from grpc import StatusCode

from actionvm.linker.v1 import linker_pb2, linker_pb2_grpc
from chassis.errors import NotFound, ServiceError, Unavailable

if TYPE_CHECKING:
    from grpc import aio

    Context: TypeAlias = aio.ServicerContext[Any, Any]


@dataclass(eq=False)
class ModelNotFound(NotFound):
    """As the linker says it."""

    reason = "MODEL_NOT_FOUND"
    message = "there is no model {model}"

    model: str


@dataclass(eq=False)
class HubUnavailable(Unavailable):
    """As the linker says it."""

    reason = "HUB_UNAVAILABLE"
    message = "the hub does not answer: {problem}"

    problem: str


class FakeLinker(linker_pb2_grpc.LinkerServiceServicer):
    """Has one model, and takes and drops others; each entry of `breaks` breaks one transfer off."""

    def __init__(self) -> None:
        self.models = {
            "local/babbler": linker_pb2.Model(
                name="local/babbler", size_bytes=3_400_000, loaded=True
            )
        }
        self.pulls: list[linker_pb2.PullModelRequest] = []
        self.adds: list[linker_pb2.AddModelRequest] = []
        self.breaks: deque[ServiceError | StatusCode] = deque()

    async def ListModels(
        self, request: linker_pb2.ListModelsRequest, context: Context
    ) -> linker_pb2.ListModelsResponse:
        return linker_pb2.ListModelsResponse(models=self.models.values())

    async def AddModel(
        self, request: linker_pb2.AddModelRequest, context: Context
    ) -> AsyncIterator[linker_pb2.AddModelResponse]:
        self.adds.append(request)
        self._take(request.model)
        yield linker_pb2.AddModelResponse(received_bytes=5, total_bytes=5)

    async def PullModel(
        self, request: linker_pb2.PullModelRequest, context: Context
    ) -> AsyncIterator[linker_pb2.PullModelResponse]:
        self.pulls.append(request)
        yield linker_pb2.PullModelResponse(received_bytes=2, total_bytes=5)
        if self.breaks:
            reason = self.breaks.popleft()
            if isinstance(reason, ServiceError):
                raise reason
            await context.abort(reason)
        self._take(request.model)
        yield linker_pb2.PullModelResponse(received_bytes=5, total_bytes=5)

    async def RemoveModel(
        self, request: linker_pb2.RemoveModelRequest, context: Context
    ) -> linker_pb2.RemoveModelResponse:
        if self.models.pop(request.model, None) is None:
            raise ModelNotFound(request.model)
        return linker_pb2.RemoveModelResponse()

    def _take(self, name: str) -> None:
        self.models[name] = linker_pb2.Model(
            name=name,
            size_bytes=4_920_000_000,
            architecture="llama",
            parameter_count=8_030_261_248,
            quantisation="Q4_K_M",
            context_tokens=8_192,
            memory_bytes=2**50,
            licence="llama3",
        )
