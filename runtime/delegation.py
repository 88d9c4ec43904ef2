"""A call of another agent: a run of its own, started once and waited for."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from .bundles import SealedBundle
from .errors import BundleInvalid, BundleNotFound
from .facts import ActionFinished, Caller, EffectSent, Failure, State
from .journal.port import Lease, NewRun, Run
from .jsontext import write_json
from .machines.effects import Act
from .policy import decided_arguments
from .stage import Stage

# Agents in a chain, the one that somebody outside asked among them.
CHAIN_LENGTH_MAX = 8


class Runs(Protocol):
    """The runs of this runtime, as one that waits for another needs them."""

    def begin(self, lease: Lease) -> None:
        """Take up a run."""

    async def cancel(self, name: str, *, request_id: str) -> Run:
        """Ask a run to stop; asking again changes nothing."""

    async def ended(self, name: str) -> Run:
        """Return a run once it has ended."""


@dataclass(frozen=True)
class Delegation:
    """A call that policy has allowed, in the run that makes it, which has time until `deadline`."""

    caller: Run
    act: Act
    deadline: datetime

    @property
    def request_id(self) -> str:
        """Return the request id of the run that answers."""
        return f"{self.caller.name}/call/{self.act.call.id}"

    @property
    def run(self) -> str:
        """Return the name of the run that answers; the same call always has the same."""
        caller = uuid.UUID(self.caller.name.removeprefix("runs/"))
        return f"runs/{uuid.uuid5(caller, self.act.call.id)}"

    @property
    def sent(self) -> EffectSent:
        """Return the intent."""
        return EffectSent(self.act.call.id, self.request_id, self.run, self.act.call.action)

    async def prepare(self, stage: Stage) -> NewRun | Failure:
        """Return the run that is to answer, or why there will be none."""
        caller = Caller(self.caller.account, self.caller.name)
        callers = (*self.caller.callers, caller)
        if len(callers) >= CHAIN_LENGTH_MAX:
            told = f"{len(callers)} agents wait for each other already, and no more may"
            return Failure("CALLS_TOO_DEEP", f"{told}; answer without asking another agent")
        try:
            sealed = await self._fetch(stage)
            program = await stage.open(sealed)
        except (BundleInvalid, BundleNotFound) as error:
            return Failure(error.reason, str(error))
        # Bundles pin each other by digest, so there are no true cycles; but an older version of
        # an agent that waits has its account, and would spend what that one counts on.
        if program.account in {caller.account for caller in callers}:
            told = f"{program.account} waits for the answer itself, and is in a chain only once"
            return Failure("AGENT_REPEATED", f"{told}; answer without asking it")
        request = decided_arguments(self.act.call)["request"]
        return NewRun(
            name=self.run,
            request_id=self.request_id,
            bundle=sealed.name,
            payload=sealed.payload,
            account=program.account,
            input=write_json(request),
            dry_run=self.caller.dry_run,
            callers=callers,
            deadline=self.deadline,
        )

    async def _fetch(self, stage: Stage) -> SealedBundle:
        wanted = self.act.action.agent_bundle
        sealed = await stage.bundles.get(wanted)
        if sealed.name != wanted:
            raise BundleInvalid(f"it is not {wanted}")
        return sealed

    def answered(self, ended: Run) -> ActionFinished:
        """Return what the model is told of a run that has ended, and what that one cost."""
        assert ended.end_time is not None, "only an end is an answer"
        if ended.state == State.SUCCEEDED:
            call = self.act.call
            told = write_json({"answer": ended.answer})
            return ActionFinished(call.id, call.action, told, gas=ended.gas)
        cancelled = Failure("CANCELLED", f"{ended.name} was cancelled")
        return self.refused(ended.failure or cancelled, gas=ended.gas)

    def refused(self, failure: Failure, *, gas: int = 0) -> ActionFinished:
        """Return what the model is told instead of an answer, which may have cost gas."""
        call = self.act.call
        told = write_json({"error": failure.reason, "message": failure.message})
        return ActionFinished(call.id, call.action, told, gas=gas, reason=failure.reason)
