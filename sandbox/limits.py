"""How much one execution of code may use."""

from __future__ import annotations

from dataclasses import dataclass

MEBIBYTE = 1024 * 1024
# Where the kernel counts time and nobody counts instructions: about as many as WebAssembly counts
# in a second of Python, 8,000,000 in a millisecond.
FUEL_PER_SECOND = 8_000_000_000


@dataclass(frozen=True)
class Limits:
    """One execution. Fuel is counted in instructions of WebAssembly."""

    # About a quarter of a second.
    fuel: int = 2_000_000_000
    memory_bytes: int = 64 * MEBIBYTE
    # Between two answers of the host, and altogether.
    compute_seconds: float = 2.0
    wall_seconds: float = 30.0
    host_calls: int = 20
    argument_bytes: int = MEBIBYTE
    # Of what a host answers at once.
    answer_bytes: int = 2 * MEBIBYTE
    output_bytes: int = 256 * 1024
    # Of lines beyond, only the number is kept.
    log_bytes: int = 64 * 1024
