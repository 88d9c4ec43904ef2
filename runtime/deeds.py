"""What a run has done for it: a search, a generation, a call, its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import datetime
from typing import Protocol, TypeVar

from chassis.errors import PeerUnavailable, RequestIdReused

from .connectors import Unsent
from .connectors.asking import ASK
from .conversation import ActionChoice, Message, Role
from .delegation import Delegation, Runs
from .errors import NotesExceeded
from .executing import Executor
from .facts import (
    UNKNOWN,
    ActionCall,
    ActionFinished,
    ApprovalAwaited,
    CodeExecuted,
    Event,
    Failure,
    GenerationFinished,
    HostCalled,
    KnowledgeRetrieved,
    Outcome,
    Passage,
    RunFinished,
)
from .journal.port import NewRun, Run
from .jsontext import write_json
from .machines.effects import Act, Close, Effect, Generate, Retrieve, prompt_sha256
from .outbox import EffectLost, Errand, Outbox, QuotaExceeded
from .patience import until_kept
from .policy import decided_arguments
from .ports import AnswerUnfit, Generation, PersonAwaited, Prompt, RunFails
from .program import Program
from .rules import Use
from .stage import Stage

# The reason of a call that had begun, and has certainly not happened.
NOT_SENT = "NOT_SENT"
# That of one for which its service has no room while the run lasts.
QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
# Calls of one generation; what a model asks for beyond is dropped.
CALLS_MAX = 16

Answer = TypeVar("Answer")


class Way(Protocol):
    """The run whose effects these are."""

    @property
    def ending(self) -> Outcome | None:
        """Return how the run will end, if that is decided."""

    @property
    def seconds_left(self) -> float:
        """Return how long the run may take still."""

    def current(self, act: Act) -> Act:
        """Return a call as far as it has come by now."""

    def awaits(self, act: Act) -> str:
        """Return the approval of the key manager that a call was last said to wait for."""

    async def record(
        self,
        *events: Event,
        begun: NewRun | None = None,
        late: bool = False,
        uses: tuple[Use, ...] = (),
    ) -> None:
        """Make events durable; raise `TooLate` if the end is decided, unless they may be late."""

    async def insist(self, effect: Effect, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return what the work gives, however often a peer has to be asked."""

    def asked(self, call_id: str) -> Sequence[HostCalled]:
        """Return what the code of a call has asked for so far."""

    async def results(
        self, call_ids: Sequence[str], *, seconds: float | None
    ) -> Sequence[ActionFinished] | None:
        """Return the results of calls of code; None if that takes longer."""

    def miss(self, effect: Effect, peer: str) -> None:
        """Remember who does not answer."""

    async def rest(self, effect: Effect, peer: str, attempt: int, *, least: float = 0.0) -> bool:
        """Wait before a peer is asked again; tell whether somebody has said something."""


