"""Starts the runs of firings, as `StartRun` starts those of people."""

from __future__ import annotations

import asyncio
import random
import uuid

from chassis.errors import PeerUnavailable, ServiceError

from ..conductor import Conductor
from ..errors import JournalUnavailable, RunNotFound, RunsExceeded
from ..journal.port import NewRun
from ..stage import Stage
from .ports import Start, StartLater, StartRefused


class RuntimeStarter:
    """`Starter` over the conductor: all that schedules know of how runs are made and kept."""

    def __init__(self, stage: Stage, conductor: Conductor, dice: random.Random) -> None:
        self._stage = stage
        self._conductor = conductor
        self._dice = dice

    async def check(self, bundle: str) -> None:
        """See `Starter`."""
        await self._stage.open(await self._stage.bundles.get(bundle))

    async def start(self, start: Start) -> str:
        """See `Starter`."""
        try:
            sealed = await self._stage.bundles.get(start.bundle)
            program = await self._stage.open(sealed)
            new = NewRun(
                name=f"runs/{uuid.UUID(int=self._dice.getrandbits(128), version=4)}",
                request_id=start.request_id,
                bundle=sealed.name,
                payload=sealed.payload,
                account=program.account,
                input=start.input,
                dry_run=start.dry_run,
            )
            run = await asyncio.shield(self._conductor.open(new))
        except (PeerUnavailable, JournalUnavailable, RunsExceeded) as error:
            raise StartLater from error
        except ServiceError as error:
            raise StartRefused(error.reason, str(error)) from error
        return run.name

    async def is_open(self, run: str) -> bool:
        """See `Starter`."""
        try:
            found = await self._stage.journal.get(run)
        except RunNotFound:
            return False
        return found.end_time is None

    async def cancel(self, run: str) -> None:
        """See `Starter`."""
        await asyncio.shield(self._conductor.cancel(run))
