"""What this machine can run, in plain words, with the way out."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from pydantic import BaseModel

from .transfer import bytes_text

# llama.cpp has to be read from a disk that may be slow.
LOOK_SECONDS = 60
BUILD_AGAIN = "build it again: rm -rf .venv && make setup"
CARD_BUILD = "docs/models.md, Graphics cards, says how to build llama.cpp for it"
# What the drivers of cards leave behind, whether or not llama.cpp was built for them.
DRIVERS = {"NVIDIA": Path("/proc/driver/nvidia/version"), "AMD": Path("/dev/kfd")}
# Any processor since 2013; without these, an answer takes several times as long.
FAST = frozenset({"AVX2", "NEON"})

Look: TypeAlias = "Callable[[Path], subprocess.CompletedProcess[str]]"


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """What one check found, and the way out."""

    check: str
    verdict: Verdict
    detail: str
    fix: str = ""


class _Card(BaseModel):
    name: str
    memory_bytes: int


class _Model(BaseModel):
    name: str
    memory_bytes: int
    problem: str


class _Machine(BaseModel):
    """What `python -m linker.machine` prints."""

    cores: int
    threads: int
    memory_bytes: int
    memory_bytes_for_models: int
    context_tokens: int
    llama: str
    features: list[str]
    backends: list[str]
    cards: list[_Card]
    models: list[_Model]


def ask_linker(folder: Path) -> subprocess.CompletedProcess[str]:
    """Let the linker's own program look, in a process that llama.cpp may end."""
    return subprocess.run(
        [sys.executable, "-m", "linker.machine", str(folder)],
        capture_output=True,
        text=True,
        timeout=LOOK_SECONDS,
        check=False,
    )


def check_machine(folder: Path, look: Look = ask_linker) -> Iterator[Finding]:
    """Say what can be run here, and which models of a folder."""
    try:
        done = look(folder)
    except subprocess.TimeoutExpired:
        yield Finding("llama.cpp", Verdict.FAIL, "does not load within a minute", BUILD_AGAIN)
        return
    if done.returncode == -signal.SIGILL:
        yield Finding("llama.cpp", Verdict.FAIL, "was built for another processor", BUILD_AGAIN)
        return
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exited with {done.returncode}"]
        yield Finding("llama.cpp", Verdict.FAIL, lines[-1], BUILD_AGAIN)
        return
    machine = _Machine.model_validate_json(done.stdout)
    yield _cores(machine)
    yield _memory(machine)
    yield _llama(machine)
    yield _cards(machine)
    yield from _models(machine, folder)


def _cores(machine: _Machine) -> Finding:
    detail = f"{machine.cores}, of which models use {machine.threads}"
    if machine.threads > machine.cores:
        way_out = f"LINKER_THREADS={machine.cores} or less: threads without a core wait spinning"
        return Finding("cores", Verdict.NOTE, detail, way_out)
    return Finding("cores", Verdict.OK, detail)


def _memory(machine: _Machine) -> Finding:
    total, budget = machine.memory_bytes, machine.memory_bytes_for_models
    detail = f"{bytes_text(total)}, of which models may take {bytes_text(budget)}"
    if budget > total:
        way_out = "lower LINKER_MEMORY_BYTES: what does not fit is read from the disk all the time"
        return Finding("memory", Verdict.NOTE, detail, way_out)
    return Finding("memory", Verdict.OK, detail)


def _llama(machine: _Machine) -> Finding:
    made_for = ", ".join([*machine.backends, *machine.features]) or "any processor"
    detail = f"llama-cpp-python {machine.llama}, built for {made_for}"
    if not FAST & set(machine.features) and not machine.backends:
        way_out = f"{BUILD_AGAIN}; or this processor is too old to answer quickly"
        return Finding("llama.cpp", Verdict.NOTE, detail, way_out)
    return Finding("llama.cpp", Verdict.OK, detail)


def _cards(machine: _Machine) -> Finding:
    if machine.cards:
        seen = ", ".join(f"{one.name} ({bytes_text(one.memory_bytes)})" for one in machine.cards)
        return Finding("graphics card", Verdict.OK, seen)
    if machine.backends:
        detail = f"llama.cpp was built for {machine.backends[0]} and finds no card"
        return Finding("graphics card", Verdict.NOTE, detail, "look for its driver")
    for maker, path in DRIVERS.items():
        if path.exists():
            detail = f"there is one of {maker}, for which llama.cpp was not built"
            return Finding("graphics card", Verdict.NOTE, detail, CARD_BUILD)
    return Finding("graphics card", Verdict.OK, "none; models run on the processor")


def _models(machine: _Machine, folder: Path) -> Iterator[Finding]:
    if not machine.models:
        way_out = "make run builds one; actionvm models pull --help fetches others"
        yield Finding("models", Verdict.FAIL, f"none in {folder}", way_out)
    budget = machine.memory_bytes_for_models
    for model in machine.models:
        check, size = f"local/{model.name}", bytes_text(model.memory_bytes)
        if model.problem:
            way_out = "take another file: actionvm models pull --help"
            yield Finding(check, Verdict.NOTE, model.problem, way_out)
        elif model.memory_bytes > budget:
            way_out = (
                "take a smaller quantisation; or lower LINKER_CONTEXT_TOKENS "
                f"({machine.context_tokens}), or raise LINKER_MEMORY_BYTES"
            )
            detail = f"needs {size}, models may take {bytes_text(budget)}"
            yield Finding(check, Verdict.NOTE, detail, way_out)
        else:
            yield Finding(check, Verdict.OK, f"fits: needs {size} of {bytes_text(budget)}")
