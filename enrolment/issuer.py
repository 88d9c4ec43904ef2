"""The key manager as the one who gives certificates and says which of them are revoked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpc import aio

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from actionvm.keymanager.v1 import keymanager_pb2_grpc
from chassis.certificates import Revoked
from chassis.channel import RemoteError, translated
from chassis.errors import (
    CertificateRevoked,
    EnrolmentRefused,
    PeerUnavailable,
    ServiceError,
)
from chassis.membership import Follow
from chassis.tls import connect_with_token

if TYPE_CHECKING:
    from actionvm.keymanager.v1.keymanager_pb2_grpc import KeymanagerServiceAsyncStub

ISSUER = "keymanager"
CALL_SECONDS = 5.0


def _refused(remote: RemoteError) -> ServiceError:
    return EnrolmentRefused(remote.message)


REFUSALS = dict.fromkeys(("NONCE_INVALID", "EVIDENCE_REFUSED", "IDENTITY_REVOKED"), _refused)


class IssuerClient:
    """The port `Issuer` over gRPC: what the caller believes is the certificate in a file.

    The file is read anew each time: a system may get another authority, and that heals by itself.
    """

    def __init__(self, address: str, authority_file: Path) -> None:
        self._address = address
        self._authority_file = authority_file
        self._authority = b""
        self._channel: aio.Channel | None = None

    async def challenge(self) -> bytes:
        """Return a nonce; wait a moment for a key manager that starts."""
        stub = await self._stub()
        with _answered(REFUSALS):
            request = pb.BeginEnrolmentRequest()
            begun = await stub.BeginEnrolment(request, timeout=CALL_SECONDS, wait_for_ready=True)
            return begun.nonce

    async def enrol(self, request: bytes, nonce: bytes, evidence: bytes) -> Sequence[bytes]:
        """Return a chain of certificates in DER."""
        stub = await self._stub()
        asked = pb.EnrolRequest(
            certificate_request=request, nonce=nonce, quote=pb.Quote(content=evidence)
        )
        with _answered(REFUSALS):
            return (await stub.Enrol(asked, timeout=CALL_SECONDS)).certificates

    def authority(self) -> bytes:
        """Return what the last enrolment believed."""
        return self._authority

    async def close(self) -> None:
        """Hang up."""
        if self._channel is not None:
            await self._channel.close(None)

    async def _stub(self) -> KeymanagerServiceAsyncStub:
        try:
            authority = self._authority_file.read_bytes()
        except OSError as error:
            # At the first start of a system the key manager is about to make it.
            raise PeerUnavailable(ISSUER) from error
        if self._channel is None or authority != self._authority:
            await self.close()
            self._authority = authority
            self._channel = connect_with_token(self._address, ISSUER, token="", authority=authority)
        stub: Any = keymanager_pb2_grpc.KeymanagerServiceStub(self._channel)
        return stub  # type: ignore[no-any-return]  # its types are those of the sync API


def revocations_over(channel: Any) -> Follow:  # noqa: ANN401  # a channel of a member
    """Return what follows the revocations of the key manager at the other end."""
    stub: Any = keymanager_pb2_grpc.KeymanagerServiceStub(channel)

    async def follow() -> AsyncIterator[Revoked]:
        with _answered({CertificateRevoked.reason: lambda _: CertificateRevoked()}):
            async for state in stub.WatchRevocations(pb.WatchRevocationsRequest()):
                serials = frozenset(int(serial, 16) for serial in state.serial_numbers)
                yield Revoked(frozenset(state.identities), serials)

    return follow


@contextmanager
def _answered(known: Mapping[str, Callable[[RemoteError], ServiceError]]) -> Iterator[None]:
    """Let nothing through but operating errors: who renews certificates must not die of a reply."""
    try:
        with translated(ISSUER, known):
            yield
    except aio.AioRpcError as error:
        raise EnrolmentRefused(f"{error.code().name}: {error.details()}") from error
