"""What a method answers that is in the contract, but not in the code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, TypeVar

from .errors import NotImplementedYet

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

Servicer = TypeVar("Servicer")


def refusing_the_rest(
    descriptor: ServiceDescriptor,
) -> Callable[[type[Servicer]], type[Servicer]]:
    """Give a servicer class every method of its contract that it does not define itself.

    Each of them raises `NotImplementedYet`. Generated base classes raise a bare error instead.
    """

    def complete(servicer: type[Servicer]) -> type[Servicer]:
        for method in descriptor.methods:
            if not hasattr(servicer, method.name):
                setattr(servicer, method.name, _refusal(method))
        return servicer

    return complete


def _refusal(method: MethodDescriptor) -> Callable[..., object]:
    async def refuse(_self: object, _request: object, _context: object) -> object:
        raise NotImplementedYet(method.name)

    async def refuse_stream(
        _self: object, _request: object, _context: object
    ) -> AsyncIterator[object]:
        raise NotImplementedYet(method.name)
        yield  # an async generator, as gRPC expects of a stream

    return refuse_stream if method.server_streaming else refuse
