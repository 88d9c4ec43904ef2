"""Effects, each performed exactly once however often the runtime is killed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from pydantic import JsonValue

from chassis.clock import Clock
from chassis.errors import PeerUnavailable

from .connectors import Connector, Descriptor, Draft, Order, Quota, Result, Unsent
from .errors import LimitReached
from .facts import ActionFinished, Callers, EffectDrafted, EffectSent, EffectUnknown, EffectUnsent
from .jsontext import write_json
from .machines.effects import Act
from .policy import decided_arguments
from .ports import GasMeter, Hold, PersonAwaited
from .program import Program
from .rules import Use
from .turns import Turns

Sending: TypeAlias = EffectSent | EffectDrafted | EffectUnsent | EffectUnknown


class Way(Protocol):
    """The run that a call belongs to, as far as the outbox needs it."""

    @property
    def seconds_left(self) -> float:
        """Return how long the run may take still."""

    async def record(
        self, event: Sending, /, *, late: bool = False, uses: tuple[Use, ...] = ()
    ) -> None:
        """Make an event durable with what it takes of quotas.

        Raise `TooLate` unless it may follow the decision about the end, and `LimitReached`.
        """

    async def insist(self, effect: Act, work: Callable[[], Awaitable[int]]) -> int:
        """Return what the work gives, however often a peer has to be asked."""

    async def rest(self, effect: Act, peer: str, attempt: int, *, least: float = 0.0) -> bool:
        """Wait for so long, or until somebody has said something."""


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

    def order(self, time: datetime, keep: Callable[[str], Awaitable[None]] | None = None) -> Order:
        """Return what the connector is handed; `time` counts if the call was not sent before.

        `keep` makes durable what the connector lays down.
        """
        action = self.act.action
        return Order(
            key=self.key,
            account=self.program.account,
            arguments=decided_arguments(self.act.call),
            settings=action.settings,
            credential=action.credential,
            collections=self.program.collections,
            time=self.act.first_time or time,
            draft=Draft(self.act.draft, keep),
        )


class EffectLost(Exception):
    """Nobody knows whether an effect happened, and nobody ever will."""


@dataclass(eq=False)
class QuotaExceeded(Exception):
    """A service takes no more of this before `opens`, and the run has no time to wait."""

    opens: datetime


class Outbox:
    """Performs calls: hold gas, journal the intent, perform, charge.

    Every step but the effect itself may be repeated, and each time that it is sent there is an
    `EffectSent` in the journal before. So after a crash, or an answer that never came, it is known
    that the effect may have happened. Then the outbox looks, or sends it again with the same key,
    whichever the action allows; if it allows neither, the effect is not sent again.
    """

    def __init__(
        self,
        connectors: Mapping[str, Connector],
        meter: GasMeter,
        *,
        turns: Turns,
        clock: Clock,
    ) -> None:
        self._connectors = connectors
        self._meter = meter
        self._turns = turns
        self._clock = clock

    async def perform(self, errand: Errand, way: Way) -> ActionFinished:
        """Bring a call of a run on its way to its end.

        Raise `QuotaExceeded`, `Unsent` and `PersonAwaited` if it has not happened yet,
        `PeerUnavailable` if nobody can tell yet, and `EffectLost`.
        """
        hold = await self._reserve(errand)
        act, connector = errand.act, self._connector(errand)
        if act.action.effect == "read":
            read = await connector.perform(errand.order(self._clock.now()))
            return await self._finish(errand, way, hold, read)
        is_open = act.is_sent and not act.is_unsent
        if is_open:
            if not act.is_unknown:
                await way.record(EffectUnknown(act.call.id), late=True)
            result = await self._reconcile(errand)
            if result is not None:
                return await self._finish(errand, way, hold, result)
            if connector.descriptor.is_reconcilable:
                await way.record(EffectUnsent(act.call.id), late=True)
                is_open = False
        result = await self._send(errand, way, is_open=is_open)
        return await self._finish(errand, way, hold, result)

    async def _reconcile(self, errand: Errand) -> Result | None:
        """Return what came of a call, or None if it may be sent again."""
        connector = self._connector(errand)
        if connector.descriptor.is_reconcilable:
            return await connector.find(errand.order(self._clock.now()))
        if connector.descriptor.is_idempotent:
            return None
        raise EffectLost

    async def _send(self, errand: Errand, way: Way, *, is_open: bool) -> Result:
        """Send an effect; `is_open` tells that it may have happened the last time."""
        call = errand.act.call
        time = await self._take_turn(errand, way, is_open=is_open)

        async def keep(draft: str) -> None:
            await way.record(EffectDrafted(call.id, draft), late=is_open)

        try:
            return await self._connector(errand).perform(errand.order(time, keep))
        except (PersonAwaited, Unsent) as error:
            # Without a credential, a service knows nothing that all who call the action share.
            is_shared = bool(errand.act.action.credential)
            if isinstance(error, Unsent) and error.retry_seconds and is_shared:
                until = self._clock.now() + timedelta(seconds=error.retry_seconds)
                self._turns.close(self._place(errand), until)
            if not is_open:
                await way.record(EffectUnsent(call.id), late=True)
            raise
        except PeerUnavailable:
            if not is_open:
                await way.record(EffectUnknown(call.id), late=True)
            raise

    async def _take_turn(self, errand: Errand, way: Way, *, is_open: bool) -> datetime:
        """Journal that a call is sent, once its service takes it, and return when that is.

        Raise `QuotaExceeded`.
        """
        descriptor, place = self._connector(errand).descriptor, self._place(errand)
        # Where nothing else tells what came of it, it is sent again also after the end of the run.
        now = self._clock.now()
        opens = self._turns.closed_until(place, now)
        if not descriptor.quotas and opens is None:
            await way.record(_sent(errand, now), late=is_open)
            return now
        self._require_time(opens, way, descriptor, is_open=is_open)
        async with self._turns.line(place):
            while True:
                now = self._clock.now()
                opens = self._turns.closed_until(place, now)
                if opens is None:
                    uses = tuple(_use(quota, errand, now) for quota in descriptor.quotas)
                    try:
                        await way.record(_sent(errand, now), late=is_open, uses=uses)
                    except LimitReached as reached:
                        opens = _opening(descriptor, reached)
                        # Who has no time to wait need not stand in line.
                        self._turns.close(place, opens)
                    else:
                        return now
                self._require_time(opens, way, descriptor, is_open=is_open)
                seconds = (opens - now).total_seconds()
                await way.rest(errand.act, descriptor.name, 0, least=seconds)

    def _require_time(
        self, opens: datetime | None, way: Way, descriptor: Descriptor, *, is_open: bool
    ) -> None:
        if opens is None:
            return
        if (opens - self._clock.now()).total_seconds() >= way.seconds_left:
            # What may have happened is looked at until the end of the run.
            raise PeerUnavailable(descriptor.name) if is_open else QuotaExceeded(opens)

    def _place(self, errand: Errand) -> str:
        action = errand.act.action
        return f"{action.catalogue_name} {action.credential}"

    async def describe(self, errand: Errand) -> ActionFinished:
        """Return what a call would do and cost, without doing it."""
        call = errand.act.call
        gas = await self._meter.quote(item=errand.item)
        arguments = dict(decided_arguments(call))
        told: JsonValue = {
            "dry_run": True,
            "action": call.action,
            "arguments": arguments,
            "gas": gas,
        }
        return ActionFinished(call.id, call.action, write_json(told), gas=0)

    async def look(self, errand: Errand, way: Way) -> ActionFinished | None:
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
        return await self._finish(errand, way, await self._reserve(errand), result)

    async def _reserve(self, errand: Errand) -> Hold:
        return await self._meter.reserve(
            request_id=errand.key,
            account=errand.program.account,
            run=errand.run,
            callers=errand.callers,
            item=errand.item,
        )

    async def _finish(self, errand: Errand, way: Way, hold: Hold, result: Result) -> ActionFinished:
        # Charged before it is journaled: in between, a crash repeats the charge, which changes
        # nothing; the other way round it would lose it.
        # The answer must not get lost here: another one may not be had.
        gas = await way.insist(errand.act, lambda: self._meter.settle(hold))
        call = errand.act.call
        told = write_json(result.value)
        return ActionFinished(call.id, call.action, told, gas=gas, reason=result.reason)

    def _connector(self, errand: Errand) -> Connector:
        return self._connectors[errand.act.action.catalogue_name]


def _sent(errand: Errand, now: datetime) -> EffectSent:
    call = errand.act.call
    time = errand.act.first_time or now
    return EffectSent(call.id, errand.key, action=call.action, time=time)


def _use(quota: Quota, errand: Errand, now: datetime) -> Use:
    """Return what sending takes of a quota, which all who have the credential share."""
    since = now - timedelta(seconds=quota.seconds)
    owner = f"quotas/{errand.act.action.credential}"
    return Use(quota.name, 1, since, quota.count, owner)


def _opening(descriptor: Descriptor, reached: LimitReached) -> datetime:
    """Return when the window of a quota has room again: when its oldest send leaves it."""
    assert reached.oldest is not None, "a quota has room for one"
    (quota,) = (one for one in descriptor.quotas if one.name == reached.key)
    return reached.oldest + timedelta(seconds=quota.seconds)
