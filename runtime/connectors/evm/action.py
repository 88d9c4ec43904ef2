"""One action on a chain: what it is, and who does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ...egress import Refused
from ...egress.client import Egress
from ...ports import Signer
from .. import Descriptor, Order, Result
from ..keyed import told
from .abi import AbiInvalid
from .node import Node, NodeRefuses
from .reverts import refusal_of
from .sending import Call, Sender
from .types import SignatureInvalid


@dataclass(frozen=True)
class Read:
    """An action that asks a node."""

    descriptor: Descriptor
    egress: Egress
    signer: Signer
    act: Callable[[Node, Order], Awaitable[Result]]

    async def perform(self, order: Order) -> Result:
        """Perform it."""
        node = Node(self.egress, self.signer, order)
        try:
            await node.require_chain()
            return await self.act(node, order)
        except Refused as error:
            return told(error.reason, error.message)
        except NodeRefuses as error:
            return refusal_of(error)
        except (SignatureInvalid, AbiInvalid) as error:
            return _invalid(error)

    async def find(self, order: Order) -> Result | None:
        """Never happens: nothing is written."""
        raise AssertionError(order.key)


@dataclass(frozen=True)
class Write:
    """An action that sends a transaction."""

    descriptor: Descriptor
    sender: Sender
    make: Callable[[Order], Call | Result]

    async def perform(self, order: Order) -> Result:
        """Send it; see `Sender`."""
        try:
            call = self.make(order)
        except (SignatureInvalid, AbiInvalid) as error:
            return _invalid(error)
        return call if isinstance(call, Result) else await self.sender.send(order, call)

    async def find(self, order: Order) -> Result | None:
        """Look for it."""
        return await self.sender.find(order)


def text_of(order: Order, name: str) -> str:
    """Return an argument that is a text; the empty one if it was left out."""
    return str(order.arguments.get(name, ""))


def _invalid(error: SignatureInvalid | AbiInvalid) -> Result:
    name = "METHOD_INVALID" if isinstance(error, SignatureInvalid) else "ARGUMENTS_INVALID"
    return told(name, f"it {error}" if isinstance(error, SignatureInvalid) else str(error))
