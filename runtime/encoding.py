"""Facts as JSON, as the journal keeps them."""

from __future__ import annotations

from pydantic import TypeAdapter

from .facts import (
    ActionDecided,
    ActionFinished,
    ApprovalAwaited,
    ApprovalDecided,
    Callers,
    CancelRequested,
    CodeExecuted,
    EffectDrafted,
    EffectSent,
    EffectUnknown,
    EffectUnsent,
    EndDecided,
    Event,
    GenerationFinished,
    HostCalled,
    KnowledgeRetrieved,
    Outcome,
    PauseRequested,
    ResumeRequested,
    RunFinished,
    RunStarted,
    SignalSent,
    SleepStarted,
)

# The names by which the journal knows them; a name in a journal is there for good.
_KINDS: dict[str, type[Event]] = {
    "started": RunStarted,
    "retrieved": KnowledgeRetrieved,
    "generated": GenerationFinished,
    "decided": ActionDecided,
    "sent": EffectSent,
    "drafted": EffectDrafted,
    "unsent": EffectUnsent,
    "unknown": EffectUnknown,
    "awaited": ApprovalAwaited,
    "approved": ApprovalDecided,
    "slept": SleepStarted,
    "asked": HostCalled,
    "executed": CodeExecuted,
    "acted": ActionFinished,
    "cancel_requested": CancelRequested,
    "pause_requested": PauseRequested,
    "resume_requested": ResumeRequested,
    "signalled": SignalSent,
    "ending": EndDecided,
    "finished": RunFinished,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_ADAPTERS: dict[str, TypeAdapter[Event]] = {
    name: TypeAdapter(kind) for name, kind in _KINDS.items()
}
_OUTCOME = TypeAdapter(Outcome)
_CALLERS = TypeAdapter(Callers)


def encode(event: Event) -> tuple[str, bytes]:
    """Return the name and the JSON of an event, as the journal keeps them."""
    name = _NAMES[type(event)]
    # As `dump_json` without any option, which takes longer over its options than over the fact.
    return name, _ADAPTERS[name].serializer.to_json(event)


def decode(name: str, fact: bytes) -> Event:
    """Return the event that `encode` was given."""
    return _ADAPTERS[name].validate_json(fact)


def encode_callers(callers: Callers) -> bytes:
    """Return the JSON of callers."""
    return _CALLERS.dump_json(callers)


def decode_callers(text: bytes) -> Callers:
    """Return the callers that `encode_callers` was given."""
    return _CALLERS.validate_json(text)


def encode_outcome(outcome: Outcome) -> bytes:
    """Return the JSON of an outcome."""
    return _OUTCOME.dump_json(outcome)


def decode_outcome(text: bytes) -> Outcome:
    """Return the outcome that `encode_outcome` was given."""
    return _OUTCOME.validate_json(text)
