"""The actions on chains of the EVM, through a node of the author's choice, with one's own key."""

from __future__ import annotations

from ...egress.client import Egress
from ...ports import Signer
from .. import Connector
from .reads import reads
from .sending import Sender
from .writes import writes


def evm_actions(egress: Egress, signer: Signer) -> tuple[Connector, ...]:
    """Return all of them."""
    return (*writes(Sender(egress, signer)), *reads(egress, signer))
