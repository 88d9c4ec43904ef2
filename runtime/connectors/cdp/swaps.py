"""The actions that change one token for another: `cdp.swap_quote` and `cdp.swap`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from .. import Connector, Descriptor, Order, Result, closed_object
from ..evm.transactions import Transaction, word
from ..evm.values import ADDRESS, HEX, TEXT, address, amount, too_large
from ..http import preparing
from ..keyed import told
from .api import Api, CdpAction, matching, object_in, text_of
from .schemas import AMOUNT, CHAINS, FROM, NATIVE, SETTINGS, SWAP_NETWORKS, WALLET_SETTINGS, network
from .sending import send_transaction
from .signing import sign_typed_data

# In hundredths of a percent.
SLIPPAGE_MAX = 1_000
# The contract that takes tokens of who has signed for it, the same on all networks.
PERMIT2 = "0x000000000022D473030F116dDEE9F6B43aC78BA3"

_WANTED: dict[str, JsonValue] = {
    "from": FROM,
    "network": network(SWAP_NETWORKS),
    "from_token": address(f"The contract of the token that is given; {NATIVE} is ether."),
    "to_token": address("The contract of the token that is wanted."),
    "from_amount": amount("In the smallest units of the token that is given."),
    "slippage_bps": {
        "type": "integer",
        "minimum": 0,
        "maximum": SLIPPAGE_MAX,
        "description": "How far the price may move meanwhile, in hundredths of a percent.",
    },
}
_LEAST = amount("The least that must come back, in the smallest units; take it from a quote.")

_QUOTE = Descriptor(
    name="cdp.swap_quote",
    description=(
        "Tells what a swap of tokens would give now, and at least, in their smallest units, and"
        " what the account lacks for it: balance, allowance (of the contract `spender`)."
    ),
    parameters_schema=closed_object(**_WANTED),
    effect="read",
    needs_credential=True,
    settings_schema=SETTINGS,
    output_schema={
        "type": "object",
        "properties": {
            "to_amount": TEXT,
            "min_to_amount": TEXT,
            "lacks": {"type": "array", "items": {"enum": ["allowance", "balance"]}},
            "spender": TEXT,
        },
        "required": ["to_amount", "min_to_amount", "lacks"],
        "additionalProperties": False,
    },
)
_SWAP = Descriptor(
    name="cdp.swap",
    description=(
        "Changes one token for another from an account at Coinbase, if at least `min_to_amount`"
        " comes back. Gives the hash of the transaction, which may still fail on the network."
    ),
    parameters_schema=closed_object(**_WANTED, min_to_amount=_LEAST),
    effect="write",
    needs_credential=True,
    settings_schema=WALLET_SETTINGS,
    # A quote that is asked for again may be another one: then nobody could tell whether the first
    # one was carried out.
    output_schema=closed_object(transaction=TEXT, network=TEXT, to_amount=TEXT, min_to_amount=TEXT),
)


@dataclass(frozen=True)
class Price:
    """What CDP says that a swap gives; of what is lacking, `spender` may take too little."""

    to_amount: int
    least: int
    lacks: tuple[str, ...]
    spender: str


def swaps(api: Api) -> tuple[Connector, ...]:
    """Return the actions."""
    return CdpAction(_QUOTE, api, _quote), CdpAction(_SWAP, api, _swap)


async def _quote(api: Api, order: Order) -> Result:
    query = {name: str(value) for name, value in _wanted(order).items()}
    said = await api.read(order, "/v2/evm/swaps/quote", **query)
    if isinstance(said, Result):
        return said
    price = _price(order, said)
    if isinstance(price, Result):
        return price
    value: dict[str, JsonValue] = {
        "to_amount": str(price.to_amount),
        "min_to_amount": str(price.least),
        "lacks": [*price.lacks],
    }
    return Result(value | ({"spender": price.spender} if price.spender else {}))


async def _swap(api: Api, order: Order) -> Result:
    # Until it is sent, nothing has happened: a signature that nobody has been told is none.
    async with preparing():
        said = await api.post(order, "/v2/evm/swaps", _wanted(order))
        if isinstance(said, Result):
            return said
        price = _price(order, said)
        if isinstance(price, Result):
            return price
        if refusal := _refusal(order, price):
            return refusal
        transaction = await _transaction(api, order, said)
    if isinstance(transaction, Result):
        return transaction
    sent = await send_transaction(api, order, transaction)
    if sent.reason:
        return sent
    assert isinstance(sent.value, dict), "what was sent has a hash"
    amounts = {"to_amount": str(price.to_amount), "min_to_amount": str(price.least)}
    return Result({**sent.value, **amounts})


def _wanted(order: Order) -> dict[str, JsonValue]:
    slippage = order.arguments["slippage_bps"]
    assert isinstance(slippage, int | float), "arguments are valid under the schema"
    return {
        "network": text_of(order, "network"),
        "fromToken": text_of(order, "from_token"),
        "toToken": text_of(order, "to_token"),
        "fromAmount": text_of(order, "from_amount"),
        "taker": text_of(order, "from"),
        # JSON Schema takes 10.0 for an integer.
        "slippageBps": int(slippage),
    }


def _price(order: Order, said: Mapping[str, JsonValue]) -> Price | Result:
    """Return what a quote says, which must be one of what was asked for."""
    if said.get("liquidityAvailable") is not True:
        return told("NO_LIQUIDITY", "nobody changes so much of these tokens now; try less")
    if not _is_about(order, said):
        return _unfit("of other tokens, or of another amount")
    issues = object_in(said.get("issues"))
    allowance = issues.get("allowance")
    return Price(
        to_amount=_number(said, "toAmount"),
        least=_number(said, "minToAmount"),
        lacks=tuple(name for name in ("allowance", "balance") if issues.get(name) is not None),
        spender="" if allowance is None else matching(object_in(allowance), "spender", ADDRESS),
    )


def _is_about(order: Order, said: Mapping[str, JsonValue]) -> bool:
    tokens = (("fromToken", "from_token"), ("toToken", "to_token"))
    return _number(said, "fromAmount") == int(text_of(order, "from_amount")) and all(
        _is_same(matching(said, name, ADDRESS), text_of(order, argument))
        for name, argument in tokens
    )


def _refusal(order: Order, price: Price) -> Result | None:
    """Return why a swap at this price is not what was decided about."""
    least = int(text_of(order, "min_to_amount"))
    if price.least < least:
        problem = f"at least {price.least} would come back now, which is less than {least}"
        return told("PRICE_MOVED", f"{problem}; ask for a quote")
    if "balance" in price.lacks:
        return told("BALANCE_TOO_LOW", "the account has less of the token; swap less")
    if "allowance" in price.lacks:
        problem = f"the contract {price.spender} may not take the token"
        return told("ALLOWANCE_TOO_LOW", f"{problem}; call cdp.approve_token for it first")
    return None


async def _transaction(
    api: Api, order: Order, said: Mapping[str, JsonValue]
) -> Transaction | Result:
    """Return the transaction of a quote, with the signature that lets the token be taken."""
    found = object_in(said.get("transaction"))
    value, gas = _number(found, "value"), _number(found, "gas")
    given = int(text_of(order, "from_amount"))
    if value != (given if _is_same(text_of(order, "from_token"), NATIVE) else 0):
        return _unfit("one that pays another amount")
    if refusal := too_large(value, gas):
        return refusal
    data = bytes.fromhex(matching(found, "data", HEX)[2:])
    permit = said.get("permit2")
    if permit is not None:
        content = object_in(object_in(permit).get("eip712"))
        if not _is_permit(order, content):
            return _unfit("one that lets somebody take something else")
        signed = await sign_typed_data(api, order, content, is_part=True)
        if isinstance(signed, Result):
            return signed
        signature = bytes.fromhex(signed[2:])
        data += word(len(signature)) + signature
    to = matching(found, "to", ADDRESS)
    return Transaction(CHAINS[text_of(order, "network")], to, value=value, data=data, gas_limit=gas)


def _is_permit(order: Order, content: Mapping[str, JsonValue]) -> bool:
    """Tell whether signing this lets just the token and the amount be taken, on this network."""
    domain, message = object_in(content.get("domain")), object_in(content.get("message"))
    permitted = object_in(message.get("permitted"))
    return (
        content.get("primaryType") == "PermitTransferFrom"
        and domain.get("chainId") == CHAINS[text_of(order, "network")]
        and _is_same(matching(domain, "verifyingContract", ADDRESS), PERMIT2)
        and _is_same(matching(permitted, "token", ADDRESS), text_of(order, "from_token"))
        and _number(permitted, "amount") == int(text_of(order, "from_amount"))
    )


def _unfit(what: str) -> Result:
    return told("QUOTE_UNFIT", f"Coinbase gives a quote that is {what}; nothing was signed")


def _number(value: Mapping[str, JsonValue], name: str) -> int:
    return int(matching(value, name, AMOUNT))


def _is_same(one: str, other: str) -> bool:
    # The case of letters is a checksum (EIP-55).
    return one.lower() == other.lower()
