"""A key manager in memory that releases keys of providers, and refuses when told to."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from datetime import timedelta

from chassis.clock import Clock
from chassis.errors import ServiceError
from linker.errors import CredentialRefused
from linker.ports import Lease

LIFE = timedelta(minutes=10)


class FakeKeys:
    """`linker.ports.Keys`: `values` are secrets with all versions of their values."""

    def __init__(self, clock: Clock, **values: str) -> None:
        self.values = {f"secrets/{name}": [value] for name, value in values.items()}
        # What was asked: a method, and a secret with an account, or a lease.
        self.asked: list[tuple[str, ...]] = []
        self.revoked: list[str] = []
        self._clock = clock
        self._failures: deque[ServiceError] = deque()

    def fail_next(self, *errors: ServiceError) -> None:
        """Answer the next calls with these errors, one each."""
        self._failures.extend(errors)

    def rotate(self, name: str, value: str) -> None:
        """Replace the value of a secret."""
        self.values[f"secrets/{name}"].append(value)

    async def release(self, secret: str, account: str) -> Lease:
        """Return the present value."""
        self._take("release", secret, account)
        if secret not in self.values:
            raise CredentialRefused(secret, "there is no such secret")
        return Lease(
            name=f"leases/{len(self.asked)}",
            secret=secret,
            version=len(self.values[secret]),
            expire_time=self._clock.now() + LIFE,
            value=self.values[secret][-1],
        )

    async def renew(self, lease: Lease) -> Lease | None:
        """Prolong a lease of the present value."""
        self._take("renew", lease.name)
        if lease.version != len(self.values[lease.secret]) or lease.name in self.revoked:
            return None
        return replace(lease, expire_time=self._clock.now() + LIFE)

    async def revoke(self, lease: str) -> None:
        """End a lease."""
        self._take("revoke", lease)
        self.revoked.append(lease)

    def _take(self, *asked: str) -> None:
        self.asked.append(asked)
        if self._failures:
            raise self._failures.popleft()
