"""The peers of the linker over gRPC: gas, and the key manager."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from grpc import aio

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import budgets_pb2, gas_pb2, gas_pb2_grpc, metering_pb2, metering_pb2_grpc
from actionvm.keymanager.v1 import use_pb2, use_pb2_grpc
from chassis.channel import RemoteError, translated
from chassis.coalescer import Coalescer
from chassis.errors import PeerUnavailable, RequestIdReused, ServiceError

from .conversation import Tokens
from .errors import BudgetExceeded, CredentialRefused, GasRefused, PriceNotFound
from .ports import Hold, Lease, Reservation
from .tokens import Count, Counter

# Of one call of `MeterGas`; the contract takes twice as many.
OPERATIONS_MAX = 128
# As the key manager seals what it releases; docs/keys.md has both.
SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
SEALED_FOR = b"actionvm/hpke/release/v1\ngeneration"


class GasClient:
    """`GasMeter` over a channel to the gas system. What many ask for at once goes as one call."""

    def __init__(self, channel: aio.Channel) -> None:
        self._gas = gas_pb2_grpc.GasServiceStub(channel)
        meter = metering_pb2_grpc.MeteringServiceStub(channel).MeterGas
        self._meter = Coalescer[metering_pb2.MeterOperation, metering_pb2.MeterOutcome](
            lambda operations: meter(metering_pb2.MeterGasRequest(operations=operations)),
            size_max=OPERATIONS_MAX,
        )

    async def quote(self, item: str, used: Tokens) -> int:
        """Return what it would cost; see `GasMeter`."""
        known = {"PRICE_NOT_FOUND": lambda _: PriceNotFound(item)}
        request = gas_pb2.QuoteGasRequest(item=item, usages=usages_of(used))
        with translated("gas", known):
            return (await self._gas.QuoteGas(request)).gas

    async def reserve(self, reservation: Reservation) -> Hold:
        """Return the hold; see `GasMeter`."""

        def refused(remote: RemoteError) -> ServiceError:
            return GasRefused(reservation.account, remote.message)

        known = {
            "BUDGET_EXCEEDED": lambda remote: BudgetExceeded(reservation.account, remote.message),
            "BUDGET_MISSING": refused,
            "RUN_CLOSED": refused,
            "PRICE_NOT_FOUND": refused,
            "REQUEST_ID_REUSED": lambda _: RequestIdReused(reservation.request_id),
        }
        request = gas_pb2.ReserveGasRequest(
            request_id=reservation.request_id,
            account=reservation.account,
            run=reservation.run,
            item=reservation.item,
            usages=usages_of(reservation.worst),
            callers=(
                action_pb2.Caller(account=caller.account, run=caller.run)
                for caller in reservation.callers
            ),
        )
        with translated("gas", known):
            outcome = await self._meter.call(metering_pb2.MeterOperation(reserve=request))
        assert outcome.hold.name, "gas answers with a hold"
        state = outcome.hold.state
        return Hold(outcome.hold.name, is_released=state == gas_pb2.Hold.STATE_RELEASED)

    async def settle(self, hold: str, used: Tokens, counted: Count | None = None) -> int:
        """Charge the hold and return the gas; see `GasMeter`."""
        known = {"HOLD_RELEASED": lambda remote: GasRefused(hold, remote.message)}
        request = gas_pb2.SettleGasRequest(
            hold=hold,
            usages=usages_of(used),
            token_counts=_comparison(used, counted) if counted else (),
        )
        with translated("gas", known):
            outcome = await self._meter.call(metering_pb2.MeterOperation(settle=request))
        return outcome.hold.charged_gas

    async def release(self, hold: str) -> None:
        """Give a hold back; see `GasMeter`."""
        known = {"HOLD_SETTLED": lambda remote: GasRefused(hold, remote.message)}
        request = gas_pb2.ReleaseGasRequest(hold=hold)
        with translated("gas", known):
            await self._meter.call(metering_pb2.MeterOperation(release=request))


class KeysClient:
    """`Keys` over a channel to the key manager.

    Keys come sealed to a key pair (RFC 9180) that this object makes and keeps to itself.
    """

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = use_pb2_grpc.UseServiceStub(channel)
        self._private = X25519PrivateKey.generate()
        self._public = self._private.public_key().public_bytes_raw()

    async def release(self, secret: str, account: str) -> Lease:
        """Return a key; see `Keys`."""
        request = use_pb2.ReleaseSecretRequest(
            name=secret, recipient_key=self._public, account=account
        )
        with translated("keymanager", _refused_as(secret)):
            response = await self._stub.ReleaseSecret(request)
        return Lease(
            name=response.lease,
            secret=secret,
            version=response.version,
            expire_time=response.expire_time.ToDatetime(UTC),
            value=self._open(secret, response.sealed_value),
        )

    async def renew(self, lease: Lease) -> Lease | None:
        """Return a lease with a later end; see `Keys`."""
        request = use_pb2.RenewLeaseRequest(lease=lease.name)
        try:
            with translated("keymanager", {**_refused_as(lease.secret), **_LOST}):
                response = await self._stub.RenewLease(request)
        except _LeaseLost:
            return None
        return replace(lease, expire_time=response.expire_time.ToDatetime(UTC))

    async def revoke(self, lease: str) -> None:
        """End a lease; see `Keys`."""
        with suppress(_LeaseLost), translated("keymanager", _LOST):
            await self._stub.RevokeLease(use_pb2.RevokeLeaseRequest(lease=lease))

    def _open(self, secret: str, sealed_value: bytes) -> str:
        try:
            return SUITE.decrypt(sealed_value, self._private, SEALED_FOR).decode()
        except (InvalidTag, ValueError):
            # What was inside is nobody's business.
            raise CredentialRefused(secret, "it did not arrive whole") from None


class _LeaseLost(PeerUnavailable):
    """A lease is over, or its version is; for anybody else it is a key manager to ask again."""


def _refused_as(secret: str) -> dict[str, Callable[[RemoteError], ServiceError]]:
    def refused(remote: RemoteError) -> ServiceError:
        return CredentialRefused(secret, remote.message)

    def asked(remote: RemoteError) -> ServiceError:
        approval = remote.metadata.get("approval", "approvals/{uuid}")
        way_out = f"'actionvm approvals approve {approval}' releases it; then ask again"
        return CredentialRefused(secret, f"a person has to decide about it: {way_out}")

    return {**dict.fromkeys(_REFUSALS, refused), "APPROVAL_REQUIRED": asked}


_REFUSALS = (
    "SECRET_NOT_FOUND",
    "SECRET_DISABLED",
    "SEAL_BROKEN",
    "ROLLED_BACK",
    "KIND_UNSUITABLE",
    "USE_DENIED",
    "APPROVAL_DENIED",
    "APPROVALS_EXCEEDED",
)
_LOST: dict[str, Callable[[RemoteError], ServiceError]] = dict.fromkeys(
    ("LEASE_NOT_FOUND", "LEASE_EXPIRED", "VERSION_NOT_FOUND"), lambda _: _LeaseLost("keymanager")
)


def _comparison(used: Tokens, counted: Count) -> list[budgets_pb2.TokenCount]:
    counts = ((_BY_PROVIDER, used.read), (_COUNTERS[counted.counter], counted.amount))
    return [
        budgets_pb2.TokenCount(meter=_INPUT, counter=counter, amount=amount)
        for counter, amount in counts
    ]


def usages_of(tokens: Tokens) -> list[action_pb2.Usage]:
    """Return tokens as the meters of the contract; those that every model has come first."""
    usages = [
        action_pb2.Usage(meter=_INPUT, amount=tokens.input),
        action_pb2.Usage(meter=_OUTPUT, amount=tokens.output),
    ]
    for meter, name in _SOMETIMES:
        if amount := getattr(tokens, name):
            usages.append(action_pb2.Usage(meter=meter, amount=amount))
    return usages


# Looked up once: to ask an enumeration of protobuf takes as long as to make a message.
_INPUT = action_pb2.Usage.METER_INPUT_TOKENS
_OUTPUT = action_pb2.Usage.METER_OUTPUT_TOKENS
_SOMETIMES = (
    (action_pb2.Usage.METER_CACHED_INPUT_TOKENS, "cached_input"),
    (action_pb2.Usage.METER_CACHE_WRITE_TOKENS, "cache_write"),
    (action_pb2.Usage.METER_REASONING_TOKENS, "reasoning"),
    (action_pb2.Usage.METER_EMBEDDING_TOKENS, "embedding"),
    (action_pb2.Usage.METER_IMAGES, "images"),
    (action_pb2.Usage.METER_INFERENCE_MILLISECONDS, "milliseconds"),
)
_BY_PROVIDER = budgets_pb2.TokenCount.COUNTER_PROVIDER
_COUNTERS = {counter: budgets_pb2.TokenCount.Counter.Value(counter.value) for counter in Counter}
