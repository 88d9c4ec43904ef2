"""The texts of requests: each is what the contract says, or is refused with its field."""

from __future__ import annotations

import re

from chassis import fields
from chassis.errors import InvalidField

CAUSE_CHARACTERS_MAX = 256
_UUID = "00000000-0000-4000-8000-000000000000"
_ITEM = re.compile(r"[a-z]{1,16} [!-)+-~]{1,128}")
# Also in price tables.
ITEM_PATTERN = re.compile(r"[a-z]{1,16} (?:[!-)+-~]{1,128}\*?|\*)")
_TENANT = re.compile(r"tenants/[a-z0-9-]{1,63}")
_PAYER = re.compile(f"{fields.ACCOUNT_NAME.pattern}|{_TENANT.pattern}")
_BUDGET_ID = re.compile(r"[a-z0-9-]{1,63}")
_BUDGET = re.compile(rf"({_PAYER.pattern})/budgets/(manifest|operator)\.({_BUDGET_ID.pattern})")
_PRICE_VERSION = re.compile(r"[0-9a-f]{12}")
_SEQUENCE = re.compile(r"[0-9]{1,18}")


def account(field: str, value: str) -> str:
    """Return the name of an account."""
    return fields.require_match(field, value, fields.ACCOUNT_NAME, example="agents/market-brief")


def tenant(value: str, *, field: str = "tenant") -> str:
    """Return the name of a tenant."""
    return fields.require_match(field, value, _TENANT, example="tenants/default")


def payer(field: str, value: str) -> str:
    """Return the name of an agent or of a tenant."""
    return fields.require_match(field, value, _PAYER, example="agents/market-brief")


def budget_id(value: str) -> str:
    """Return what tells budgets of one account and origin apart."""
    return fields.require_match("budget.id", value, _BUDGET_ID, example="default")


def budget(value: str) -> tuple[str, str, str]:
    """Return account, origin and id of a budget."""
    example = "agents/market-brief/budgets/operator.default"
    fields.require_match("name", value, _BUDGET, example=example)
    account_name, _, own = value.partition("/budgets/")
    origin, _, id_ = own.partition(".")
    return account_name, origin, id_


def run(value: str, *, field: str = "run") -> str:
    """Return the name of a run."""
    return fields.require_match(field, value, fields.RUN_NAME, example=f"runs/{_UUID}")


def hold(value: str) -> str:
    """Return the name of a hold."""
    return fields.require_match("hold", value, fields.HOLD_NAME, example=f"holds/{_UUID}")


def item(value: str, *, field: str = "item") -> str:
    """Return what is being paid for."""
    return fields.require_match(field, value, _ITEM, example="model local/babbler")


def item_pattern(field: str, value: str) -> str:
    """Return an item, or the beginning of several that ends with `*`."""
    return fields.require_match(field, value, ITEM_PATTERN, example="model openai/*")


def cause(value: str) -> str:
    """Return why gas is returned, as the ledger keeps it."""
    fields.require_size("cause", value, size_max=CAUSE_CHARACTERS_MAX)
    if not value.isprintable():
        raise InvalidField("cause", "has characters that cannot be printed")
    return value


def price_version(value: str) -> str:
    """Return the version of a price table."""
    return fields.require_match("version", value, _PRICE_VERSION, example="b702f63637b4")


def sequence(page_token: str) -> int:
    """Return the sequence that a page of entries starts after."""
    start = fields.page_start(page_token)
    if start is None:
        return 0
    if not _SEQUENCE.fullmatch(start[0]):
        raise InvalidField("page_token", "was not made by this service")
    return int(start[0])
