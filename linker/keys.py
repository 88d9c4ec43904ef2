"""Keys of providers: held in memory under a lease, as long as they are used."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chassis.clock import Clock
from chassis.errors import PeerUnavailable, ServiceError
from chassis.log import log

from .errors import CredentialRefused
from .ports import Keys, Lease

# A lease is renewed when this part of it is left, so that a key manager that is away for a while
# stops nobody.
RENEW_PART = 0.5
# No answer of the key manager makes a key stay longer.
LIFE_MAX = timedelta(hours=1)
LEASES_MAX = 10_000
# So long after a renewal that failed it is tried again.
AGAIN = timedelta(seconds=10)


@dataclass
class _Held:
    """A key that is here, who may use it, and the lock of whoever fetches it."""

    lease: Lease | None = None
    renew_time: datetime | None = None
    end: asyncio.TimerHandle | None = field(default=None, repr=False)
    fetching: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)


class Keyring:
    """Keys that were released to this process; each agent has a lease of its own.

    A key is renewed when it is used, and forgotten when its lease ends. It is in no log, no error
    and no `repr`.
    """

    def __init__(self, keys: Keys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._held: dict[tuple[str, str], _Held] = {}

    def key(self, secret: str, account: str, model: str) -> HeldKey:
        """Return the key of a secret on behalf of an agent; it is fetched when it is first used."""
        return HeldKey(self, secret, account, model)

    async def lease(self, secret: str, account: str, model: str) -> Lease:
        """Return a key as it is now. Raises `CredentialRefused` and `PeerUnavailable`."""
        held = self._held.get((secret, account))
        if held is None:
            held = self._held[secret, account] = _Held()
        now = self._clock.now()
        is_good = held.lease is not None and now < held.lease.expire_time
        is_due = held.renew_time is None or held.renew_time <= now
        if not is_good or (is_due and not held.fetching.locked()):
            async with held.fetching:
                await self._fetch(held, secret, account, model)
        assert held.lease is not None, "it was fetched"
        return held.lease

    async def lease_after(self, refused: Lease, account: str, model: str) -> Lease:
        """Return the lease that follows one whose key was refused; errors as for `lease`."""
        held = self._held.get((refused.secret, account))
        if held is not None and held.lease is refused:
            self._forget(refused.secret, account)
        return await self.lease(refused.secret, account, model)

    async def drop(self, secret: str) -> None:
        """Forget a key for all agents, and say so to the key manager."""
        for name, account in [one for one in self._held if one[0] == secret]:
            lease = self._forget(name, account)
            if lease is not None:
                # It ends by itself anyway.
                with suppress(ServiceError):
                    await self._keys.revoke(lease.name)

    async def close(self) -> None:
        """Forget all keys."""
        for secret in sorted({secret for secret, _ in self._held}):
            await self.drop(secret)

    async def _fetch(self, held: _Held, secret: str, account: str, model: str) -> None:
        now = self._clock.now()
        if held.lease is not None and held.renew_time is not None and now < held.renew_time:
            return  # another one has fetched it meanwhile
        try:
            lease = await self._renew(held, now) or await self._keys.release(secret, account)
        except PeerUnavailable:
            if held.lease is None or held.lease.expire_time <= now:
                raise
            log.warning("keys.renewal_failed", secret=secret)
            held.renew_time = now + AGAIN
            return
        except CredentialRefused as error:
            self._forget(secret, account)
            raise CredentialRefused(model, error.problem) from error
        self._keep(held, lease, secret, account)

    async def _renew(self, held: _Held, now: datetime) -> Lease | None:
        if held.lease is None or held.lease.expire_time <= now:
            return None
        return await self._keys.renew(held.lease)

    def _keep(self, held: _Held, lease: Lease, secret: str, account: str) -> None:
        now = self._clock.now()
        life = min(lease.expire_time - now, LIFE_MAX)
        held.lease = lease
        held.renew_time = now + life * RENEW_PART
        if held.end is not None:
            held.end.cancel()
        if len(self._held) > LEASES_MAX:
            self._forget(*next(iter(self._held)))
        loop = asyncio.get_running_loop()
        held.end = loop.call_later(life.total_seconds(), self._forget, secret, account)
        self._held[secret, account] = held

    def _forget(self, secret: str, account: str) -> Lease | None:
        held = self._held.pop((secret, account), None)
        if held is None:
            return None
        if held.end is not None:
            held.end.cancel()
        lease, held.lease, held.renew_time = held.lease, None, None
        return lease


class HeldKey:
    """A key of a `Keyring`, without the key: `Key` for providers."""

    def __init__(self, keyring: Keyring, secret: str, account: str, model: str) -> None:
        self._keyring = keyring
        self._secret = secret
        self._account = account
        self._model = model
        self._given: Lease | None = None

    async def value(self) -> str:
        """Return the key as it is now; see `Key`."""
        self._given = await self._keyring.lease(self._secret, self._account, self._model)
        return self._given.value

    async def is_replaced(self) -> bool:
        """Fetch the key again, which its provider has refused; tell whether it is another one."""
        refused, self._given = self._given, None
        if refused is None:
            return False
        lease = await self._keyring.lease_after(refused, self._account, self._model)
        return lease.value != refused.value
