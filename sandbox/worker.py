"""The worker: executes code that its sandbox sends, behind bars.

It has no key, no file, no network and an empty environment. Whatever code asks for, the process
that started it answers. It is handed sockets, which are all that it can reach; a thread serves each
of them, one execution at a time.
"""

from __future__ import annotations

import base64
import gc
import json
import os
import random
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from chassis.canonical import sha256_hex

from . import frames, machine
from .asking import Asking, cut
from .components import Components
from .confinement import DATA_BYTES_MAX, Unconfined, confine
from .frames import Kind
from .layers import parse_layers
from .limits import MEBIBYTE, Limits
from .machine import Machine, Prepared, Session
from .outcome import Reason
from .roles import COMPILES
from .trap import Trap

# Compiled code that is kept; to compile it again costs milliseconds.
_CODES_MAX = 256
_CODES_BYTES_MAX = 64 * MEBIBYTE
# What it takes to compile the largest files.
_COMPILE = Limits(fuel=40_000_000_000, memory_bytes=256 * MEBIBYTE, compute_seconds=20.0)
# So many sockets have an instance that waits for the next order; each takes memory.
_PREPARED = 2
# What it takes to compile nothing.
_PREPARE = Limits(fuel=1_000_000_000)
_TEXT_MAX = 4_096
# Beside its sockets: standard ones, and those of the interpreter.
_DESCRIPTORS = 48
_THREADS = 16
# Of each execution: its memory, the stack of its thread, and what is around them.
_DATA_BYTES = 128 * MEBIBYTE


class Worker:
    """Serves sockets until one of them is closed."""

    def __init__(self, runner: Machine, components: Components | None) -> None:
        self._runner = runner
        self._codes = _Codes(runner)
        self._components = components
        self._over = threading.Event()

    def warm_up(self) -> None:
        """Execute something, so that all that is loaded late is loaded before the bars close."""
        session = _session(Limits(fuel=0), _asks_nothing, lambda: 0.0, seed=0)
        try:
            self._runner.call(session, "compile", "{}")
        except Trap:
            assert session.fuel == 0, "an instruction needs fuel"
        warm = {"warm.py": "import actionvm_sdk\n@actionvm_sdk.action\ndef act(ctx): print(ctx)\n"}
        order = {"files": warm, "main": "warm.py", "action": "act", "arguments": {}, "seed": 0}
        here, there = socket.socketpair()
        with here, there:
            body = frames.to_json({**order, "now": 0.0, "limits": {}}).encode()
            there.sendall(frames.pack(Kind.ORDER, body))
            there.shutdown(socket.SHUT_WR)
            self._serve(here, prepares=False)
            with there.makefile("rb") as stream:
                answered = frames.read(stream)
        assert answered, "an order has an end"
        assert json.loads(answered[1])["logs"], "the runner executes what it is given"

    def serve(self, channels: list[socket.socket]) -> None:
        """Serve in threads of their own, until their other end is gone."""
        self._over.clear()
        # What there is now stays.
        gc.freeze()
        self._runner.ticker.start()
        for number, channel in enumerate(channels):
            serve = partial(self._serve, channel, prepares=number < _PREPARED)
            threading.Thread(target=serve, daemon=True).start()
        channels[0].sendall(frames.pack(Kind.READY, b""))
        self._over.wait()

    def _serve(self, channel: socket.socket, *, prepares: bool) -> None:
        prepared: Prepared | None = None
        try:
            with channel.makefile("rb") as stream:
                while (message := frames.read(stream)) is not None:
                    kind, body = message
                    # What was told to stop may have ended by itself.
                    if kind == Kind.ORDER:
                        prepared = prepared or self._prepare()
                        done = self._work(json.loads(body), channel, stream, prepared)
                        told = frames.to_json(done).encode()
                        channel.sendall(frames.pack(Kind.DONE, told))
                        # Nobody waits for this.
                        prepared.close()
                        prepared = self._prepare() if prepares else None
                        if prepared:
                            channel.sendall(frames.pack(Kind.PREPARED, b""))
        except OSError:
            pass
        finally:
            self._over.set()

    def _prepare(self) -> Prepared:
        """Return an instance of the runner that has compiled nothing."""
        session = _session(_PREPARE, _asks_nothing, lambda: 0.0, seed=0)
        return self._runner.prepare(session, "compile", "{}")

    def _work(
        self,
        order: Mapping[str, Any],
        channel: socket.socket,
        stream: BinaryIO,
        prepared: Prepared,
    ) -> dict[str, Any]:
        session = _ordered(order, channel, stream)
        try:
            done = self._do(session, order, prepared)
        except Trap as trap:
            done = {"reason": trap.reason, "message": trap.message}
        except Exception as error:  # noqa: BLE001  # a bug, which nobody else in here has to bear
            session.fuel = session.limits.fuel
            done = {"reason": Reason.WORKER_LOST, "message": repr(error)[:_TEXT_MAX]}
        done |= {"fuel": session.fuel, "logs": session.logs}
        return done | {"logs_dropped": session.logs_dropped}

    def _do(self, session: Session, order: Mapping[str, Any], prepared: Prepared) -> dict[str, Any]:
        try:
            if "wasm" in order:
                loaded, code = self._compiled(order["wasm"]), {}
            else:
                loaded, code = self._runner, self._codes.compiled(order["files"])
        except Trap:
            session.fuel = session.limits.fuel
            raise
        if "compile" in order:
            return {}
        if "problems" in code:
            return {"problems": cut(code["problems"])}
        if not code:
            return _call(loaded, session, order, None)
        return _call(loaded, session, order, prepared, code["code"], order["main"])

    def _compiled(self, wasm: str) -> Machine:
        if self._components is None:
            raise Trap(Reason.CODE_INVALID, "this sandbox executes files of Python only")
        return self._components.compiled(base64.b64decode(wasm))


