"""What the actions on CDP take: addresses, amounts, networks, and the settings of an agent."""

from __future__ import annotations

import re

from pydantic import JsonValue

from .api import URL_DEFAULT

# The networks that CDP sends transactions to, by their chain ids (https://chainid.network).
CHAINS = {
    "arbitrum": 42161,
    "arbitrum-sepolia": 421614,
    "avalanche": 43114,
    "base": 8453,
    "base-sepolia": 84532,
    "ethereum": 1,
    "ethereum-sepolia": 11155111,
    "optimism": 10,
    "polygon": 137,
    "world": 480,
    "world-sepolia": 4801,
}
SWAP_NETWORKS = ("arbitrum", "base", "ethereum", "optimism", "polygon")
BALANCE_NETWORKS = ("base", "base-sepolia", "ethereum")
FAUCET_NETWORKS = ("base-sepolia", "ethereum-hoodi", "ethereum-sepolia")
# What stands for ether and its kin where the address of a token is wanted (EIP-7528).
NATIVE = "0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE"
# The most that a number of the EVM can be.
WORD_MAX = 2**256 - 1

ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
# As CDP tells it, which may have zeros before it.
AMOUNT = re.compile(r"[0-9]{1,78}")
HASH = re.compile(r"0x[0-9a-fA-F]{64}")
HEX = re.compile(r"0x(?:[0-9a-fA-F]{2}){0,65536}")

_KEY_ID: JsonValue = {
    "type": "string",
    "pattern": "^[A-Za-z0-9/_-]{1,256}$",
    "description": "What CDP calls the API key, which the credential is the secret of.",
}
_URL: JsonValue = {
    "type": "string",
    "pattern": "^https?://[^/?#@\\s]+$",
    "maxLength": 300,
    "description": f"Where CDP is; {URL_DEFAULT} if nothing is said.",
}
_WALLET: JsonValue = {
    "type": "string",
    "pattern": "^[a-z0-9][a-z0-9-]{0,63}$",
    "description": "The name of the secret that is the project's wallet secret.",
}
SETTINGS: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"key_id": _KEY_ID, "url": _URL},
    "required": ["key_id"],
    "additionalProperties": False,
}
WALLET_SETTINGS: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"key_id": _KEY_ID, "url": _URL, "wallet": _WALLET},
    "required": ["key_id", "wallet"],
    "additionalProperties": False,
}
TEXT: JsonValue = {"type": "string"}


def address(description: str) -> JsonValue:
    """Return the schema of an address."""
    return {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$", "description": description}


def amount(description: str) -> JsonValue:
    """Return the schema of a whole number, which a text has exactly."""
    return {"type": "string", "pattern": "^(0|[1-9][0-9]{0,77})$", "description": description}


def network(names: tuple[str, ...]) -> JsonValue:
    """Return the schema of a network."""
    return {"type": "string", "enum": [*names]}


FROM = address("The account that pays, one of the project's own.")
NETWORK = network((*CHAINS,))
