"""The actions about accounts: made, listed, looked up, and filled on test networks."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import JsonValue

from chassis.errors import PeerUnavailable

from .. import Connector, Descriptor, Order, Result, closed_object
from ..evm.values import ADDRESS, TEXT, address
from .api import Api, CdpAction, Said, matching, object_in, text_of
from .schemas import AMOUNT, BALANCE_NETWORKS, FAUCET_NETWORKS, SETTINGS, WALLET_SETTINGS, network

COUNT_DEFAULT = 20
COUNT_MAX = 100
_NEXT_CHARACTERS_MAX = 1_000
_DECIMALS_MAX = 255

_NAME_PATTERN = "[A-Za-z0-9][A-Za-z0-9-]{0,34}[A-Za-z0-9]"
_NAME = re.compile(_NAME_PATTERN)
# Who makes a token gives it its symbol: a text of strangers, unless it is as short as a word.
_SYMBOL = re.compile(r"[A-Za-z0-9]{1,11}")
# Of a transaction that CDP may replace: whatever it tells, as long as it is a number.
_FAUCET_HASH = re.compile(r"0x[0-9a-fA-F]{1,128}")

_ACCOUNT = closed_object(address=TEXT, name=TEXT)


def _page(**properties: JsonValue) -> dict[str, JsonValue]:
    names: list[JsonValue] = [*properties]
    count: JsonValue = {
        "type": "integer",
        "minimum": 1,
        "maximum": COUNT_MAX,
        "description": f"How many at most; {COUNT_DEFAULT} if nothing is said.",
    }
    after: JsonValue = {
        "type": "string",
        "minLength": 1,
        "maxLength": _NEXT_CHARACTERS_MAX,
        "description": "The `next` of the page before.",
    }
    return {
        "type": "object",
        "properties": {**properties, "count": count, "next": after},
        "required": names,
        "additionalProperties": False,
    }


def _pages(name: str, item: JsonValue) -> dict[str, JsonValue]:
    return {
        "type": "object",
        "properties": {name: {"type": "array", "items": item}, "next": TEXT},
        "required": [name],
        "additionalProperties": False,
    }


_CREATE = Descriptor(
    name="cdp.create_account",
    description="Makes an account for Ethereum, Base and their kin, whose key Coinbase keeps.",
    parameters_schema=closed_object(
        name={
            "type": "string",
            "pattern": f"^{_NAME_PATTERN}$",
            "description": "A name that no other account of the project has.",
        }
    ),
    effect="write",
    needs_credential=True,
    settings_schema=WALLET_SETTINGS,
    is_idempotent=True,
    output_schema=_ACCOUNT,
)
_LIST = Descriptor(
    name="cdp.accounts",
    description="Lists the accounts of the Coinbase project.",
    parameters_schema=_page(),
    effect="read",
    needs_credential=True,
    settings_schema=SETTINGS,
    output_schema=_pages("accounts", _ACCOUNT),
)
_GET = Descriptor(
    name="cdp.account",
    description="Looks up an account of the Coinbase project.",
    parameters_schema=closed_object(
        account={
            "type": "string",
            "pattern": f"^(0x[0-9a-fA-F]{{40}}|{_NAME_PATTERN})$",
            "description": "Its address, or its name.",
        }
    ),
    effect="read",
    needs_credential=True,
    settings_schema=SETTINGS,
    output_schema=_ACCOUNT,
)
_BALANCES = Descriptor(
    name="cdp.balances",
    description=(
        "Tells what an address holds, in the smallest units of each token: an amount with 18"
        " decimals is in wei. A transaction of a moment ago may not be counted yet."
    ),
    parameters_schema=_page(address=address("Whose balances."), network=network(BALANCE_NETWORKS)),
    effect="read",
    needs_credential=True,
    settings_schema=SETTINGS,
    output_schema=_pages(
        "balances",
        {
            "type": "object",
            "properties": {
                "token": TEXT,
                "symbol": TEXT,
                "amount": TEXT,
                "decimals": {"type": "integer"},
            },
            "required": ["token", "symbol", "amount"],
            "additionalProperties": False,
        },
    ),
)
_FAUCET = Descriptor(
    name="cdp.faucet",
    description="Asks Coinbase for funds on a test network, which are worth nothing.",
    parameters_schema=closed_object(
        network=network(FAUCET_NETWORKS),
        address=address("Who gets them."),
        token={"type": "string", "enum": ["eth", "usdc", "eurc", "cbbtc"]},
    ),
    effect="write",
    needs_credential=True,
    settings_schema=SETTINGS,
    output_schema=closed_object(transaction=TEXT),
)


def accounts(api: Api) -> tuple[Connector, ...]:
    """Return the actions."""
    return (
        CdpAction(_CREATE, api, _create),
        CdpAction(_LIST, api, _list),
        CdpAction(_GET, api, _get),
        CdpAction(_BALANCES, api, _balances),
        CdpAction(_FAUCET, api, _faucet),
    )


async def _create(api: Api, order: Order) -> Result:
    body = {"name": order.arguments["name"]}
    return _told(await api.use_wallet(order, "/v2/evm/accounts", body))


async def _list(api: Api, order: Order) -> Result:
    said = await api.read(order, "/v2/evm/accounts", **_place(order))
    if isinstance(said, Result):
        return said
    return _page_of("accounts", said, [_account(one) for one in _items(said, "accounts")])


async def _get(api: Api, order: Order) -> Result:
    account = text_of(order, "account")
    named = "" if ADDRESS.fullmatch(account) else "by-name/"
    return _told(await api.read(order, f"/v2/evm/accounts/{named}{account}"))


async def _balances(api: Api, order: Order) -> Result:
    path = f"/v2/evm/token-balances/{text_of(order, 'network')}/{text_of(order, 'address')}"
    said = await api.read(order, path, **_place(order))
    if isinstance(said, Result):
        return said
    return _page_of("balances", said, [_balance(one) for one in _items(said, "balances")])


async def _faucet(api: Api, order: Order) -> Result:
    said = await api.post(order, "/v2/evm/faucet", order.arguments)
    if isinstance(said, Result):
        return said
    return Result({"transaction": matching(said, "transactionHash", _FAUCET_HASH)})


def _place(order: Order) -> dict[str, str]:
    count = order.arguments.get("count", COUNT_DEFAULT)
    assert isinstance(count, int | float), "arguments are valid under the schema"
    # JSON Schema takes 10.0 for an integer.
    place = {"pageSize": str(int(count))}
    after = text_of(order, "next")
    return {**place, "pageToken": after} if after else place


def _page_of(name: str, said: Mapping[str, JsonValue], items: list[JsonValue]) -> Result:
    after = said.get("nextPageToken")
    if not isinstance(after, str) or not 0 < len(after) <= _NEXT_CHARACTERS_MAX:
        return Result({name: items})
    return Result({name: items, "next": after})


def _items(said: Mapping[str, JsonValue], name: str) -> list[JsonValue]:
    found = said.get(name)
    if not isinstance(found, list):
        raise PeerUnavailable("cdp")
    return found[:COUNT_MAX]


def _told(said: Said) -> Result:
    return said if isinstance(said, Result) else Result(_account(said))


def _account(value: JsonValue | Mapping[str, JsonValue]) -> JsonValue:
    found = object_in(value)
    name = found.get("name")
    told = name if isinstance(name, str) and _NAME.fullmatch(name) else ""
    return {"address": matching(found, "address", ADDRESS), "name": told}


def _balance(value: JsonValue) -> JsonValue:
    found = object_in(value)
    token, amount = object_in(found.get("token")), object_in(found.get("amount"))
    symbol, decimals = token.get("symbol"), amount.get("decimals")
    told: dict[str, JsonValue] = {
        "token": matching(token, "contractAddress", ADDRESS),
        "symbol": symbol if isinstance(symbol, str) and _SYMBOL.fullmatch(symbol) else "",
        "amount": str(int(matching(amount, "amount", AMOUNT))),
    }
    # CDP does not know it of every token.
    if isinstance(decimals, int) and 0 <= decimals <= _DECIMALS_MAX:
        told["decimals"] = decimals
    return told
