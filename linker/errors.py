"""Operating errors of the linker, one class per reason of its contract."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)


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
class CredentialRefused(FailedPrecondition):
    """The key manager does not release a key, or the provider does not take it."""

    reason = "CREDENTIAL_REFUSED"
    message = "the credential for {model} does not open it: {problem}"

    model: str
    problem: str


@dataclass(eq=False)
class ModelRefused(InvalidArgument):
    """The provider understands what it is asked, and does not do it; again would not help."""

    reason = "MODEL_REFUSED"
    message = "{model} refuses: {problem}"

    model: str
    problem: str


@dataclass(eq=False)
class RateLimited(ResourceExhausted):
    """The provider wants fewer calls or tokens; 0 seconds where it does not say when to return."""

    reason = "RATE_LIMITED"
    message = "{model} has had enough for now: {problem}; retry after {retry_after_seconds} seconds"

    model: str
    problem: str
    retry_after_seconds: float


@dataclass(eq=False)
class ProviderUnavailable(Unavailable):
    """The provider does not answer, is overloaded, or broke off; another try may succeed."""

    reason = "PROVIDER_UNAVAILABLE"
    message = "{model} does not answer: {problem}; retry later"

    model: str
    problem: str
    retry_after_seconds: float = 0.0


@dataclass(eq=False)
class PriceNotFound(NotFound):
    """Gas cannot charge for the model, so it is not called."""

    reason = "PRICE_NOT_FOUND"
    message = "gas has no price for {item}; add one: actionvm gas prices update FILE"

    item: str


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
    """No grammar can promise that arguments, or the answer, satisfy this schema."""

    reason = "SCHEMA_UNSUPPORTED"
    message = "the schema of {action} cannot be made into a grammar, simplify it: {problem}"

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


@dataclass(eq=False)
class ModelExists(AlreadyExists):
    """Other weights have the name that these are to have."""

    reason = "MODEL_EXISTS"
    message = (
        "there is another model {model}; choose a name with --name, or remove that one: "
        "actionvm models remove {model}"
    )

    model: str


@dataclass(eq=False)
class StorageUnusable(FailedPrecondition):
    """The folder of the models is full, or does not let itself be written."""

    reason = "STORAGE_UNUSABLE"
    message = "the folder of the models cannot do that for {model}: {problem}"

    model: str
    problem: str


@dataclass(eq=False)
class ChecksumMismatch(FailedPrecondition):
    """Weights are not those that were promised."""

    reason = "CHECKSUM_MISMATCH"
    message = "the SHA-256 of {model} is {found}, not {expected}; {way_out}"

    model: str
    found: str
    expected: str
    way_out: str


@dataclass(eq=False)
class HubFileNotFound(NotFound):
    """The hub has no such repository, revision or file."""

    reason = "HUB_FILE_NOT_FOUND"
    message = "the hub has no {what}; {way_out}"

    what: str
    way_out: str


@dataclass(eq=False)
class HubDenied(FailedPrecondition):
    """The hub does not give this file to this caller."""

    reason = "HUB_DENIED"
    message = "the hub does not give away {repository}: {problem}"

    repository: str
    problem: str


@dataclass(eq=False)
class HubUnavailable(Unavailable):
    """The hub is not reachable, or does not want to answer now."""

    reason = "HUB_UNAVAILABLE"
    message = "the hub does not answer: {problem}; the same command continues where this one ended"

    problem: str
