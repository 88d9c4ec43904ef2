"""What an agent's manifest says about a chain: its node, and what a transaction may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from ...egress import Refused
from ...egress.addresses import read_url
from ...facts import Failure
from ...ports import RunFails
from .. import Order
from ..keyed import PLACE
from .values import amount

CONFIRMATIONS_DEFAULT = 2
CONFIRMATIONS_MAX = 128
GAS_LIMIT_DEFAULT = 500_000
GAS_LIMIT_MAX = 30_000_000

_URL: JsonValue = {
    "type": "string",
    "pattern": "^https?://[^#@\\s]+$",
    "maxLength": 500,
    "description": f"Where a node of the chain answers JSON-RPC; {PLACE} stands for `url_key`.",
}
_URL_KEY: JsonValue = {
    "type": "string",
    "pattern": "^[a-z0-9][a-z0-9-]{0,63}$",
    "description": "The name of the secret that belongs into the path of `url`.",
}
_CHAIN_ID: JsonValue = {
    "type": "integer",
    "minimum": 1,
    "maximum": 2**53 - 1,
    "description": "Which chain it is: 1 is Ethereum, 8453 is Base.",
}
_CONFIRMATIONS: JsonValue = {
    "type": "integer",
    "minimum": 1,
    "maximum": CONFIRMATIONS_MAX,
    "description": (
        "How many blocks, with its own, make something certain;"
        f" {CONFIRMATIONS_DEFAULT} if nothing is said."
    ),
}
_FEE_MAX = amount("The most wei that a unit of the chain's gas may cost, with the tip.")
_GAS_LIMIT_MAX: JsonValue = {
    "type": "integer",
    "minimum": 21_000,
    "maximum": GAS_LIMIT_MAX,
    "description": (
        "The most of the chain's gas that a transaction may use;"
        f" {GAS_LIMIT_DEFAULT} if nothing is said."
    ),
}
_READ: dict[str, JsonValue] = {
    "url": _URL,
    "url_key": _URL_KEY,
    "chain_id": _CHAIN_ID,
    "confirmations": _CONFIRMATIONS,
}
READ_SETTINGS: dict[str, JsonValue] = {
    "type": "object",
    "properties": _READ,
    "required": ["url", "chain_id"],
    "additionalProperties": False,
}
WRITE_SETTINGS: dict[str, JsonValue] = {
    "type": "object",
    "properties": {**_READ, "fee_per_gas_max": _FEE_MAX, "gas_limit_max": _GAS_LIMIT_MAX},
    "required": ["url", "chain_id", "fee_per_gas_max"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Settings:
    """The settings of an action; fees are in wei, and those of reads are 0."""

    url: str
    url_key: str
    chain_id: int
    confirmations: int
    fee_per_gas_max: int
    gas_limit_max: int


def settings_of(order: Order) -> Settings:
    """Return the settings of an order; raise `RunFails` where they cannot be right."""
    given = order.settings
    url, url_key = str(given["url"]), str(given.get("url_key", ""))
    if url.count(PLACE) != bool(url_key):
        raise _invalid(f"url must have {PLACE} once if there is a url_key, and else not at all")
    try:
        read_url(url.replace(PLACE, "key"))
    except Refused as error:
        raise _invalid(f"url: {error.message}") from error
    return Settings(
        url,
        url_key,
        _number(given, "chain_id", 0),
        _number(given, "confirmations", CONFIRMATIONS_DEFAULT),
        int(str(given.get("fee_per_gas_max", "0"))),
        _number(given, "gas_limit_max", GAS_LIMIT_DEFAULT),
    )


def _number(given: Mapping[str, JsonValue], name: str, usual: int) -> int:
    value = given.get(name, usual)
    assert isinstance(value, int | float), "settings are valid under the schema"
    # JSON Schema takes 1.0 for an integer.
    return int(value)


def _invalid(problem: str) -> RunFails:
    told = f"the setting {problem}; correct it and assemble again"
    return RunFails(Failure("SETTINGS_INVALID", told))
