"""Effects, each performed exactly once however often the runtime is killed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from chassis.errors import PeerUnavailable

from .connectors import Connector, Order, Result, Unsent
from .facts import ActionFinished, Callers, EffectSent, EffectUnknown, EffectUnsent
from .jsontext import write_json
from .machines.effects import Act
from .policy import read_arguments
from .ports import GasMeter, Hold, PersonAwaited
from .program import Program


class Journal(Protocol):
    """Makes an event of the run durable."""

    async def __call__(
        self, event: EffectSent | EffectUnsent | EffectUnknown, /, *, late: bool = False
    ) -> None:
        """Return once it is; raise `TooLate` unless it may follow the decision about the end."""


@dataclass(frozen=True)
class Errand:
    """A call that policy has allowed, in the run that it belongs to."""

    run: str
    callers: Callers
    program: Program
    act: Act

    @property
    def key(self) -> str:
        """Return the request id of the hold, and the idempotency key outside."""
        return f"{self.run}/call/{self.act.call.id}"

    @property
    def item(self) -> str:
        """Return what it is on the bill."""
        return f"action {self.act.action.name}"

    @property
    def order(self) -> Order:
        """Return what the connector is handed."""
        action = self.act.action
        return Order(
            key=self.key,
            account=self.program.account,
            arguments=read_arguments(self.act.call, action),
            settings=action.settings,
            credential=action.credential,
            collections=self.program.collections,
        )


class EffectLost(Exception):
    """Nobody knows whether an effect happened, and nobody ever will."""


class Outbox:
    """Performs calls: hold gas, journal the intent, perform, charge.

    Every step but the effect itself may be repeated, and each time that it is sent there is an
    `EffectSent` in the journal before. So after a crash, or an answer that never came, it is known
    that the effect may have happened. Then the outbox looks, or sends it again with the same key,
    whichever the action allows; if it allows neither, the effect is not sent again.
    """

    def __init__(self, connectors: Mapping[str, Connector], meter: GasMeter) -> None:
        self._connectors = connectors
        self._meter = meter

    async def perform(self, errand: Errand, journal: Journal) -> ActionFinished:
        """Bring a call to its end; `journal` makes events durable.

        Raise `Unsent` and `PersonAwaited` if it has not happened yet, `PeerUnavailable` if nobody
        can tell yet, and `EffectLost`.
        """
        hold = await self._reserve(errand)
        act, connector = errand.act, self._connector(errand)
        if act.action.effect == "read":
            return await self._finish(errand, hold, await connector.perform(errand.order))
        is_open = act.is_sent and not act.is_unsent
        if is_open:
            if not act.is_unknown:
                await journal(EffectUnknown(act.call.id), late=True)
            result = await self._reconcile(errand)
            if result is not None:
                return await self._finish(errand, hold, result)
            if connector.descriptor.is_reconcilable:
                await journal(EffectUnsent(act.call.id), late=True)
                is_open = False
        result = await self._send(errand, journal, is_open=is_open)
        return await self._finish(errand, hold, result)

    async def _reconcile(self, errand: Errand) -> Result | None:
        """Return what came of a call, or None if it may be sent again."""
        connector = self._connector(errand)
        if connector.descriptor.is_reconcilable:
            return await connector.find(errand.order)
        if connector.descriptor.is_idempotent:
            return None
        raise EffectLost

    async def _send(self, errand: Errand, journal: Journal, *, is_open: bool) -> Result:
        """Send an effect; `is_open` tells that it may have happened the last time."""
        call = errand.act.call
        # Where nothing else tells what came of it, it is sent again also after the end of the run.
        await journal(EffectSent(call.id, errand.key, action=call.action), late=is_open)
        try:
            return await self._connector(errand).perform(errand.order)
        except (PersonAwaited, Unsent):
            if not is_open:
                await journal(EffectUnsent(call.id), late=True)
            raise
        except PeerUnavailable:
            if not is_open:
                await journal(EffectUnknown(call.id), late=True)
            raise

    async def describe(self, errand: Errand) -> ActionFinished:
        """Return what a call would do and cost, without doing it."""
        call = errand.act.call
        gas = await self._meter.quote(item=errand.item)
        arguments = dict(errand.order.arguments)
        told: JsonValue = {
            "dry_run": True,
            "action": call.action,
            "arguments": arguments,
            "gas": gas,
        }
        return ActionFinished(call.id, call.action, write_json(told), gas=0)

    async def look(self, errand: Errand) -> ActionFinished | None:
        """Find out what came of a call that was sent; None means that it did not happen.

        Raise `EffectLost` where nobody can tell now.
        """
        if errand.act.is_unsent:
            return None
        if not self._connector(errand).descriptor.is_reconcilable:
            raise EffectLost
        try:
            result = await self._reconcile(errand)
        except PeerUnavailable as error:
            raise EffectLost from error
        if result is None:
            return None
        return await self._finish(errand, await self._reserve(errand), result)

    async def _reserve(self, errand: Errand) -> Hold:
        return await self._meter.reserve(
            request_id=errand.key,
            account=errand.program.account,
            run=errand.run,
            callers=errand.callers,
            item=errand.item,
        )

    async def _finish(self, errand: Errand, hold: Hold, result: Result) -> ActionFinished:
        # Charged before it is journaled: in between, a crash repeats the charge, which changes
        # nothing; the other way round it would lose it.
        gas = await self._meter.settle(hold)
        call = errand.act.call
        told = write_json(result.value)
        return ActionFinished(call.id, call.action, told, gas=gas, reason=result.reason)

    def _connector(self, errand: Errand) -> Connector:
        return self._connectors[errand.act.action.catalogue_name]
