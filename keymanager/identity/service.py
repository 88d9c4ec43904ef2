"""The methods of the contract that are about who belongs to the system; they take no decision."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from chassis.certificates import NONCE_BYTES, Revoked, identity_of
from chassis.errors import InvalidField
from chassis.fields import require_size
from chassis.identity import ANYONE, OPERATOR, current_caller

from ..journal import Asker
from .enrolment import Enrolment
from .revocations import Revocations

if TYPE_CHECKING:
    from chassis.interceptors import Context

REQUEST_BYTES_MAX = 4 * 1024
QUOTE_BYTES_MAX = 4 * 1024
ENROLMENTS_AT_ONCE = 2

SERVICES = frozenset({"assembler", "linker", "knowledge", "gas", "runtime"})

IDENTITY_CALLERS = {
    "BeginEnrolment": frozenset({ANYONE}),
    "Enrol": frozenset({ANYONE}),
    "RevokeIdentity": frozenset({OPERATOR}),
    "ReinstateIdentity": frozenset({OPERATOR}),
    "WatchRevocations": SERVICES,
}

_IDENTITIES = sorted(map(identity_of, SERVICES))
_SERIAL = re.compile(r"[0-9a-fA-F]{1,40}")


class News:
    """Wakes whoever follows what is revoked."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """Wake all; who follows from now on waits for the next time."""
        self._event.set()
        self._event = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Return what will be set at the next news."""
        return self._event


class IdentityMethods:
    """Part of the servicer of the key manager."""

    def __init__(self, enrolment: Enrolment, revocations: Revocations) -> None:
        self._enrolment = enrolment
        self._revocations = revocations
        self._news = News()
        # Anybody may ask, and everything else runs in the same few threads.
        self._enrolling = asyncio.Semaphore(ENROLMENTS_AT_ONCE)

    async def BeginEnrolment(
        self, request: pb.BeginEnrolmentRequest, context: Context
    ) -> pb.BeginEnrolmentResponse:
        return pb.BeginEnrolmentResponse(nonce=self._enrolment.challenge())

    async def Enrol(self, request: pb.EnrolRequest, context: Context) -> pb.EnrolResponse:
        require_size("nonce", request.nonce, size_min=NONCE_BYTES, size_max=NONCE_BYTES)
        require_size("certificate_request", request.certificate_request, size_max=REQUEST_BYTES_MAX)
        require_size("quote.content", request.quote.content, size_max=QUOTE_BYTES_MAX)
        async with self._enrolling:
            issued = await asyncio.to_thread(
                self._enrolment.enrol,
                request.certificate_request,
                nonce=request.nonce,
                evidence=request.quote.content,
            )
        await self._revocations.enrolled(issued.certificate)
        response = pb.EnrolResponse(certificates=issued.chain)
        response.validity.FromTimedelta(self._enrolment.validity)
        return response

    async def RevokeIdentity(
        self, request: pb.RevokeIdentityRequest, context: Context
    ) -> pb.RevokeIdentityResponse:
        if bool(request.identity) == bool(request.serial_number):
            raise InvalidField("identity", "or serial_number is required, one of the two")
        by = Asker(current_caller())
        if request.identity:
            await self._change(self._revocations.bar(_identity(request.identity), by=by))
        else:
            await self._change(self._revocations.revoke(_serial(request.serial_number), by=by))
        return pb.RevokeIdentityResponse()

    async def ReinstateIdentity(
        self, request: pb.ReinstateIdentityRequest, context: Context
    ) -> pb.ReinstateIdentityResponse:
        by = Asker(current_caller())
        await self._change(self._revocations.admit(_identity(request.identity), by=by))
        return pb.ReinstateIdentityResponse()

    async def WatchRevocations(
        self, request: pb.WatchRevocationsRequest, context: Context
    ) -> AsyncIterator[pb.WatchRevocationsResponse]:
        while True:
            # Before the state is read, so that nothing falls in between.
            event = self._news.next()
            yield _revoked_to_proto(self._revocations.present())
            await event.wait()

    async def _change(self, change: Coroutine[None, None, None]) -> None:
        """Let all know of a change, also if who wanted it hangs up before it is made."""

        async def tell_after() -> None:
            try:
                await change
            finally:
                self._news.tell()

        await asyncio.shield(asyncio.create_task(tell_after()))


def _revoked_to_proto(revoked: Revoked) -> pb.WatchRevocationsResponse:
    return pb.WatchRevocationsResponse(
        identities=sorted(revoked.identities),
        serial_numbers=(f"{serial:x}" for serial in sorted(revoked.serials)),
    )


def _identity(value: str) -> str:
    if value not in _IDENTITIES:
        raise InvalidField("identity", f"is none of {', '.join(_IDENTITIES)}")
    return value


def _serial(value: str) -> int:
    if not _SERIAL.fullmatch(value):
        raise InvalidField("serial_number", "must be 1 to 40 hexadecimal digits")
    return int(value, 16)
