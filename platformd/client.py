"""One connection to platformd, for its callers and the supervisor; standard library only."""

from __future__ import annotations

import socket
from pathlib import Path

from . import protocol


class Refused(Exception):
    """platformd answered no; `reason` is data, the message says the way out."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


class Connection:
    """A connection after its greeting. Raises OSError when platformd is not there any more."""

    def __init__(self, socket_path: Path, *, timeout_seconds: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.settimeout(timeout_seconds)
            with protocol.reachable(socket_path) as address:
                self._socket.connect(address)
            self._challenge = protocol.octets(
                self._receive(), "challenge", protocol.CHALLENGE_BYTES
            ).hex()
        except BaseException:
            self._socket.close()
            raise

    def ask(self, operation: str, **fields: protocol.Value) -> dict[str, protocol.Value]:
        """Send one request and return its answer; raise Refused, or OSError on a lost one."""
        request = {"challenge": self._challenge, "operation": operation, **fields}
        self._socket.sendall(protocol.encode(request))
        return self._receive()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _receive(self) -> dict[str, protocol.Value]:
        packet = self._socket.recv(protocol.PACKET_BYTES_MAX)
        if not packet:
            raise ConnectionResetError("platformd has closed the connection")
        answer = protocol.decode(packet)
        if "refused" in answer:
            reason = protocol.text(answer, "refused", protocol.PACKET_BYTES_MAX)
            raise Refused(reason, protocol.text(answer, "message", protocol.PACKET_BYTES_MAX))
        return answer
