"""What a confined worker must go on being able to do; each returns what it should."""

from __future__ import annotations

import ctypes
import importlib
import mmap
import os
import queue
import random
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sandbox.confinement import DATA_BYTES_MAX

THREADS = 8
RESERVED_BYTES = 4 << 30
PROT_NONE, PROT_READ_WRITE = 0, 3

_LIBRARY = ctypes.CDLL(None, use_errno=True)
_LIBRARY.mmap.restype = ctypes.c_void_p
_LIBRARY.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_LIBRARY.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def start_threads() -> bool:
    """Start threads that wait for each other and take turns with a lock."""
    barrier = threading.Barrier(THREADS)
    results: queue.Queue[int] = queue.Queue()

    def work(number: int) -> None:
        barrier.wait(timeout=10)
        results.put(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    return sorted(results.get(timeout=1) for _ in threads) == list(range(THREADS))


def use_a_pool() -> bool:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(abs, range(-THREADS, 0))) == list(range(THREADS, 0, -1))


def reserve_and_open_memory() -> bool:
    """Reserve a memory as wasmtime does, and make the first page of it accessible."""
    reserved = _LIBRARY.mmap(None, ctypes.c_size_t(RESERVED_BYTES), PROT_NONE, 0x4022, -1, 0)
    opened = _LIBRARY.mprotect(reserved, mmap.PAGESIZE, PROT_READ_WRITE)
    ctypes.memset(reserved, 7, mmap.PAGESIZE)
    seen = ctypes.string_at(reserved, 2)
    dropped = _LIBRARY.madvise(ctypes.c_void_p(reserved), ctypes.c_size_t(mmap.PAGESIZE), 4)
    after = ctypes.string_at(reserved, 2)
    closed = _LIBRARY.munmap(reserved, RESERVED_BYTES)
    return (opened, seen, dropped, after, closed) == (0, b"\7\7", 0, b"\0\0", 0)


def stop_at_the_limit_of_memory() -> bool:
    """Ask for more than a worker may write to; reserving it is something else."""
    failed = ctypes.c_void_p(-1).value
    more = ctypes.c_size_t(DATA_BYTES_MAX + RESERVED_BYTES)
    return bool(_LIBRARY.mmap(None, more, PROT_READ_WRITE, 0x4022, -1, 0) == failed)


def wait_with_a_deadline() -> bool:
    begun = time.monotonic()
    return not threading.Event().wait(0.02) and time.monotonic() - begun >= 0.02


def tell_the_time() -> bool:
    used = time.thread_time() + time.process_time()
    return time.time() > 0 and time.monotonic() > 0 and used > 0


def draw_by_chance() -> bool:
    return len({secrets.token_bytes(16), os.urandom(16), random.Random().randbytes(16)}) == 3


def import_again() -> bool:
    return bool(importlib.import_module("json").loads("[1]") == [1])


def watch(channel: socket.socket) -> bool:
    """Wait for the channel in each way, and send on it."""
    waiting = select.epoll()
    waiting.register(channel, select.EPOLLOUT)
    polled = select.poll()
    polled.register(channel, select.POLLOUT)
    _, writable, _ = select.select([], [channel], [], 1)
    found = (waiting.poll(1), polled.poll(1000), writable)
    waiting.close()
    return all(found) and channel.sendmsg([b" "]) == 1 and channel.send(b" ") == 1


def labours(channel: socket.socket) -> dict[str, Callable[[], bool]]:
    """Return the labours by name."""
    return {
        "threads": start_threads,
        "pool of threads": use_a_pool,
        "memory of an instance": reserve_and_open_memory,
        "limit of memory": stop_at_the_limit_of_memory,
        "wait": wait_with_a_deadline,
        "time": tell_the_time,
        "chance": draw_by_chance,
        "import again": import_again,
        "channel": lambda: watch(channel),
    }
