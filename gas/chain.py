"""Who calls whom: a run may call others, and the outermost agent pays for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.errors import InvalidField

CALLERS_MAX = 8
# Where agents are that nobody put anywhere.
DEFAULT_TENANT = "tenants/default"


@dataclass(frozen=True)
class Caller:
    """A run, and the account that pays for it."""

    account: str
    run: str


def require_chain(callers: Sequence[Caller], spender: Caller) -> None:
    """Refuse callers among whom somebody comes twice, or the spender itself."""
    accounts, runs = {spender.account}, {spender.run}
    for i, caller in reversed(list(enumerate(callers))):
        if caller.account in accounts:
            raise InvalidField(f"callers[{i}].account", "comes again; nobody calls itself")
        if caller.run in runs:
            raise InvalidField(f"callers[{i}].run", "comes again; each run has one caller")
        accounts.add(caller.account)
        runs.add(caller.run)


@dataclass(frozen=True)
class Call:
    """A run that called another one, as a line of its receipt; `gas` is what it was charged."""

    caller_run: str
    run: str
    account: str
    line: int
    gas: int = 0

    @property
    def item(self) -> str:
        """Return what the receipt calls it: `agent {name}/{uuid of the run}`."""
        return f"{agent_item(self.account)}/{self.run.partition('/')[2]}"


def agent_item(account: str) -> str:
    """Return an agent as an item that another one pays for."""
    return f"agent {account.partition('/')[2]}"
