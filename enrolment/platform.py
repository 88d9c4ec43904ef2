"""Evidence of what a process is: a quote of the platform that started it."""

from __future__ import annotations

from pathlib import Path

from chassis.errors import EnrolmentRefused, PeerUnavailable
from platformd import protocol
from platformd.client import Connection, Refused

ANSWER_SECONDS = 30.0


class PlatformAttester:
    """The port `Attester` over the socket of platformd, which measures who connects."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def quote(self, report_data: bytes) -> bytes:
        """Return a quote of this process.

        Raise `PeerUnavailable` while platformd is away, `EnrolmentRefused` if it knows no service.
        """
        try:
            return self._ask(report_data)
        except OSError as error:
            raise PeerUnavailable("platformd") from error
        except (Refused, protocol.PacketInvalid) as error:
            raise EnrolmentRefused(f"platformd refuses: {error}") from error

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
