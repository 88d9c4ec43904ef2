"""The worker outside of WebAssembly: executes one order in CPython itself, and ends.

What the files import by name is imported first, since nothing can be opened behind bars. Then the
kernel is told how much memory and time there is, the bars close, and only then the code begins.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import resource
import signal
import socket
import sys
import time
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import frames
from .asking import Asking, cut
from .confinement import Unconfined, confine
from .frames import Kind
from .guest import imports
from .layers import parse_layers
from .limits import FUEL_PER_SECOND, Limits
from .outcome import Reason
from .trap import Trap

# Libraries of numbers start a thread for each core otherwise, and no thread may run before the
# bars close.
_ALONE = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_PAGE_BYTES = resource.getpagesize()


class _Stopped(BaseException):
    """Code was stopped; no `except Exception` of it catches this."""


class _Host:
    """What the runner imports of its host, in place of WebAssembly."""

    def __init__(self, limits: Limits, asking: Asking) -> None:
        self._limits = limits
        self._asking = asking
        self._log_bytes = 0
        self.logs: list[str] = []
        self.logs_dropped = 0
        self.stopped: Reason | None = None

    def ask(self, calls: str) -> str:
        if self.stopped is None:
            try:
                return self._asking.ask(calls)
            except Trap as trap:
                self.stopped = trap.reason
        raise _Stopped

    def log(self, text: str) -> None:
        size = len(text.encode(errors="replace")) + 1
        if self._log_bytes + size > self._limits.log_bytes:
            self.logs_dropped += 1
        else:
            self._log_bytes += size
            self.logs.append(text)

    def now(self) -> float:
        return self._asking.now


def main() -> None:
    """Serve the socket of the first argument; the others are the layers, and where the SDK is."""
    number, layers, sdk = sys.argv[1:]
    sys.path.append(sdk)
    channel = socket.socket(fileno=int(number))
    channel.sendall(frames.pack(Kind.READY, b""))
    stream = channel.makefile("rb")
    told = frames.read(stream)
    if told is None:
        return
    order = json.loads(told[1])
    limits = Limits(**order["limits"])
    asking = Asking(limits, float(order["now"]), channel, stream)
    host = _Host(limits, asking)
    _tame(random.Random(order.get("seed", 0)), lambda: asking.now)  # noqa: S311  # for replay
    runner = _runner(host)
    _import_all(order["files"])
    _limit(limits)
    try:
        confine(parse_layers(layers))
    except Unconfined as error:
        done: dict[str, Any] = {"reason": Reason.WORKER_LOST, "message": str(error)}
    else:
        done = _work(runner, order, host, limits)
    body = frames.to_json({**done, "logs": host.logs, "logs_dropped": host.logs_dropped})
    channel.sendall(frames.pack(Kind.DONE, body.encode()))
    # Whatever the code has left behind is nothing to wait for.
    os._exit(0)


def _work(
    runner: Any,  # noqa: ANN401  # made of a module that is not there otherwise
    order: Mapping[str, Any],
    host: _Host,
    limits: Limits,
) -> dict[str, Any]:
    start, cpu_time = time.process_time(), time.process_time
    compiled = json.loads(runner.compile(json.dumps(order["files"])))
    if "problems" in compiled:
        return {"problems": cut(compiled["problems"])}
    call = {name: order[name] for name in ("action", "arguments", "seed") if name in order}
    given = (compiled["code"], order["main"])
    answer, reason, message = "", host.stopped, ""
    try:
        answer = runner.execute(*given, json.dumps(call)) if call else runner.describe(*given)
    except BaseException as error:  # noqa: BLE001  # code may have broken what the runner needs
        reason, message = Reason.TRAPPED, f"it broke the interpreter: {type(error).__name__}"
    reason = host.stopped or reason
    if reason is None and len(answer) > limits.output_bytes:
        reason = Reason.OUTPUT_EXCEEDED
    # Behind bars, the clock of the processor may move by ticks of the kernel only.
    fuel = max(1, min(limits.fuel, int((cpu_time() - start) * FUEL_PER_SECOND)))
    return {"reason": reason, "message": message, "answer": "" if reason else answer, "fuel": fuel}


def _runner(host: _Host) -> Any:  # noqa: ANN401  # as above
    """Return the runner, which believes that it is in WebAssembly."""
    world, imported = types.ModuleType("wit_world"), types.ModuleType("wit_world.imports")
    vars(world).update(WitWorld=object, imports=imported)
    vars(imported).update(host=host)
    sys.modules |= {"wit_world": world, "wit_world.imports": imported}
    return importlib.import_module("sandbox.guest.runner").WitWorld()


def _tame(dice: random.Random, now: Callable[[], float]) -> None:
    """Let time and dice come from the order, as far as Python reads them through these names."""
    start, reads = now(), [0]

    def running() -> float:
        # It stands still between answers, but for what a loop needs to see it move.
        reads[0] += 1
        return now() - start + reads[0] * 1e-6

    vars(time).update(
        time=now,
        time_ns=lambda: int(now() * 1e9),
        monotonic=running,
        monotonic_ns=lambda: int(running() * 1e9),
        perf_counter=running,
        perf_counter_ns=lambda: int(running() * 1e9),
    )
    vars(os).update(urandom=dice.randbytes)
    vars(random).update(_urandom=dice.randbytes)


def _import_all(files: Mapping[str, str]) -> None:
    """Import what files import, and nothing of theirs; what is not there is told by the check."""
    environment = vars(os)["environ"]
    # Of bubblewrap and Python, which set some.
    environment.clear()
    environment.update(dict.fromkeys(_ALONE, "1"))
    for source in files.values():
        try:
            names = imports.imported(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for name in names:
            try:
                importlib.import_module(name)
            except ImportError:
                continue
            imports.allow(name)


def _limit(limits: Limits) -> None:
    """Let the kernel count memory and time from here on; the imports are on nobody's bill."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE_BYTES
    memory = size + limits.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    seconds = limits.fuel / FUEL_PER_SECOND
    # The timer is exact, and code could turn it off; the limit it cannot.
    whole = int(time.process_time() + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 1))
    signal.setitimer(signal.ITIMER_PROF, max(seconds, 0.001))
