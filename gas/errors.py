"""Operating errors of the gas system, one class per reason of its contract."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.errors import FailedPrecondition, NotFound, ResourceExhausted, Unavailable


@dataclass(eq=False)
class PriceNotFound(NotFound):
    """The price table has nothing that matches an item."""

    reason = "PRICE_NOT_FOUND"
    message = "there is no price for '{item}'; add it with `actionvm gas prices update FILE`"

    item: str


@dataclass(eq=False)
class AccountNotFound(NotFound):
    """Nothing was ever budgeted for an account, and nothing spent."""

    reason = "ACCOUNT_NOT_FOUND"
    message = "{account} is unknown; it exists once it has a budget: set one"

    account: str


@dataclass(eq=False)
class HoldNotFound(NotFound):
    """Nobody made a hold of this name."""

    reason = "HOLD_NOT_FOUND"
    message = "there is no {hold}; use the name that ReserveGas returned"

    hold: str


@dataclass(eq=False)
class BudgetMissing(FailedPrecondition):
    """An agent may spend only what a hard budget covers."""

    reason = "BUDGET_MISSING"
    message = "{account} has no hard budget that covers {item}; set one before it spends"

    account: str
    item: str


@dataclass(eq=False)
class RunClosed(FailedPrecondition):
    """A run that has its final receipt spends no more."""

    reason = "RUN_CLOSED"
    message = "{run} has its final receipt; start a new run"

    run: str


@dataclass(eq=False)
class HoldReleased(FailedPrecondition):
    """A hold was given back, so nothing is left to charge."""

    reason = "HOLD_RELEASED"
    message = "{hold} was given back; reserve again, with a new request_id"

    hold: str


@dataclass(eq=False)
class HoldSettled(FailedPrecondition):
    """A hold was charged, so it cannot be given back."""

    reason = "HOLD_SETTLED"
    message = "{hold} was charged with {gas} gas; a charge is final"

    hold: str
    gas: int


@dataclass(eq=False)
class HoldOpen(FailedPrecondition):
    """A hold may still be charged, so nothing of its charge can be returned."""

    reason = "HOLD_OPEN"
    message = "{hold} may still be charged; settle or release it first"

    hold: str


@dataclass(eq=False)
class LedgerUnavailable(Unavailable):
    """The database does not answer, or takes no writes; nothing of the call may have happened."""

    reason = "LEDGER_UNAVAILABLE"
    message = "the database of the ledger does not take the call; repeat it, and see its log"


@dataclass(eq=False)
class LedgerFenced(Unavailable):
    """Another process has opened the ledger for writing since; this one writes no more."""

    reason = "LEDGER_FENCED"
    message = "another gas system has taken over the ledger; call that one, and stop this one"


@dataclass(eq=False)
class BudgetExceeded(ResourceExhausted):
    """A hold does not fit into what is left of the tightest of all budgets that apply to it."""

    reason = "BUDGET_EXCEEDED"
    message = (
        "the call needs {gas} gas, and {account} has {gas_available} left of {budget} "
        "(period {period}); raise the budget, ask for less, or wait for the next period"
    )

    account: str
    budget: str
    gas: int
    gas_available: int
    period: str


@dataclass(eq=False)
class PriceTableNotFound(NotFound):
    """No table of this version was ever scheduled."""

    reason = "PRICE_TABLE_NOT_FOUND"
    message = "there is no price table {version}; ListPriceTables has all"

    version: str


@dataclass(eq=False)
class DaoNotFound(NotFound):
    """Nobody set the holdings of a DAO."""

    reason = "DAO_NOT_FOUND"
    message = "{dao} is unknown; set its holdings first"

    dao: str


@dataclass(eq=False)
class RunNotFound(NotFound):
    """A run has spent nothing and was never closed."""

    reason = "RUN_NOT_FOUND"
    message = "{run} is unknown to the ledger; it has spent nothing, and was never closed"

    run: str


@dataclass(eq=False)
class RunOpen(FailedPrecondition):
    """A run may still spend, so it cannot be billed."""

    reason = "RUN_OPEN"
    message = "{run} may still spend; close it first"

    run: str


@dataclass(eq=False)
class RunCalled(FailedPrecondition):
    """Another run called this one, and has it on its bill."""

    reason = "RUN_CALLED"
    message = "{run} was called by {outermost}; bill that one"

    run: str
    outermost: str


@dataclass(eq=False)
class WebhookNotFound(NotFound):
    """Nobody made a webhook of this name, or it was deleted."""

    reason = "WEBHOOK_NOT_FOUND"
    message = "there is no {webhook}; ListWebhooks has all"

    webhook: str


@dataclass(eq=False)
class WebhooksExhausted(ResourceExhausted):
    """There are as many webhooks as the service offers every event to."""

    reason = "WEBHOOKS_EXHAUSTED"
    message = "there are {webhooks_max} webhooks, which is all; delete one that is not needed"

    webhooks_max: int


@dataclass(eq=False)
class WebhookKeyMissing(FailedPrecondition):
    """Without a key, nobody could tell our events from forged ones."""

    reason = "WEBHOOK_KEY_MISSING"
    message = "events cannot be signed; start the service with GAS_WEBHOOK_KEY_FILE"
