"""One run on its way: does what the machine says, and journals what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from chassis.clock import Clock
from chassis.errors import PeerUnavailable
from chassis.log import log

from .audience import Audience, TextDelta
from .connectors import Connector
from .facts import (
    ActionCall,
    Event,
    Failure,
    GenerationFinished,
    KnowledgeRetrieved,
    Outcome,
    RunFinished,
    State,
)
from .machine import (
    Act,
    Effect,
    Finish,
    Generate,
    Progress,
    Record,
    Retrieve,
    apply,
    next_effect,
)
from .outbox import Errand, Outbox
from .ports import GasMeter, Generation, Knowledge, Model, Prompt, RunFails, Signer
from .program import Program
from .store import Run, RunStore

# A peer that does not answer is asked again after this long, then twice as long, and so on.
RETRY_SECONDS_MIN = 0.1
RETRY_SECONDS_MAX = 5.0
# Calls of one generation; what a model asks for beyond is dropped.
CALLS_MAX = 16

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Stage:
    """What all runs share; `connectors` by the name of their action."""

    store: RunStore
    audience: Audience
    clock: Clock
    model: Model
    knowledge: Knowledge
    meter: GasMeter
    signer: Signer
    connectors: Mapping[str, Connector]


class Performance:
    """One run, from wherever its journal stands to its end.

    `outcome` is how it ends, where a crash came after that was decided. A nudge says that somebody
    else has written to the journal.
    """

    def __init__(
        self,
        stage: Stage,
        run: Run,
        program: Program,
        outcome: Outcome | None,
        nudge: asyncio.Event,
    ) -> None:
        self._stage = stage
        self._name = run.name
        self._program = program
        self._outcome = outcome
        self._nudge = nudge
        self._outbox = Outbox(stage.connectors, stage.meter)
        self._deadline = run.create_time + timedelta(seconds=program.limits.seconds)
        self._progress = Progress()
        self._sequence = 0
        # Who did not answer when it was last asked.
        self._absent = ""

    async def play(self) -> None:
        """Do one thing after another; what a peer's absence prevents is tried again."""
        retry_seconds = RETRY_SECONDS_MIN
        while not await self._has_finished():
            try:
                if self._outcome is None:
                    await self._step()
                else:
                    await self._finish(self._outcome)
            except PeerUnavailable as error:
                self._absent = error.peer
                log.info("run.waits", run=self._name, peer=error.peer, seconds=retry_seconds)
                await self._rest(retry_seconds)
                retry_seconds = min(2 * retry_seconds, RETRY_SECONDS_MAX)
            else:
                self._absent = ""
                retry_seconds = RETRY_SECONDS_MIN

    async def _has_finished(self) -> bool:
        """Fold what the journal has by now; others may have appended to it."""
        self._nudge.clear()
        while records := await asyncio.to_thread(
            self._stage.store.journal, self._name, after=self._sequence
        ):
            for record in records:
                self._progress = apply(self._progress, record.event)
                self._sequence = record.sequence
        return self._progress.finished is not None

    async def _step(self) -> None:
        effect = next_effect(self._program, self._progress)
        try:
            if isinstance(effect, Finish):
                await self._decide(effect.outcome)
            elif self._seconds_left <= 0:
                await self._run_out_of_time(effect)
            elif isinstance(effect, Record):
                await self._append(effect.event)
            elif isinstance(effect, Act) and effect.action.effect == "write":
                await self._append(await self._outbox.perform(self._errand(effect), self._append))
            else:
                event = await self._unless_nudged(self._perform(effect))
                if event is not None:
                    await self._append(event)
        except RunFails as error:
            await self._decide(Outcome(State.FAILED, failure=error.failure))

    async def _decide(self, outcome: Outcome) -> None:
        self._outcome = await asyncio.to_thread(self._stage.store.decide, self._name, outcome)

    async def _run_out_of_time(self, effect: Effect) -> None:
        told = f"the run took more than {self._program.limits.seconds} s; "
        told += f"{self._absent} did not answer" if self._absent else "raise limits.timeout"
        if isinstance(effect, Act) and effect.is_sent:
            if finished := await self._outbox.look(self._errand(effect)):
                await self._append(finished)
                return
            told += f"; whether {effect.call.id} ({effect.call.action}) happened is not known"
        await self._decide(Outcome(State.FAILED, failure=Failure("TIME_EXCEEDED", told)))

    async def _perform(self, effect: Act | Generate | Retrieve) -> Event:
        """Do what changes nothing outside and may be broken off at any point."""
        match effect:
            case Act():
                return await self._outbox.perform(self._errand(effect), self._append)
            case Generate():
                return await self._generate(effect)
            case Retrieve():
                return KnowledgeRetrieved(
                    await self._stage.knowledge.search(
                        self._program.collections, effect.query, self._program.limits.passages
                    )
                )

    async def _generate(self, effect: Generate) -> GenerationFinished:
        if effect.step == 1:
            account, budget = self._program.account, self._program.budget
            await self._stage.meter.declare_budget(account, budget)
            gas_max = self._program.limits.gas
            if gas_max:
                await self._stage.meter.limit_run(run=self._name, account=account, gas=gas_max)
        model = self._program.model
        prompt = Prompt(
            request_id=f"{self._name}/step/{effect.step}",
            run=self._name,
            account=self._program.account,
            # With the same dice at each step, a small model would repeat itself.
            model=replace(model, seed=model.seed + effect.step),
            agent_acts=bool(self._program.actions),
            messages=effect.messages,
            actions=effect.actions,
            choice=effect.choice,
        )
        async with aclosing(self._stage.model.generate(prompt)) as answer:
            async for part in answer:
                if isinstance(part, Generation):
                    return _generation_finished(effect.step, part)
                self._stage.audience.tell(self._name, TextDelta(effect.step, part))
        raise PeerUnavailable("linker")

    async def _finish(self, outcome: Outcome) -> None:
        """Close the bill, have it signed, and end. All of it may be repeated, however late."""
        receipt = await self._stage.meter.close(run=self._name, account=self._program.account)
        signed = replace(receipt, signature=await self._stage.signer.sign_receipt(receipt.sha256))
        await self._append(RunFinished(outcome, signed))
        log.info("run.finished", run=self._name, state=outcome.state, gas_used=receipt.total_gas)

    async def _append(self, event: Event) -> None:
        await asyncio.to_thread(
            self._stage.store.append, self._name, event, self._stage.clock.now()
        )
        self._stage.audience.tell(self._name)

    async def _unless_nudged(self, work: Awaitable[Answer]) -> Answer | None:
        """Return what the work gives; None if it was broken off, by a nudge or by the deadline."""
        task = asyncio.ensure_future(work)
        nudged = asyncio.ensure_future(self._nudge.wait())
        try:
            await asyncio.wait(
                (task, nudged), timeout=self._seconds_left, return_when=asyncio.FIRST_COMPLETED
            )
            return task.result() if task.done() else None
        finally:
            for future in (task, nudged):
                future.cancel()
            await asyncio.gather(task, nudged, return_exceptions=True)

    async def _rest(self, seconds: float) -> None:
        """Wait, at most until the next nudge."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._nudge.wait(), seconds)

    def _errand(self, act: Act) -> Errand:
        return Errand(self._name, self._program, act)

    @property
    def _seconds_left(self) -> float:
        return (self._deadline - self._stage.clock.now()).total_seconds()


def _generation_finished(step: int, generation: Generation) -> GenerationFinished:
    """Name the calls anew: what a model calls them is not unique within a run."""
    calls = tuple(
        ActionCall(f"step-{step}-{number}", call.action, call.arguments)
        for number, call in enumerate(generation.calls[:CALLS_MAX], start=1)
    )
    return GenerationFinished(step, generation.text, calls, generation.usages, generation.gas)
