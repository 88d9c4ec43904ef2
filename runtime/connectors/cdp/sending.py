"""The actions that move value: `cdp.send`, `cdp.send_token` and `cdp.approve_token`."""

from __future__ import annotations

from collections.abc import Callable

from .. import Connector, Descriptor, Order, Result, closed_object
from ..evm.transactions import Transaction, approval_of_token, transfer_of_token
from ..evm.values import HASH, TEXT, address, amount, too_large
from .api import Api, CdpAction, matching, text_of
from .schemas import CHAINS, FROM, NETWORK, WALLET_SETTINGS

SENT = closed_object(transaction=TEXT, network=TEXT)
_TO = address("Who gets it.")

_SEND = Descriptor(
    name="cdp.send",
    description=(
        "Sends ether, or what a network has instead, from an account at Coinbase. It cannot be"
        " taken back. Gives the hash of the transaction, which may still fail on the network."
    ),
    parameters_schema=closed_object(
        **{"from": FROM}, network=NETWORK, to=_TO, value=amount("In wei, 10^18 of them are one.")
    ),
    effect="write",
    needs_credential=True,
    settings_schema=WALLET_SETTINGS,
    is_idempotent=True,
    output_schema=SENT,
)
_SEND_TOKEN = Descriptor(
    name="cdp.send_token",
    description=(
        "Sends a token (ERC-20), such as USDC, from an account at Coinbase. It cannot be taken"
        " back. Gives the hash of the transaction, which may still fail on the network."
    ),
    parameters_schema=closed_object(
        **{"from": FROM},
        network=NETWORK,
        token=address("The contract of the token."),
        to=_TO,
        value=amount("In the smallest units of the token: 1000000 is one USDC."),
    ),
    effect="write",
    needs_credential=True,
    settings_schema=WALLET_SETTINGS,
    is_idempotent=True,
    output_schema=SENT,
)
_APPROVE_TOKEN = Descriptor(
    name="cdp.approve_token",
    description=(
        "Lets a contract take up to an amount of a token from an account at Coinbase, until that is"
        " changed: a swap of a token needs it. An amount of 0 ends it."
    ),
    parameters_schema=closed_object(
        **{"from": FROM},
        network=NETWORK,
        token=address("The contract of the token."),
        spender=address("Who may take it."),
        value=amount("In the smallest units of the token."),
    ),
    effect="write",
    needs_credential=True,
    settings_schema=WALLET_SETTINGS,
    is_idempotent=True,
    output_schema=SENT,
)


def sending(api: Api) -> tuple[Connector, ...]:
    """Return the actions."""
    return (
        CdpAction(_SEND, api, _send),
        CdpAction(_SEND_TOKEN, api, _send_token),
        CdpAction(_APPROVE_TOKEN, api, _approve_token),
    )


async def send_transaction(api: Api, order: Order, transaction: Transaction) -> Result:
    """Have a transaction signed and sent, once for an order."""
    network = text_of(order, "network")
    body = {"network": network, "transaction": f"0x{transaction.unsigned.hex()}"}
    path = f"/v2/evm/accounts/{text_of(order, 'from')}/send/transaction"
    said = await api.use_wallet(order, path, body)
    if isinstance(said, Result):
        return said
    return Result({"transaction": matching(said, "transactionHash", HASH), "network": network})


async def _send(api: Api, order: Order) -> Result:
    value = int(text_of(order, "value"))
    transaction = Transaction(CHAINS[text_of(order, "network")], text_of(order, "to"), value)
    return too_large(value) or await send_transaction(api, order, transaction)


async def _send_token(api: Api, order: Order) -> Result:
    return await _call_token(api, order, transfer_of_token, who="to")


async def _approve_token(api: Api, order: Order) -> Result:
    return await _call_token(api, order, approval_of_token, who="spender")


async def _call_token(
    api: Api, order: Order, call: Callable[[str, int], bytes], *, who: str
) -> Result:
    value = int(text_of(order, "value"))
    if refusal := too_large(value):
        return refusal
    chain, token = CHAINS[text_of(order, "network")], text_of(order, "token")
    transaction = Transaction(chain, token, data=call(text_of(order, who), value))
    return await send_transaction(api, order, transaction)
