"""Where this runtime executes code: behind the bars that the operator wants and the machine has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from chassis.log import log
from sandbox.choosing import read_digests
from sandbox.jail import Survey
from sandbox.launch import surveyed
from sandbox.ports import Sandbox
from sandbox.sandboxes import opened

from .config import RuntimeConfig


@dataclass(frozen=True)
class Walls:
    """A sandbox, or why there is none."""

    sandbox: Sandbox | None
    lack: str = ""


@asynccontextmanager
async def raising(config: RuntimeConfig) -> AsyncIterator[Walls]:
    """Have a sandbox while the block runs; its workers start when they are needed."""
    if config.sandbox == "off":
        yield Walls(None, "RUNTIME_SANDBOX is off")
        return
    survey = await asyncio.to_thread(surveyed)
    if lack := lack_of(survey, wants_strong=config.sandbox == "strong"):
        log.warning("sandbox.refused", lack=lack)
        yield Walls(None, lack)
        return
    workers = config.sandbox_workers or os.cpu_count() or 1
    async with opened(workers, native=read_digests(config.code_native)) as sandbox:
        yield Walls(sandbox)


def lack_of(survey: Survey, *, wants_strong: bool) -> str:
    """Return what is missing around workers, and the way out; empty if they may start."""
    if survey.is_strong or not wants_strong:
        return ""
    missing = "; ".join(f"{one.layer}: {one.detail} ({one.way_out})" for one in survey.lacks())
    return (
        f"the bars are not strong enough for code of strangers: {missing}; or RUNTIME_SANDBOX=any"
    )
