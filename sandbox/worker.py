"""The worker: executes code that its sandbox sends, in threads, behind bars.

It has no key, no file, no network and an empty environment. Whatever code asks for, the process
that started it answers. It is handed a socket, which is all that it can reach.
"""

from __future__ import annotations

import json
import queue
import random
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from chassis.canonical import sha256_hex

from . import frames, machine
from .limits import Limits
from .machine import Machine, Session, Trap
from .outcome import Reason

# Compiled code that is kept; to compile it again costs milliseconds.
_CODES_MAX = 256
# What it takes to compile the largest files.
_COMPILE = Limits(fuel=40_000_000_000, memory_bytes=256 * 1024 * 1024, compute_seconds=20.0)
_THREADS_MAX = 256


class Worker:
    """Serves one socket until it is closed."""

    def __init__(self, channel: socket.socket, runner: Machine) -> None:
        self._channel = channel
        self._runner = runner
        self._sending = threading.Lock()
        self._codes: OrderedDict[str, str] = OrderedDict()
        self._compiling = threading.Lock()
        # Where executions wait for answers, by their number.
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._threads = ThreadPoolExecutor(_THREADS_MAX)

    def warm_up(self) -> None:
        """Execute something, so that all that is loaded late is loaded before the bars close."""
        self._compiled({"warm.py": ""})

    def serve(self) -> None:
        """Read orders and answers."""
        while (message := self._receive()) is not None:
            number = message["id"]
            if "answers" in message:
                if waiting := self._waiting.get(number):
                    waiting.put(message)
                continue
            self._waiting[number] = queue.SimpleQueue()
            self._threads.submit(self._work, number, message)

    def _work(self, number: int, message: Mapping[str, Any]) -> None:
        session = self._session(number, message)
        try:
            done = self._do(session, message)
        except Trap as trap:
            done = {"reason": trap.reason, "fuel": session.fuel}
        except Exception as error:  # noqa: BLE001  # a bug, of which the host must hear
            done = {"reason": Reason.WORKER_LOST, "message": repr(error)[:500]}
        finally:
            del self._waiting[number]
        logs = {"logs": session.logs, "logs_dropped": session.logs_dropped}
        self._send({"id": number, "done": {**logs, **done}})

    def _do(self, session: Session, message: Mapping[str, Any]) -> dict[str, Any]:
        code = self._compiled(message["files"])
        if "problems" in code:
            return code
        if "action" not in message:
            answer = self._runner.call(session, "describe", code["code"], message["main"])
            return {"answer": answer, "fuel": session.fuel}
        call = {name: message[name] for name in ("action", "arguments", "seed")}
        answer = self._runner.call(
            session, "execute", code["code"], message["main"], json.dumps(call)
        )
        if len(answer.encode()) > session.limits.output_bytes:
            raise Trap(Reason.OUTPUT_EXCEEDED)
        return {"answer": answer, "fuel": session.fuel}

    def _compiled(self, files: Mapping[str, str]) -> dict[str, Any]:
        """Return the code of files, or their problems; not on the bill of who executes it."""
        text = json.dumps(files)
        key = sha256_hex(text.encode())
        with self._compiling:
            if key in self._codes:
                self._codes.move_to_end(key)
                return {"code": self._codes[key]}
            session = _session(_COMPILE, _asks_nothing, lambda: 0.0, seed=0)
            compiled: dict[str, Any] = json.loads(self._runner.call(session, "compile", text))
            if "code" in compiled:
                self._codes[key] = compiled["code"]
                if len(self._codes) > _CODES_MAX:
                    self._codes.popitem(last=False)
            return compiled

    def _session(self, number: int, message: Mapping[str, Any]) -> Session:
        limits = Limits(**message["limits"])
        time_seen = [float(message["now"])]
        asked = [0]

        def ask(calls: str) -> str:
            count = _count(calls, limits)
            asked[0] += count
            if asked[0] > limits.host_calls:
                raise Trap(Reason.HOST_CALLS_EXCEEDED)
            self._send({"id": number, "ask": calls})
            try:
                left = session.deadline - time.monotonic()
                answered = self._waiting[number].get(timeout=max(0.0, left))
            except queue.Empty:
                raise Trap(Reason.TIME_EXCEEDED) from None
            if answered.get("stop"):
                raise Trap(Reason.TRAPPED)
            time_seen[0] = answered["now"]
            return str(answered["answers"])

        session = _session(limits, ask, lambda: time_seen[0], seed=message.get("seed", 0))
        return session

    def _receive(self) -> dict[str, Any] | None:
        header = self._read(frames.HEADER.size)
        if header is None:
            return None
        text = self._read(frames.size_of(header))
        return None if text is None else frames.unpack(text)

    def _read(self, count: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < count:
            part = self._channel.recv(count - len(parts))
            if not part:
                return None
            parts += part
        return bytes(parts)

    def _send(self, message: dict[str, Any]) -> None:
        packed = frames.pack(message)
        with self._sending:
            self._channel.sendall(packed)


def _session(
    limits: Limits, ask: Callable[[str], str], now: Callable[[], float], *, seed: int
) -> Session:
    return Session(
        limits=limits,
        ask=ask,
        now=now,
        dice=random.Random(seed),  # noqa: S311  # replay needs the same again
        deadline=time.monotonic() + limits.wall_seconds,
    )


def _asks_nothing(_calls: str) -> str:
    raise Trap(Reason.TRAPPED)


def _count(calls: str, limits: Limits) -> int:
    """Return how many calls a text of the guest has, which may be anything."""
    if len(calls.encode(errors="replace")) > limits.argument_bytes:
        raise Trap(Reason.ARGUMENTS_EXCEEDED)
    try:
        asked = json.loads(calls)
    except (ValueError, RecursionError):
        raise Trap(Reason.TRAPPED) from None
    if not isinstance(asked, list):
        raise Trap(Reason.TRAPPED)
    return max(1, len(asked))


def main() -> None:
    """Serve the socket whose number is the first argument; the second is the compiled runner."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    runner = machine.load(Path(sys.argv[2]))
    worker = Worker(channel, runner)
    worker.warm_up()

    channel.sendall(frames.pack({"ready": True}))
    worker.serve()


if __name__ == "__main__":
    main()
