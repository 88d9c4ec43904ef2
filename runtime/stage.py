"""What all runs of a runtime share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from chassis.clock import Clock
from sandbox.ports import Sandbox

from .audience import Audience
from .bundles import SealedBundle, open_bundle, require_connectors
from .connectors import Connector
from .errors import BundleInvalid
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
    # Without one, code is not executed here, and `sandbox_lack` says why.
    sandbox: Sandbox | None = None
    sandbox_lack: str = ""
    # What the operator lets code use; None is everything that it was granted.
    code_may: frozenset[str] | None = None

    @property
    def _lack(self) -> str:
        return f": {self.sandbox_lack}" if self.sandbox_lack else ""

    async def open(self, sealed: SealedBundle) -> Program:
        """Return the program of a bundle; raise `BundleInvalid` if it cannot be executed here."""
        public_key = await self.signer.bundle_key()
        program = await asyncio.to_thread(open_bundle, sealed, public_key)
        if self.sandbox is None and any(action.code for action in program.actions):
            raise BundleInvalid(f"it brings code, and this runtime executes none{self._lack}")
        require_connectors(program, self.connectors)
        return program
