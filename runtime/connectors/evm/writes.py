"""The actions that send transactions: `evm.send`, `evm.send_token` and `evm.write`."""

from __future__ import annotations

from pydantic import JsonValue

from chassis.ethereum import parse_address

from .. import Connector, Descriptor, Order, Result, closed_object
from ..keyed import told
from .abi import encode
from .action import Write, text_of
from .sending import Call, Sender
from .settings import WRITE_SETTINGS
from .transactions import transfer_of_token
from .types import PARAMETERS_MAX, SIGNATURE_CHARACTERS_MAX, read_method
from .values import TEXT, address, amount, too_large

_SENT = closed_object(transaction=TEXT, block={"type": "integer"}, fee=TEXT)
_ENDS = "Waits until that is certain; gives the transaction, its block, and the fee in wei."
METHOD: JsonValue = {
    "type": "string",
    "minLength": 3,
    "maxLength": SIGNATURE_CHARACTERS_MAX,
    "description": "As in Solidity: balanceOf(address owner) returns (uint256).",
}
ARGUMENTS: JsonValue = {
    "type": "array",
    "maxItems": PARAMETERS_MAX,
    "description": (
        "In the order of the method: whole numbers as texts, bytes as 0x…, arrays and tuples as"
        " lists."
    ),
}

_SEND = Descriptor(
    name="evm.send",
    description=f"Sends ether, or what the chain has instead. It cannot be taken back. {_ENDS}",
    parameters_schema=closed_object(
        to=address("Who gets it."), value=amount("In wei, 10^18 of them are one.")
    ),
    effect="write",
    needs_credential=True,
    settings_schema=WRITE_SETTINGS,
    is_reconcilable=True,
    output_schema=_SENT,
)
_SEND_TOKEN = Descriptor(
    name="evm.send_token",
    description=f"Sends a token (ERC-20), such as USDC. It cannot be taken back. {_ENDS}",
    parameters_schema=closed_object(
        token=address("The contract of the token."),
        to=address("Who gets it."),
        value=amount("In the smallest units of the token: 1000000 is one USDC."),
    ),
    effect="write",
    needs_credential=True,
    settings_schema=WRITE_SETTINGS,
    is_reconcilable=True,
    output_schema=_SENT,
)
_WRITE = Descriptor(
    name="evm.write",
    description=f"Calls a method of a contract that changes something. {_ENDS}",
    parameters_schema={
        "type": "object",
        "properties": {
            "contract": address("Which contract."),
            "method": METHOD,
            "arguments": ARGUMENTS,
            "value": amount("What is paid with it, in wei; nothing if it is left out."),
        },
        "required": ["contract", "method", "arguments"],
        "additionalProperties": False,
    },
    effect="write",
    needs_credential=True,
    settings_schema=WRITE_SETTINGS,
    is_reconcilable=True,
    output_schema=_SENT,
)


def writes(sender: Sender) -> tuple[Connector, ...]:
    """Return the actions."""
    return (
        Write(_SEND, sender, _send),
        Write(_SEND_TOKEN, sender, _send_token),
        Write(_WRITE, sender, _write),
    )


def wrong_address(order: Order, *names: str) -> Result | None:
    """Return a refusal if an address was mistyped: its letters are a checksum (EIP-55)."""
    for name in names:
        if parse_address(text_of(order, name)) is None:
            return told("ADDRESS_INVALID", f"the checksum of {name} is wrong; check each letter")
    return None


def _send(order: Order) -> Call | Result:
    value = int(text_of(order, "value"))
    refusal = wrong_address(order, "to") or too_large(value)
    return refusal or Call(text_of(order, "to"), value)


def _send_token(order: Order) -> Call | Result:
    value = int(text_of(order, "value"))
    if refusal := wrong_address(order, "token", "to") or too_large(value):
        return refusal
    return Call(text_of(order, "token"), 0, transfer_of_token(text_of(order, "to"), value))


def _write(order: Order) -> Call | Result:
    value = int(text_of(order, "value") or "0")
    if refusal := wrong_address(order, "contract") or too_large(value):
        return refusal
    return Call(text_of(order, "contract"), value, call_data(order))


def call_data(order: Order) -> bytes:
    """Return a call of a method; raise `SignatureInvalid` and `AbiInvalid`."""
    method, values = read_method(text_of(order, "method")), order.arguments["arguments"]
    assert isinstance(values, list), "arguments are valid under the schema"
    return method.selector + encode([one.type for one in method.parameters], values)
