"""A runtime over fakes behind real gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import TypeAlias

from actionvm.action.v1 import action_pb2
from chassis.server import Hosted
from runtime.bundles import SealedBundle
from runtime.journal.port import NewRun
from runtime.service import hosted
from tests.runtime.worlds import RUN, World

OPEN_RUN = RUN.replace("0001", "0002")
# Waits for a person, who has decided, which the run does not notice.
ASKING_RUN = RUN.replace("0001", "0003")
APPROVAL = "approvals/01234567-89ab-4def-8123-456789abcdef"
Host: TypeAlias = Callable[[], AbstractAsyncContextManager[Hosted]]
# What an agent is told to make its model never answer.
WAIT = '"wait"'


def hosting(world: World, *, asks: bool = False) -> Host:
    """Return what serves a world: a run that has ended, and one that is open for good.

    If it asks, every signature from then on waits for a person, and there is a run that does.
    """

    @asynccontextmanager
    async def host() -> AsyncIterator[Hosted]:
        ended = await world.create()
        sealed = world.bundles.bundles[ended.bundle]
        await world.play()
        new = NewRun(
            name=OPEN_RUN,
            request_id="second",
            bundle=sealed.name,
            payload=sealed.payload,
            account="agents/market-brief",
            input=WAIT,
            dry_run=False,
        )
        world.model.stuck_on = "wait"
        servicer, conductor = world.servicer()
        await world.journal.create(new, world.clock.now())
        if asks:
            await _let_a_run_ask(world, new)
        await conductor.start()
        if asks:
            await world.until(ASKING_RUN, lambda run: run.approval)
        yield hosted(servicer)
        await conductor.stop()

    return host


async def _let_a_run_ask(world: World, like: NewRun) -> None:
    asking = replace(like, name=ASKING_RUN, request_id="third", input='"ask"')
    await world.journal.create(asking, world.clock.now())
    world.signer.approval = APPROVAL
    world.approvals.waiting.add(APPROVAL)
    world.approvals.decisions[APPROVAL] = True


def bundle_to_proto(sealed: SealedBundle) -> action_pb2.Bundle:
    """Return a bundle as it travels."""
    signature = sealed.signature
    return action_pb2.Bundle(
        name=sealed.name,
        digest=action_pb2.Digest(sha256=sealed.sha256, size_bytes=sealed.size_bytes),
        payload=sealed.payload,
        signature=action_pb2.Signature(
            key=signature.key,
            algorithm=signature.algorithm,
            public_key=signature.public_key,
            value=signature.value,
        ),
    )
