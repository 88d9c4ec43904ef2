"""The actions that sign for an account: a message, typed data, or a transaction."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from .. import Connector, Descriptor, Order, Result, closed_object
from ..evm.transactions import Transaction
from ..evm.values import HEX, TEXT, address, amount, too_large
from .api import Api, CdpAction, matching, text_of
from .schemas import CHAINS, FROM, NETWORK, WALLET_SETTINGS

MESSAGE_CHARACTERS_MAX = 4_096
DATA_BYTES_MAX = 8 * 1024

_SIGNATURE = closed_object(signature=TEXT)
_FIELD = closed_object(name={"type": "string"}, type={"type": "string"})

_MESSAGE = Descriptor(
    name="cdp.sign_message",
    description="Signs a text with an account at Coinbase (EIP-191), such as to sign in somewhere.",
    parameters_schema=closed_object(
        **{"from": FROM},
        message={"type": "string", "minLength": 1, "maxLength": MESSAGE_CHARACTERS_MAX},
    ),
    effect="write",
    needs_credential=True,
    settings_schema=WALLET_SETTINGS,
    is_idempotent=True,
    output_schema=_SIGNATURE,
)
_TYPED_DATA = Descriptor(
    name="cdp.sign_typed_data",
    description=(
        "Signs typed data with an account at Coinbase (EIP-712). Whoever has the signature may"
        " move funds with it: sign nothing whose contract and message are not known."
    ),
    parameters_schema=closed_object(
        **{"from": FROM},
        domain={
            "type": "object",
            "properties": {
                "name": TEXT,
                "version": TEXT,
                "chainId": {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
                "verifyingContract": address("Who checks the signature."),
                "salt": {"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$"},
            },
            "additionalProperties": False,
        },
        types={"type": "object", "additionalProperties": {"type": "array", "items": _FIELD}},
        primaryType={"type": "string", "minLength": 1},
        message={
            "type": "object",
            "description": "Numbers beyond 2^53 are written as texts.",
        },
    ),
    effect="write",
    needs_credential=True,
    settings_schema=WALLET_SETTINGS,
    is_idempotent=True,
    output_schema=_SIGNATURE,
)
_TRANSACTION = Descriptor(
    name="cdp.sign_transaction",
    description=(
        "Signs a transaction with an account at Coinbase and does not send it: whoever has it can."
        " All amounts are in wei."
    ),
    parameters_schema={
        "type": "object",
        "properties": {
            "from": FROM,
            "network": NETWORK,
            "to": address("Who is paid or called."),
            "value": amount("What is paid."),
            "data": {
                "type": "string",
                "pattern": f"^0x([0-9a-fA-F]{{2}}){{0,{DATA_BYTES_MAX}}}$",
                "description": "What is called; nothing if it is left out.",
            },
            "nonce": amount("How many transactions the account has sent before."),
            "gas_limit": amount("What it may use of the network's gas."),
            "fee_per_gas_max": amount("What a unit of it may cost."),
            "priority_fee_per_gas_max": amount("What of that is a tip."),
        },
        "required": [
            "from",
            "network",
            "to",
            "value",
            "nonce",
            "gas_limit",
            "fee_per_gas_max",
            "priority_fee_per_gas_max",
        ],
        "additionalProperties": False,
    },
    effect="write",
    needs_credential=True,
    settings_schema=WALLET_SETTINGS,
    is_idempotent=True,
    output_schema=closed_object(signed=TEXT),
)


def signing(api: Api) -> tuple[Connector, ...]:
    """Return the actions."""
    return (
        CdpAction(_MESSAGE, api, _sign_message),
        CdpAction(_TYPED_DATA, api, _sign_typed_data),
        CdpAction(_TRANSACTION, api, _sign_transaction),
    )


async def sign_typed_data(
    api: Api, order: Order, content: Mapping[str, JsonValue], *, is_part: bool = False
) -> str | Result:
    """Return the signature of typed data for the account of an order."""
    path = f"/v2/evm/accounts/{text_of(order, 'from')}/sign/typed-data"
    said = await api.use_wallet(order, path, content, is_part=is_part)
    return said if isinstance(said, Result) else matching(said, "signature", HEX)


async def _sign_message(api: Api, order: Order) -> Result:
    path = f"/v2/evm/accounts/{text_of(order, 'from')}/sign/message"
    said = await api.use_wallet(order, path, {"message": order.arguments["message"]})
    if isinstance(said, Result):
        return said
    return Result({"signature": matching(said, "signature", HEX)})


async def _sign_typed_data(api: Api, order: Order) -> Result:
    content = {name: value for name, value in order.arguments.items() if name != "from"}
    signature = await sign_typed_data(api, order, content)
    return signature if isinstance(signature, Result) else Result({"signature": signature})


async def _sign_transaction(api: Api, order: Order) -> Result:
    names = ("value", "nonce", "gas_limit", "fee_per_gas_max", "priority_fee_per_gas_max")
    numbers = {name: int(text_of(order, name)) for name in names}
    if refusal := too_large(*numbers.values()):
        return refusal
    transaction = Transaction(
        CHAINS[text_of(order, "network")],
        text_of(order, "to"),
        data=bytes.fromhex(text_of(order, "data")[2:]),
        **numbers,
    )
    path = f"/v2/evm/accounts/{text_of(order, 'from')}/sign/transaction"
    said = await api.use_wallet(order, path, {"transaction": f"0x{transaction.unsigned.hex()}"})
    if isinstance(said, Result):
        return said
    return Result({"signed": matching(said, "signedTransaction", HEX)})
