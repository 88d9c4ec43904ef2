"""Takes connections, finds out who is behind them, and passes their requests to the desk."""

from __future__ import annotations

import hmac
import selectors
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from . import protocol
from .desk import Caller, Desk
from .errors import CallerRefused, Refusal
from .measure import Measurement
from .process import Birth, Process, Unreadable, birth_of, read_process
from .root import RandomBytes

CONNECTIONS_MAX = 64
_CREDENTIALS = struct.Struct("iII")


class Measures(Protocol):
    """Whoever measures."""

    def measure(self, process: Process, vouched: str) -> Measurement:
        """Say what a process is; `vouched` is what its supervisor calls it, or empty."""

    def warm(self) -> None:
        """Do before the first caller what it would wait for."""


@dataclass
class Line:
    """One connection after its greeting."""

    peer: socket.socket
    caller: Caller
    challenge: str
    has_asked: bool = False


class Server:
    """One thread, one request at a time: nothing here takes long once files are known."""

    def __init__(
        self,
        listener: socket.socket,
        desk: Desk,
        measurer: Measures,
        *,
        uids: frozenset[int],
        random_bytes: RandomBytes,
        on_measured: Callable[[], None],
    ) -> None:
        self._listener = listener
        self._desk = desk
        self._measurer = measurer
        self._uids = uids
        self._random_bytes = random_bytes
        self._on_measured = on_measured
        self._selector = selectors.DefaultSelector()
        self._lines: dict[int, Line] = {}
        self._selector.register(listener, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until the process ends."""
        while True:
            self.turn(None)

    def turn(self, timeout_seconds: float | None) -> None:
        """Wait for somebody and serve all who are there."""
        ready = [key.fd for key, _ in self._selector.select(timeout_seconds)]
        # Whoever hangs up makes room for whoever comes.
        for line in [self._lines[one] for one in ready if one in self._lines]:
            self._serve(line)
        if self._listener.fileno() in ready:
            self._accept()

    def _accept(self) -> None:
        peer, _ = self._listener.accept()
        peer.setblocking(False)  # noqa: FBT003  # its only argument
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            if len(self._lines) >= CONNECTIONS_MAX:
                raise CallerRefused(f"{CONNECTIONS_MAX} connections are open; close one")
            line = Line(peer, self._identify(peer), self._random_bytes(16).hex())
            _send(peer, {"challenge": line.challenge})
        except (Refusal, OSError) as error:
            if isinstance(error, Refusal):
                _log(str(error))
                _try_refuse(peer, error.reason, str(error))
            peer.close()
            return
        self._lines[peer.fileno()] = line
        self._selector.register(peer, selectors.EVENT_READ)
        self._on_measured()

    def _identify(self, peer: socket.socket) -> Caller:
        """Measure who has connected, from what the kernel says."""
        found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(found)
        if uid not in self._uids or pid == 0:
            raise CallerRefused(f"user {uid} may not ask; PLATFORMD_UIDS says who may")
        try:
            process = read_process(pid)
        except Unreadable as error:
            raise CallerRefused(f"process {pid} cannot be measured") from error
        vouched = self._desk.vouched_role(process.birth)
        measurement = self._measurer.measure(process, vouched)
        return Caller(process.birth, measurement)

    def _serve(self, line: Line) -> None:
        try:
            packet, sender = _receive(line.peer)
            if not packet:
                self._hang_up(line)
                return
            fields = protocol.decode(packet)
            self._check_sender(line, sender, fields)
            self._note(line)
            _send(line.peer, self._desk.answer(line.caller, fields))
        except (protocol.PacketInvalid, CallerRefused) as error:
            reason = error.reason if isinstance(error, CallerRefused) else "PACKET_INVALID"
            _try_refuse(line.peer, reason, str(error))
            self._hang_up(line)
        except Refusal as error:
            if not _try_refuse(line.peer, error.reason, str(error)):
                self._hang_up(line)
        except BlockingIOError:
            # Whoever does not read its answers is not waited for.
            self._hang_up(line)
        except ConnectionError:
            self._hang_up(line)

    def _note(self, line: Line) -> None:
        """Say once in the log why somebody who asks has no role."""
        problem, birth = line.caller.measurement.problem, line.caller.birth
        if problem and not line.has_asked and not self._desk.is_parent(birth):
            _log(f"process {birth.pid} has no role: {problem}")
        line.has_asked = True

    @staticmethod
    def _check_sender(line: Line, sender: int, fields: protocol.Fields) -> None:
        """Raise CallerRefused unless the very process that was measured has sent this since."""
        challenge = protocol.text(fields, "challenge", 2 * protocol.CHALLENGE_BYTES)
        own: Birth = line.caller.birth
        try:
            same = sender == own.pid and birth_of(sender) == own
        except Unreadable:
            same = False
        if not same or not hmac.compare_digest(challenge.encode(), line.challenge.encode()):
            raise CallerRefused("the request is not from the process that connected")

    def _hang_up(self, line: Line) -> None:
        self._selector.unregister(line.peer)
        del self._lines[line.peer.fileno()]
        line.peer.close()


def listen(path: Path) -> socket.socket:
    """Return a socket that only this user reaches; one that is left over is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path.unlink(missing_ok=True)
    with protocol.reachable(path) as address:
        listener.bind(address)
    listener.listen(CONNECTIONS_MAX)
    return listener


def _receive(peer: socket.socket) -> tuple[bytes, int]:
    """Return a packet and the process that sent it; descriptors in it are dropped."""
    space = socket.CMSG_SPACE(_CREDENTIALS.size)
    packet, ancillary, flags, _ = peer.recvmsg(protocol.PACKET_BYTES_MAX, space)
    if flags & socket.MSG_TRUNC:
        raise protocol.PacketInvalid(f"a packet has at most {protocol.PACKET_BYTES_MAX} bytes")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            return packet, int(_CREDENTIALS.unpack(content)[0])
    return packet, 0


def _send(peer: socket.socket, fields: protocol.Fields) -> None:
    peer.send(protocol.encode(fields))


def _try_refuse(peer: socket.socket, reason: str, message: str) -> bool:
    try:
        _send(peer, {"refused": reason, "message": message})
    except OSError:
        return False
    return True


def _log(message: str) -> None:
    sys.stderr.write(f"platformd: {message}\n")
    sys.stderr.flush()
