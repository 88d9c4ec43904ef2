"""What the actions on CDP take: addresses, amounts, networks, and the settings of an agent."""

from __future__ import annotations

import re

from pydantic import JsonValue

from ..evm.values import address
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

# As CDP tells it, which may have zeros before it.
AMOUNT = re.compile(r"[0-9]{1,78}")

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


def network(names: tuple[str, ...]) -> JsonValue:
    """Return the schema of a network."""
    return {"type": "string", "enum": [*names]}


FROM = address("The account that pays, one of the project's own.")
NETWORK = network((*CHAINS,))
