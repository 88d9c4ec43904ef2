"""Operating errors of the linker, one class per reason of its contract."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted


@dataclass(eq=False)
class ProviderNotFound(NotFound):
    """A model was asked of a provider that this linker does not have."""

    reason = "PROVIDER_NOT_FOUND"
    message = "there is no provider {provider}; this linker knows {known}"

    provider: str
    known: str


@dataclass(eq=False)
class ModelNotFound(NotFound):
    """The provider has no such model."""

    reason = "MODEL_NOT_FOUND"
    message = "there is no model {model}; 'actionvm models list' shows those that there are"

    model: str


@dataclass(eq=False)
class ModelUnusable(FailedPrecondition):
    """The model is there, but does not load, has changed, or lacks what is asked for."""

    reason = "MODEL_UNUSABLE"
    message = "model {model} cannot be used: {problem}"

    model: str
    problem: str


@dataclass(eq=False)
class LinkNotFound(NotFound):
    """No link has this name."""

    reason = "LINK_NOT_FOUND"
    message = "there is no link {link}; link the model again"

    link: str


@dataclass(eq=False)
class ContextExceeded(InvalidArgument):
    """The conversation and the longest answer do not fit into the model together."""

    reason = "CONTEXT_EXCEEDED"
    message = (
        "{input_tokens} tokens of conversation and tokens_max {tokens_max} do not fit into the "
        "context of {context_tokens} tokens; shorten the one or the other"
    )

    input_tokens: int
    tokens_max: int
    context_tokens: int


@dataclass(eq=False)
class SchemaUnsupported(InvalidArgument):
    """No grammar can promise that arguments satisfy this schema."""

    reason = "SCHEMA_UNSUPPORTED"
    message = "the schema of action {action} cannot be made into a grammar, simplify it: {problem}"

    action: str
    problem: str


@dataclass(eq=False)
class BudgetExceeded(ResourceExhausted):
    """The worst case of a generation costs more than the account has left."""

    reason = "BUDGET_EXCEEDED"
    message = "{account} cannot pay for this generation: {problem}"

    account: str
    problem: str


@dataclass(eq=False)
class GasRefused(FailedPrecondition):
    """The gas system does not let this account spend, whatever the amount."""

    reason = "GAS_REFUSED"
    message = "gas refused {account}: {problem}"

    account: str
    problem: str


@dataclass(eq=False)
class QueueFull(ResourceExhausted):
    """As many generations wait as may wait."""

    reason = "QUEUE_FULL"
    message = "{waiting} generations wait already; retry later"

    waiting: int