class _Codes:
    """Files as code. To compile them is not on the bill of who executes them."""

    def __init__(self, runner: Machine) -> None:
        self._runner = runner
        self._lock = threading.Lock()
        self._codes: OrderedDict[str, dict[str, Any] | Trap] = OrderedDict()
        self._sizes: dict[str, int] = {}

    def compiled(self, files: Mapping[str, str]) -> dict[str, Any]:
        """Return the code of files, or their problems; raise `Trap`."""
        text = json.dumps(files)
        key = sha256_hex(text.encode())
        with self._lock:
            code = self._codes.get(key)
            if code is not None:
                self._codes.move_to_end(key)
        if code is None:
            # Others need not wait for the code of a stranger.
            code = self._compile(text)
            self._keep(key, code)
        if isinstance(code, Trap):
            raise Trap(code.reason)
        return code

    def _compile(self, text: str) -> dict[str, Any] | Trap:
        session = _session(_COMPILE, _asks_nothing, lambda: 0.0, seed=0)
        try:
            compiled: dict[str, Any] = json.loads(self._runner.call(session, "compile", text))
        except Trap as trap:
            return trap
        return compiled

    def _keep(self, key: str, code: dict[str, Any] | Trap) -> None:
        with self._lock:
            self._codes[key] = code
            self._sizes[key] = 0 if isinstance(code, Trap) else len(code.get("code", ""))
            while len(self._codes) > _CODES_MAX or sum(self._sizes.values()) > _CODES_BYTES_MAX:
                oldest, _ = self._codes.popitem(last=False)
                del self._sizes[oldest]


def _call(
    loaded: Machine,
    session: Session,
    order: Mapping[str, Any],
    prepared: Prepared | None,
    *code: str,
) -> dict[str, Any]:
    export, given = "describe", list(code)
    if "action" in order:
        export = "execute"
        call = {name: order[name] for name in ("action", "arguments", "seed")}
        given.append(json.dumps(call))
    answer = loaded.call(session, export, *given, prepared=prepared)
    if len(answer.encode()) > session.limits.output_bytes:
        raise Trap(Reason.OUTPUT_EXCEEDED)
    return {"answer": answer}


def _ordered(order: Mapping[str, Any], channel: socket.socket, stream: BinaryIO) -> Session:
    """Return the session of an order, which asks on its socket."""
    limits = Limits(**order["limits"])
    asking = Asking(limits, float(order["now"]), channel, stream)
    return _session(limits, asking.ask, lambda: asking.now, seed=order.get("seed", 0))


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


def main() -> None:
    """Serve the sockets of the first argument; then come the runner, the layers and the role."""
    numbers, runner, layers, role = sys.argv[1:]
    components = Components() if role == COMPILES else None
    channels = [socket.socket(fileno=int(number)) for number in numbers.split(",")]
    worker = Worker(machine.load(Path(runner)), components)
    worker.warm_up()
    try:
        confine(
            parse_layers(layers),
            loads_code=components is not None,
            descriptors_max=len(channels) + _DESCRIPTORS,
            threads_max=len(channels) + _THREADS,
            data_bytes_max=max(DATA_BYTES_MAX, len(channels) * _DATA_BYTES),
        )
    except Unconfined as error:
        channels[0].sendall(frames.pack(Kind.READY, str(error).encode()))
        return
    worker.serve(channels)
    # Whatever still executes is nothing to wait for.
    os._exit(0)


if __name__ == "__main__":
    main()