class Deeds:
    """Does one effect after another, or many at once; each gives the event that it ends with."""

    def __init__(
        self,
        stage: Stage,
        runs: Runs,
        way: Way,
        run: Run,
        program: Program,
        *,
        deadline: datetime,
    ) -> None:
        self._stage = stage
        self._runs = runs
        self._way = way
        self._run = run
        self._program = program
        self._deadline = deadline
        self._outbox = Outbox(stage.connectors, stage.meter, turns=stage.turns, clock=stage.clock)
        self._declaring = asyncio.Lock()
        self._has_declared = False
        self._cancelled: set[str] = set()

    async def do(self, effect: Effect) -> Event | None:
        """Do what is wanted; raise `RunFails` where the run cannot go on."""
        match effect:
            case Retrieve():
                found = await self._way.insist(effect, lambda: self._search(effect.query))
                return KnowledgeRetrieved(found)
            case Generate():
                return await self._way.insist(effect, lambda: self._generate(effect))
            case Act() if effect.is_dry:
                return await self._way.insist(
                    effect, lambda: self._outbox.describe(self._errand(effect))
                )
            case Act() if not self._is_allowed(effect):
                told = f"the operator of this runtime does not let code use {effect.action.name}"
                return _refused(effect, "DENIED", told)
            case Act() if effect.action.code:
                return await self._execute(effect)
            case Act() if effect.action.catalogue_name == ASK:
                return await self._way.insist(effect, lambda: self._ask(effect))
            case Act() if effect.action.agent_bundle:
                return await self._delegate(effect, self._delegation(effect))
            case Act():
                return await self._act(effect)
            case Close():
                return await self._way.insist(effect, lambda: self._close(effect.outcome))
            case _:
                raise AssertionError(effect)

    async def cancel_delegated(self, effects: Iterable[Effect]) -> None:
        """Ask the runs that these effects wait for to stop, once."""
        for effect in effects:
            if isinstance(effect, Act) and effect.is_sent and effect.action.agent_bundle:
                run = self._delegation(effect).run
                if run not in self._cancelled:
                    await self._cancel(run)
                    self._cancelled.add(run)

    async def _cancel(self, run: str) -> None:
        request_id = f"{self._run.name}/cancel"
        # One that has more notes before it than it may have was asked to stop by somebody else, or
        # ends with the time that both have.
        with suppress(NotesExceeded):
            await until_kept(lambda: self._runs.cancel(run, request_id=request_id))

    # --- Asking ----------------------------------------------------------------------------------

    async def _search(self, query: str) -> tuple[Passage, ...]:
        limit = self._program.limits.passages
        return await self._stage.knowledge.search(self._program.collections, query, limit)

    async def _generate(self, effect: Generate) -> GenerationFinished:
        await self._declare()
        prompt = Prompt(
            request_id=f"{self._run.name}/step/{effect.step}",
            run=self._run.name,
            account=self._program.account,
            callers=self._run.callers,
            model=effect.model,
            agent_acts=bool(self._program.actions),
            messages=effect.messages,
            actions=effect.actions,
            choice=effect.choice,
            answer_schema=effect.answer_schema,
        )
        try:
            try:
                finished = await self._read(effect.step, prompt)
            except AnswerUnfit:
                # What it was, nobody has said; its gas is on the bill.
                finished = GenerationFinished(effect.step, "", (), (), 0)
            return replace(finished, prompt_sha256=prompt_sha256(effect))
        except BaseException:
            self._stage.audience.end(self._run.name, effect.step)
            raise

    async def _read(self, step: int, prompt: Prompt) -> GenerationFinished:
        audience, run = self._stage.audience, self._run.name
        audience.begin(run, step)
        async with aclosing(self._stage.model.generate(prompt)) as answer:
            async for part in answer:
                if isinstance(part, Generation):
                    return _generation_finished(step, part)
                audience.write(run, step, part)
        raise PeerUnavailable("linker")

    async def _declare(self) -> None:
        """Say what may be spent before anything is, once in the life of a process."""
        if self._has_declared:
            return
        async with self._declaring:
            if self._has_declared:
                return
            account, meter = self._program.account, self._stage.meter
            await meter.declare_budget(account, self._program.budget)
            if gas_max := self._program.limits.gas:
                await meter.limit_run(run=self._run.name, account=account, gas=gas_max)
            self._has_declared = True

    async def _close(self, outcome: Outcome) -> RunFinished:
        """Close the bill and have it signed. All of it may be repeated, however late."""
        run, account = self._run.name, self._program.account
        receipt = await self._stage.meter.close(run=run, account=account)
        signature = await self._stage.signer.sign_receipt(receipt.sha256)
        return RunFinished(outcome, replace(receipt, signature=signature))

    # --- Code ------------------------------------------------------------------------------------

    def _is_allowed(self, act: Act) -> bool:
        may = self._stage.code_may
        return may is None or "/" not in act.call.action or act.action.name in may

    async def _execute(self, act: Act) -> CodeExecuted:
        if self._stage.sandbox is None:
            # It had one when the run began.
            told = f"code is not executed here any more: {self._stage.sandbox_lack}"
            raise RunFails(Failure("SANDBOX_UNAVAILABLE", told))
        await self._way.insist(act, self._declare)
        executor = Executor(
            self._stage.sandbox,
            self._stage.meter,
            self._way,
            clock=self._stage.clock,
            run=self._run.name,
            account=self._program.account,
            callers=self._run.callers,
        )
        return await executor.execute(act)

    async def _ask(self, act: Act) -> ActionFinished:
        """Have the model of the agent answer a prompt of code, or of a step."""
        await self._declare()
        arguments = decided_arguments(act.call)
        asked = arguments.get("tokens_max", self._program.model.tokens_max)
        assert isinstance(asked, int), "arguments are valid under the schema"
        tokens_max = min(asked, self._program.model.tokens_max)
        prompt = Prompt(
            request_id=f"{self._run.name}/call/{act.call.id}",
            run=self._run.name,
            account=self._program.account,
            callers=self._run.callers,
            model=replace(self._program.model, tokens_max=tokens_max),
            agent_acts=bool(self._program.actions),
            messages=(Message(Role.USER, str(arguments["prompt"])),),
            actions=(),
            choice=ActionChoice.NONE,
        )
        async with aclosing(self._stage.model.generate(prompt)) as answer:
            async for part in answer:
                if isinstance(part, Generation):
                    told = write_json({"text": part.text})
                    return ActionFinished(act.call.id, act.call.action, told, gas=part.gas)
        raise PeerUnavailable("linker")

    # --- Acting ----------------------------------------------------------------------------------

    async def _act(self, act: Act) -> ActionFinished:
        """Perform a call until somebody knows what came of it, or no time is left to ask."""
        attempt = 0
        while True:
            errand = self._errand(act)
            try:
                if errand.act.is_unsent and self._way.ending:
                    return _refused(act, NOT_SENT, "it did not happen before the run had to end")
                if errand.act.is_sent and self._way.seconds_left <= 0:
                    found = await self._outbox.look(errand, self._way)
                    return found or _refused(act, NOT_SENT, "no time was left to send it again")
                await self._declare()
                return await self._outbox.perform(errand, self._way)
            except QuotaExceeded as error:
                told = f"no more is taken before {error.opens:%Y-%m-%d %H:%M:%S} UTC"
                return _refused(act, QUOTA_EXCEEDED, told)
            except EffectLost:
                return _lost(act)
            except PersonAwaited as error:
                # What waits for a signature was not performed.
                if not await self._is_decided(act, error):
                    return _undecided(self._way.current(act))
                attempt = 0
            except Unsent as error:
                await self._way.rest(act, error.peer, attempt, least=error.retry_seconds)
                attempt += 1
            except PeerUnavailable as error:
                await self._way.rest(act, error.peer, attempt)
                attempt += 1

    async def _is_decided(self, act: Act, awaited: PersonAwaited) -> bool:
        """Say what is waited for, and wait until it is decided; False if the run ends before."""
        self._way.miss(act, awaited.peer)
        if self._way.ending is None and self._way.awaits(act) != awaited.approval:
            await self._way.record(ApprovalAwaited(act.call, awaited.approval, awaited.rule))
        attempt = 0
        while self._way.ending is None and self._way.seconds_left > 0:
            with suppress(PeerUnavailable):
                if await self._stage.approvals.is_decided(awaited.approval):
                    return True
            if await self._way.rest(act, awaited.peer, attempt):
                return True
            attempt += 1
        return False

    async def _delegate(self, act: Act, delegation: Delegation) -> ActionFinished:
        """Start the run of another agent, unless that is refused, and wait for its end.

        It has no more time than this one: so a run never ends before one that it waits for.
        """
        if not self._way.current(act).is_sent:
            new = await self._way.insist(act, lambda: delegation.prepare(self._stage))
            if isinstance(new, Failure):
                return delegation.refused(new)
            try:
                await self._way.record(delegation.sent, begun=new)
            except RequestIdReused as error:
                return delegation.refused(Failure(error.reason, str(error)))
        return delegation.answered(await self._runs.ended(delegation.run))

    def _errand(self, act: Act) -> Errand:
        act = self._way.current(act)
        return Errand(self._run.name, self._run.callers, self._program, act)

    def _delegation(self, act: Act) -> Delegation:
        return Delegation(self._run, act, self._deadline)


def _refused(act: Act, reason: str, message: str) -> ActionFinished:
    told = write_json({"error": reason, "message": message})
    return ActionFinished(act.call.id, act.call.action, told, gas=0, reason=reason)


def _undecided(act: Act) -> ActionFinished:
    if act.is_unknown:
        # It waited to be sent again.
        return _lost(act)
    return _refused(act, "CANCELLED", "no person has decided about it")


def _lost(act: Act) -> ActionFinished:
    return _refused(act, UNKNOWN, "nobody knows whether it happened; do not repeat it")


def _generation_finished(step: int, generation: Generation) -> GenerationFinished:
    """Name the calls anew: what a model calls them is not unique within a run."""
    calls = tuple(
        ActionCall(f"step-{step}-{number}", call.action, call.arguments)
        for number, call in enumerate(generation.calls[:CALLS_MAX], start=1)
    )
    return GenerationFinished(step, generation.text, calls, generation.usages, generation.gas)
