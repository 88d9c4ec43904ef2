"""What happened in a run: the events of its journal and the values that they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, TypeAlias

from pydantic import ConfigDict

from chassis.canonical import sha256_hex

# The reason of a call of which nobody knows whether it happened.
UNKNOWN = "UNKNOWN"


class State(StrEnum):
    """Where a run is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Decision(StrEnum):
    """What policy says about a call."""

    ALLOW = "allow"
    # Once a person allows it.
    ASK = "ask"
    DENY = "deny"
    DRY_RUN = "dry_run"


@dataclass(frozen=True)
class ActionCall:
    """A model's wish; `arguments` is JSON text that nobody has checked yet."""

    id: str
    action: str
    arguments: str


@dataclass(frozen=True)
class Usage:
    """An amount of one meter, named as in the contract without its prefix: `input_tokens`."""

    meter: str
    amount: int


@dataclass(frozen=True)
class Charge:
    """One line of a receipt."""

    line: int
    item: str
    usages: tuple[Usage, ...]
    gas: int
    price_version: str


@dataclass(frozen=True)
class Signature:
    """A signature with what is needed to check it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        ser_json_bytes="base64", val_json_bytes="base64"
    )

    key: str
    algorithm: str
    public_key: bytes
    value: bytes


@dataclass(frozen=True)
class Receipt:
    """The bill of a run; signed once the run has ended."""

    run: str
    account: str
    charges: tuple[Charge, ...]
    total_gas: int
    sha256: str
    size_bytes: int
    signature: Signature | None = None


@dataclass(frozen=True)
class Failure:
    """Why a run failed: a stable code in capitals, and a sentence with the way out."""

    reason: str
    message: str


@dataclass(frozen=True)
class Passage:
    """A part of a document that fits a query."""

    document: str
    text: str


@dataclass(frozen=True)
class Outcome:
    """How a run ends, decided once and before anything of its end happens."""

    state: State
    answer: str = ""
    failure: Failure | None = None


@dataclass(frozen=True)
class Caller:
    """A run that waits for the answer of another, and the account that it is on."""

    account: str
    run: str


# Who waits for a run, outermost first: none where somebody outside started it.
Callers: TypeAlias = tuple[Caller, ...]


@dataclass(frozen=True)
class RunStarted:
    """The run was accepted; `input` is JSON text."""

    bundle: str
    input: str
    dry_run: bool
    callers: Callers = ()
    # The run whose first events come next, if it is a fork.
    origin: str = ""


@dataclass(frozen=True)
class KnowledgeRetrieved:
    """Passages were found; they are kept, so that a resumed run sees the same prompt."""

    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class GenerationFinished:
    """A model answered; `step` counts from 1."""

    step: int
    text: str
    calls: tuple[ActionCall, ...]
    usages: tuple[Usage, ...]
    gas: int
    # Of what the model was asked; empty in journals of earlier releases.
    prompt_sha256: str = ""


@dataclass(frozen=True)
class ActionDecided:
    """Policy decided about a call; `rule` is the rule that did."""

    call: ActionCall
    decision: Decision
    rule: str


@dataclass(frozen=True)
class EffectSent:
    """An effect may happen from now on. After a crash the runtime looks whether it did.

    `run` is the one of the agent that is to answer; empty for other actions. A call has another one
    each time that it is sent again; `action` is empty in journals of earlier releases. `time` is
    when the call was first sent, unless that has certainly not happened, also where this is a later
    time; None in earlier releases, and where an agent is asked.
    """

    call_id: str
    idempotency_key: str
    run: str = ""
    action: str = ""
    time: datetime | None = None


@dataclass(frozen=True)
class EffectDrafted:
    """What is to be sent was laid down: until another one is, this is what is sent and looked for.

    `draft` is a text of the connector's own, which nobody else reads.
    """

    call_id: str
    draft: str


@dataclass(frozen=True)
class EffectUnsent:
    """What was sent has certainly not happened, nor ever will: it may be sent again."""

    call_id: str


@dataclass(frozen=True)
class EffectUnknown:
    """An answer got lost: nobody knows whether an effect happened until somebody looks."""

    call_id: str


@dataclass(frozen=True)
class ApprovalAwaited:
    """A person has to decide about a call; `rule` asks.

    `approval` is that of the key manager, where a key is to be used; without one, the policy of the
    agent asks, and its answer is an `ApprovalDecided`.
    """

    call: ActionCall
    approval: str
    rule: str

    @property
    def arguments_sha256(self) -> str:
        """Return what who decides proves to have seen."""
        return sha256_hex(self.call.arguments.encode())


@dataclass(frozen=True)
class ApprovalDecided:
    """A person has decided about a call with the arguments of this digest; `who` is a subject."""

    call_id: str
    arguments_sha256: str
    allows: bool
    who: str


@dataclass(frozen=True)
class SleepStarted:
    """A call ends at a time, or before where it waits for a signal and that comes.

    One that nobody has decided about begins then: an earlier try has failed.
    """

    call_id: str
    until: datetime
    signal: str = ""


@dataclass(frozen=True)
class HostCalled:
    """The code of a call has asked its host for some calls at once; it waits for all results.

    `now` is the time that it has seen since the results before, or since its start.
    """

    call_id: str
    calls: tuple[ActionCall, ...]
    now: datetime


@dataclass(frozen=True)
class CodeExecuted:
    """The code of a call has ended; with the results in the journal it does so again.

    `result` is JSON text and `reason` is empty unless it failed; `seed` is that of its dice.
    """

    call_id: str
    result: str
    reason: str
    gas: int
    fuel: int
    seed: int
    now: datetime
    logs: tuple[str, ...] = ()
    logs_dropped: int = 0


@dataclass(frozen=True)
class ActionFinished:
    """A call has a result, JSON text as the model sees it; `reason` is empty unless it failed."""

    call_id: str
    action: str
    result: str
    gas: int
    reason: str = ""


@dataclass(frozen=True)
class CancelRequested:
    """Somebody asked the run to stop."""


@dataclass(frozen=True)
class PauseRequested:
    """Somebody asked that nothing new begins until `ResumeRequested`."""


@dataclass(frozen=True)
class ResumeRequested:
    """Somebody asked the run to go on."""


@dataclass(frozen=True)
class SignalSent:
    """Somebody sent a signal; `payload` is JSON text. It waits until a call waits for it."""

    signal: str
    payload: str


@dataclass(frozen=True)
class EndDecided:
    """How the run will end, once what is under way has ended. Nothing new begins."""

    outcome: Outcome


@dataclass(frozen=True)
class RunFinished:
    """The run ended; nothing follows."""

    outcome: Outcome
    receipt: Receipt


# What outsiders want of a run.
Note: TypeAlias = CancelRequested | PauseRequested | ResumeRequested | SignalSent | ApprovalDecided
Event: TypeAlias = (
    RunStarted
    | KnowledgeRetrieved
    | GenerationFinished
    | ActionDecided
    | EffectSent
    | EffectDrafted
    | EffectUnsent
    | EffectUnknown
    | ApprovalAwaited
    | SleepStarted
    | HostCalled
    | CodeExecuted
    | ActionFinished
    | EndDecided
    | RunFinished
    | Note
)


def parent_of(callers: Callers) -> str:
    """Return the run that waits for the answer itself; empty if there is none."""
    return callers[-1].run if callers else ""
