"""A worker that confines itself, tries everything, and tells on a socket how it went."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
from collections.abc import Callable

from sandbox.confinement import Unconfined, confine
from sandbox.layers import parse_layers

from .attacks import attacks
from .labours import labours

UNCONFINED = "unconfined"
ALL, ABORT, LOADING = "all", "abort", "loading"
THREADED, TWICE, WATCHED = "threaded", "twice", "watched"
REFUSED = "Unconfined: "


def main() -> None:
    """Take layers, the number of a socket, and what to do."""
    layers, descriptor, task = sys.argv[1:]
    channel = socket.socket(fileno=int(descriptor))
    # One of them needs memory that it could not have later.
    prepared = attacks(os.uname().machine)
    if task == THREADED:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    if layers != UNCONFINED:
        try:
            for _ in range(2 if task == TWICE else 1):
                confine(parse_layers(layers), loads_code=task == LOADING)
        except Unconfined as error:
            channel.sendall(json.dumps(REFUSED + str(error)).encode())
            return
    if task == ABORT:
        os.abort()
    if task == WATCHED:
        channel.sendall(b" ")
        channel.recv(1)
    told = {
        "labours": {name: _labour(labour) for name, labour in labours(channel).items()},
        "attacks": {name: _attack(attack) for name, attack in prepared.items()},
        "environment": sorted(map(os.fsdecode, os.environb)),
    }
    channel.sendall(json.dumps(told).encode())


def _attack(attack: Callable[[], object]) -> str:
    """Return the name of the error that an attack ends with, or what it got."""
    try:
        return f"done: {attack()!r}"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))


def _labour(labour: Callable[[], bool]) -> str:
    try:
        return "done" if labour() else "wrong"
    except Exception as error:  # noqa: BLE001  # whatever it is, the test shows it
        return repr(error)
