"""What all runs of a runtime share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from chassis.clock import Clock

from .audience import Audience
from .bundles import SealedBundle, open_bundle, require_connectors
from .connectors import Connector
from .journal.port import Journal
from .ports import Approvals, Bundles, GasMeter, Knowledge, Model, Signer
from .program import Program
from .turns import Turns


@dataclass(frozen=True)
class Stage:
    """The journal, the ports, and the connectors by the name of their action."""

    journal: Journal
    audience: Audience
    clock: Clock
    bundles: Bundles
    model: Model
    knowledge: Knowledge
    meter: GasMeter
    signer: Signer
    approvals: Approvals
    connectors: Mapping[str, Connector]
    turns: Turns = field(default_factory=Turns)

    async def open(self, sealed: SealedBundle) -> Program:
        """Return the program of a bundle; raise `BundleInvalid` if it cannot be executed here."""
        public_key = await self.signer.bundle_key()
        program = await asyncio.to_thread(open_bundle, sealed, public_key)
        require_connectors(program, self.connectors)
        return program
