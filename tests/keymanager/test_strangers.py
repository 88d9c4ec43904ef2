"""Strangers who want to enrol keep nobody else waiting."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from chassis.certificates import NONCE_BYTES
from keymanager.errors import EvidenceRefused
from keymanager.identity.service import ENROLMENTS_AT_ONCE, IdentityMethods

from .authorities import identity_parts

STRANGERS = 100
REQUEST = pb.EnrolRequest(
    certificate_request=b"r", nonce=bytes(NONCE_BYTES), quote=pb.Quote(content=b"q")
)


class SlowEnrolment:
    """Refuses everybody, but not before a test says so."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.running = 0
        self.most = 0
        self._alone = threading.Lock()

    def enrol(self, _request: bytes, **_others: bytes) -> None:
        with self._alone:
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.end.wait(20), "the test ends"
        with self._alone:
            self.running -= 1
        raise EvidenceRefused("nobody enrols here")


async def test_a_crowd_of_strangers_leaves_threads_to_everybody_else() -> None:
    _, revocations = identity_parts()
    slow: Any = SlowEnrolment()
    methods = IdentityMethods(slow, revocations)
    context: Any = None
    asked = [asyncio.create_task(methods.Enrol(REQUEST, context)) for _ in range(STRANGERS)]
    try:
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(lambda: "served") == "served"
    finally:
        slow.end.set()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)

    assert len(outcomes) == STRANGERS
    assert slow.most <= ENROLMENTS_AT_ONCE
