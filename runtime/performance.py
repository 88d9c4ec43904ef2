"""One run on its way: does what the machine says, and journals what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from chassis.errors import PeerUnavailable, RequestIdReused
from chassis.log import log

from .audience import TextDelta
from .delegation import Delegation, Runs
from .facts import (
    ActionCall,
    ActionFinished,
    ApprovalAwaited,
    Event,
    Failure,
    GenerationFinished,
    KnowledgeRetrieved,
    Outcome,
    RunFinished,
    State,
    parent_of,
)
from .jsontext import write_json
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
from .ports import Generation, PersonAwaited, Prompt, RunFails
from .program import Program
from .stage import Stage
from .store import Run

# A peer that does not answer is asked again after this long, then twice as long, and so on.
RETRY_SECONDS_MIN = 0.1
RETRY_SECONDS_MAX = 5.0
# Calls of one generation; what a model asks for beyond is dropped.
CALLS_MAX = 16

Answer = TypeVar("Answer")


class Performance:
    """One run, from wherever its journal stands to its end.

    `outcome` is how it ends, where a crash came after that was decided. A nudge says that somebody
    else has written to the journal.
    """

    def __init__(
        self,
        stage: Stage,
        runs: Runs,
        run: Run,
        program: Program,
        *,
        outcome: Outcome | None,
        nudge: asyncio.Event,
    ) -> None:
        self._stage = stage
        self._runs = runs
        self._run = run
        self._name = run.name
        self._program = program
        self._outcome = outcome
        self._nudge = nudge
        self._outbox = Outbox(stage.connectors, stage.meter)
        own = run.create_time + timedelta(seconds=program.limits.seconds)
        self._deadline = min(own, run.deadline or own)
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
            except PersonAwaited as error:
                self._absent = error.peer
                await self._wait_for_person(error)
            except PeerUnavailable as error:
                self._absent = error.peer
                log.info("run.waits", run=self._name, peer=error.peer, seconds=retry_seconds)
                await self._rest(retry_seconds)
                retry_seconds = min(2 * retry_seconds, RETRY_SECONDS_MAX)
            else:
                self._absent = ""
                retry_seconds = RETRY_SECONDS_MIN

    async def _wait_for_person(self, awaited: PersonAwaited) -> None:
        """Say what is waited for, and wait until it is decided, or the journal says more."""
        open_call = self._progress.open_call
        assert open_call is not None, "only calls use keys that people decide about"
        call = open_call.call
        if self._progress.is_cancel_requested:
            # What waits for a signature was not performed.
            told = write_json({"error": "CANCELLED", "message": "no person has decided about it"})
            await self._append(ActionFinished(call.id, call.action, told, 0, reason="CANCELLED"))
            return
        if open_call.approval != awaited.approval:
            await self._append(ApprovalAwaited(call, awaited.approval, awaited.rule))
            log.info("run.waits", run=self._name, peer=awaited.peer)
        seconds = RETRY_SECONDS_MIN
        while not self._nudge.is_set() and self._seconds_left > 0:
            with suppress(PeerUnavailable):
                if await self._stage.approvals.is_decided(awaited.approval):
                    return
            await self._rest(min(seconds, self._seconds_left))
            seconds = min(2 * seconds, RETRY_SECONDS_MAX)

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
            elif isinstance(effect, Act) and effect.action.agent_bundle and effect.is_sent:
                await self._await_answer(self._delegation(effect))
            elif self._seconds_left <= 0:
                await self._run_out_of_time(effect)
            elif isinstance(effect, Record):
                await self._append(effect.event)
            elif isinstance(effect, Act) and effect.action.agent_bundle:
                await self._delegate(self._delegation(effect))
            elif isinstance(effect, Act) and effect.action.effect == "write":
                await self._append(await self._outbox.perform(self._errand(effect), self._append))
            else:
                event = await self._unless_nudged(self._perform(effect), self._seconds_left)
                if event is not None:
                    await self._append(event)
        except RunFails as error:
            await self._decide(Outcome(State.FAILED, failure=error.failure))

    async def _decide(self, outcome: Outcome) -> None:
        self._outcome = await asyncio.to_thread(self._stage.store.decide, self._name, outcome)

    async def _run_out_of_time(self, effect: Effect) -> None:
        told = f"the run took more than {self._program.limits.seconds} s; "
        if self._deadline == self._run.deadline:
            told = f"{parent_of(self._run.callers)}, which waits for the answer, has no more time; "
        told += f"{self._absent} did not answer" if self._absent else "raise limits.timeout"
        if isinstance(effect, Act) and effect.is_sent:
            if finished := await self._outbox.look(self._errand(effect)):
                await self._append(finished)
                return
            told += f"; whether {effect.call.id} ({effect.call.action}) happened is not known"
        await self._decide(Outcome(State.FAILED, failure=Failure("TIME_EXCEEDED", told)))

    async def _delegate(self, delegation: Delegation) -> None:
        """Start the run of another agent, unless that is refused."""
        preparing = delegation.prepare(self._stage)
        new = await self._unless_nudged(preparing, self._seconds_left)
        if isinstance(new, Failure):
            await self._append(delegation.refused(new))
        elif new is not None:
            store, now = self._stage.store, self._stage.clock.now()
            try:
                await asyncio.to_thread(store.delegate, delegation.sent, new, now)
            except RequestIdReused as error:
                await self._append(delegation.refused(Failure(error.reason, str(error))))
                return
            self._stage.audience.tell(self._name)
            self._runs.begin(new.name)

    async def _await_answer(self, delegation: Delegation) -> None:
        """Wait for the end of a run that was started, however long: it has no more time than this.

        So a run never ends before one that it waits for.
        """
        if self._progress.is_cancel_requested:
            await self._runs.cancel(delegation.run)
        ended = await self._unless_nudged(self._runs.ended(delegation.run), None)
        if ended is not None:
            await self._append(delegation.answered(ended))

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
            callers=self._run.callers,
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

    async def _unless_nudged(
        self, work: Awaitable[Answer], seconds_max: float | None
    ) -> Answer | None:
        """Return what the work gives; None if it was broken off, by a nudge or for its time."""
        task = asyncio.ensure_future(work)
        nudged = asyncio.ensure_future(self._nudge.wait())
        try:
            await asyncio.wait(
                (task, nudged), timeout=seconds_max, return_when=asyncio.FIRST_COMPLETED
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
        return Errand(self._name, self._run.callers, self._program, act)

    def _delegation(self, act: Act) -> Delegation:
        return Delegation(self._run, act, self._deadline)

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
