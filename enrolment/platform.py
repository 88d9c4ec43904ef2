"""Evidence of what a process is: a quote of the platform that started it."""

from __future__ import annotations

import time
from pathlib import Path

from chassis.errors import EnrolmentRefused
from platformd import protocol
from platformd.client import Connection, Refused

ANSWER_SECONDS = 30.0
# At a start platformd may be a moment behind who asks it.
RETRIES = 100
PAUSE_SECONDS = 0.05


class PlatformAttester:
    """The port `Attester` over the socket of platformd, which measures who connects."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def quote(self, report_data: bytes) -> bytes:
        """Return a quote of this process; raise `EnrolmentRefused` if there is none to be had."""
        for _ in range(RETRIES):
            try:
                return self._ask(report_data)
            except OSError:
                time.sleep(PAUSE_SECONDS)
            except (Refused, protocol.PacketInvalid) as error:
                raise EnrolmentRefused(f"platformd refuses: {error}") from error
        raise EnrolmentRefused("platformd does not answer; actionvm status shows it")

    def _ask(self, report_data: bytes) -> bytes:
        connection = Connection(self._socket, timeout_seconds=ANSWER_SECONDS)
        try:
            problem = connection.ask("measure")["problem"]
            if problem:
                # A quote would say nothing of a role, and nobody could tell why.
                raise EnrolmentRefused(f"the platform measured no service: {problem}")
            return protocol.encode(connection.ask("quote", report_data=report_data.hex()))
        finally:
            connection.close()
