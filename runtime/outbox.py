"""Effects, each performed exactly once however often the runtime is killed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from chassis.errors import PeerUnavailable

from .connectors import Connector, Order, Result
from .facts import ActionFinished, Callers, EffectSent
from .jsontext import write_json
from .machines.effects import Act
from .policy import read_arguments
from .ports import GasMeter, Hold
from .program import Program

Journal = Callable[[EffectSent], Awaitable[None]]


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


class Outbox:
    """Performs calls: hold gas, journal the intent, perform, charge.

    Every step but the effect itself may be repeated, and the effect is preceded by an `EffectSent`
    in the journal. So after a crash, or an answer that never came, the outbox first looks whether
    the effect happened, and only performs it where the service says that it did not.
    """

    def __init__(self, connectors: Mapping[str, Connector], meter: GasMeter) -> None:
        self._connectors = connectors
        self._meter = meter

    async def perform(self, errand: Errand, journal: Journal) -> ActionFinished:
        """Bring a call to its end; `journal` makes an `EffectSent` durable."""
        hold = await self._reserve(errand)
        connector = self._connector(errand)
        result = await connector.find(errand.order) if errand.act.is_sent else None
        if result is None:
            if errand.act.action.effect == "write" and not errand.act.is_sent:
                await journal(EffectSent(errand.act.call.id, errand.key))
            result = await connector.perform(errand.order)
        return await self._finish(errand, hold, result)

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
        """Find out what came of a call that was sent, without performing it again.

        None means that it did not happen, or that the service cannot be asked.
        """
        try:
            result = await self._connector(errand).find(errand.order)
        except PeerUnavailable:
            return None
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
