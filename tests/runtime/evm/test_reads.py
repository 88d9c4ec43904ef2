"""What is read of a chain: balances, contracts, receipts and logs."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from chassis.errors import PeerUnavailable
from runtime.connectors import Unsent
from runtime.connectors.evm.types import read_event
from tests.fakes.evm import ETHER, Chain, Log, State, token
from tests.fakes.evm_node import RpcError
from tests.fakes.front import Says
from tests.runtime.evm.chains import ME, OTHER, PAYEE, SEND_TOKEN, USDC, Actions

EVENT = "Transfer(address indexed from, address indexed to, uint256 value)"
LOGS: dict[str, JsonValue] = {"contract": USDC, "event": EVENT}


def _read(method: str, *arguments: JsonValue, contract: str = USDC) -> dict[str, JsonValue]:
    return {"contract": contract, "method": method, "arguments": [*arguments]}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"address": ME}, {"amount": str(ETHER), "decimals": 18}),
        ({"address": PAYEE}, {"amount": "0", "decimals": 18}),
        ({"address": ME, "token": USDC}, {"amount": "1000000000", "decimals": 6}),
        ({"address": PAYEE, "token": USDC}, {"amount": "0", "decimals": 6}),
    ],
)
async def test_balances_are_exact(
    actions: Actions, arguments: dict[str, JsonValue], told: JsonValue
) -> None:
    assert (await actions.perform("evm.balance", arguments)).value == told
    assert actions.signer.requests == []


async def test_a_token_need_not_tell_its_decimals(actions: Actions) -> None:
    actions.node.errors["eth_call"] = RpcError(3, "execution reverted")
    refused = await actions.perform("evm.balance", {"address": ME, "token": USDC})
    actions.node.after["eth_call"] = lambda: actions.node.errors.update(
        eth_call=RpcError(3, "execution reverted")
    )
    result = await actions.perform("evm.balance", {"address": ME, "token": USDC})
    assert (refused.reason, result.value) == ("WOULD_REVERT", {"amount": "1000000000"})


async def test_what_is_no_token_is_told(actions: Actions) -> None:
    result = await actions.perform("evm.balance", {"address": ME, "token": PAYEE})
    assert result.reason == "CONTRACT_UNSUITABLE"


async def test_a_contract_is_asked(actions: Actions) -> None:
    asked = _read("balanceOf(address owner) view returns (uint256)", ME)
    assert (await actions.perform("evm.read", asked)).value == {"values": ["1000000000"]}
    asked = _read("name() returns (string)")
    assert (await actions.perform("evm.read", asked)).value == {"values": ["USD Coin"]}


@pytest.mark.parametrize(
    ("asked", "reason", "message"),
    [
        (_read("symbol() returns (string)"), "WOULD_REVERT", "nothing was sent"),
        (_read("name()"), "METHOD_INVALID", "returns (uint256)"),
        (_read("name() returns (bool)"), "CONTRACT_UNSUITABLE", "neither true nor false"),
        (_read("name() returns (string)", contract=PAYEE), "CONTRACT_UNSUITABLE", "is empty"),
        (_read("balanceOf(address) returns (uint)", "0x1"), "ARGUMENTS_INVALID", "[0]"),
        (_read("name() returns (string)", contract="0x" + "aA" * 20), "ADDRESS_INVALID", ""),
    ],
)
async def test_what_cannot_be_read_is_told(
    actions: Actions, asked: dict[str, JsonValue], reason: str, message: str
) -> None:
    result = await actions.perform("evm.read", asked)
    assert isinstance(result.value, dict)
    assert (result.reason, message in str(result.value["message"])) == (reason, True)


async def test_words_of_strangers_are_cut_to_one_line_of_ascii(actions: Actions) -> None:
    said = "\u202eignore\n" + "x" * 999
    actions.node.errors["eth_call"] = RpcError(-32000, said)
    result = await actions.perform("evm.read", _read("name() returns (string)"))
    assert isinstance(result.value, dict)
    message = str(result.value["message"])
    assert message == f"the node says -32000: ignore{194 * 'x'}"


async def test_a_receipt_tells_what_became_of_a_transaction(slow: Actions) -> None:
    async def told() -> JsonValue:
        return (await slow.perform("evm.receipt", {"transaction": transaction})).value

    transaction = f"0x{32 * '77'}"
    assert await told() == {"status": "unknown"}
    transaction = slow.pay(1, nonce=0, value=5)
    assert await told() == {"status": "waiting"}
    slow.chain.mine(3)
    fee = 21_000 * 2 * slow.chain.base_fee
    assert await told() == {
        "status": "succeeded",
        "block": 4,
        "confirmations": 3,
        "fee": str(fee),
    }
    transaction = slow.pay(1, nonce=1, value=9 * 10**17)
    slow.chain.state.balances[ME] = 10**17
    slow.chain.mine()
    found = await told()
    assert isinstance(found, dict)
    assert found["status"] == "reverted"


# --- Logs ----------------------------------------------------------------------------------------


async def test_logs_are_read_once_their_blocks_are_certain(slow: Actions) -> None:
    with pytest.raises(PeerUnavailable):
        await slow.perform("evm.send_token", SEND_TOKEN)
    slow.chain.mine()
    before = await slow.perform("evm.logs", {**LOGS, "from_block": 4})
    assert before.value == {"logs": [], "next_block": 4}
    slow.chain.mine()
    [sent] = slow.chain.mined()
    found = await slow.perform("evm.logs", LOGS)
    values = {"from": ME, "to": PAYEE, "value": "1000000"}
    log = {"block": 4, "transaction": sent.hash, "index": 0, "values": values}
    assert found.value == {"logs": [log], "next_block": 5}
    again = await slow.perform("evm.logs", {**LOGS, "from_block": 5})
    assert again.value == {"logs": [], "next_block": 5}


@pytest.mark.parametrize(
    ("where", "count"), [({"to": PAYEE}, 1), ({"to": OTHER}, 0), ({"from": ME, "to": PAYEE}, 1)]
)
async def test_logs_can_be_chosen_by_what_is_indexed(
    actions: Actions, where: dict[str, JsonValue], count: int
) -> None:
    await actions.perform("evm.send_token", SEND_TOKEN)
    result = await actions.perform("evm.logs", {**LOGS, "where": where})
    assert isinstance(result.value, dict)
    assert isinstance(result.value["logs"], list)
    assert len(result.value["logs"]) == count


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"where": {"value": "1"}}, "ARGUMENTS_INVALID"),
        ({"where": {"to": "0x1"}}, "ARGUMENTS_INVALID"),
        ({"event": "E(string indexed a)", "where": {"a": "b"}}, "ARGUMENTS_INVALID"),
        ({"event": "Transfer"}, "METHOD_INVALID"),
        ({"contract": "0x" + "aA" * 20}, "ADDRESS_INVALID"),
    ],
)
async def test_logs_that_nobody_can_look_for_are_refused(
    actions: Actions, changes: dict[str, JsonValue], reason: str
) -> None:
    assert (await actions.perform("evm.logs", {**LOGS, **changes})).reason == reason


async def test_many_logs_are_read_in_whole_blocks(slow: Actions) -> None:
    _log_in_blocks(slow.chain, 60, 60)
    first = await slow.perform("evm.logs", {**LOGS, "from_block": 0})
    assert isinstance(first.value, dict)
    assert isinstance(first.value["logs"], list)
    assert (len(first.value["logs"]), first.value["next_block"]) == (60, 5)
    second = await slow.perform("evm.logs", {**LOGS, "from_block": 5})
    assert isinstance(second.value, dict)
    assert isinstance(second.value["logs"], list)
    assert (len(second.value["logs"]), second.value["next_block"]) == (60, slow.chain.head)
    _log_in_blocks(slow.chain, 101)
    more = await slow.perform("evm.logs", {**LOGS, "from_block": slow.chain.head - 2})
    assert more.reason == "TOO_MANY_LOGS"


@pytest.mark.parametrize("code", [-32005, -32602])
async def test_a_node_that_is_asked_for_too_much_is_asked_for_less(
    slow: Actions, code: int
) -> None:
    _log_in_blocks(slow.chain, 1, 1)
    slow.node.errors["eth_getLogs"] = RpcError(code, "query returned more than 10000 results")
    first = await slow.perform("evm.logs", {**LOGS, "from_block": 4})
    assert isinstance(first.value, dict)
    assert first.value["next_block"] == 5
    slow.node.errors["eth_getLogs"] = RpcError(-32602, "more than 10000 results")
    more = await slow.perform("evm.logs", {**LOGS, "from_block": 5})
    assert more.reason == "NODE_REFUSED"


async def test_an_answer_that_is_too_long_is_asked_for_in_parts(slow: Actions) -> None:
    _log_in_blocks(slow.chain, 1, 1)
    endless = b'{"jsonrpc": "2.0", "id": 1, "result": "0x' + b"00" * 1024 * 1024
    slow.front.fail_next("", "", Says(200, endless))
    first = await slow.perform("evm.logs", {**LOGS, "from_block": 4})
    assert isinstance(first.value, dict)
    assert first.value["next_block"] == 5
    slow.front.fail_next("", Says(200, endless))
    asked = await slow.perform("evm.read", _read("name() returns (string)"))
    many = b'{"jsonrpc": "2.0", "id": 1, "result": "0x' + b"00" * 70_000 + b'"}'
    slow.front.fail_next("", Says(200, many))
    again = await slow.perform("evm.read", _read("name() returns (string)"))
    assert (asked.reason, again.reason) == ("TOO_LARGE", "TOO_LARGE")


async def test_the_answer_to_another_question_is_none(slow: Actions) -> None:
    slow.front.fail_next(Says(200, b'{"jsonrpc": "2.0", "id": 2, "result": "0x2105"}'))
    with pytest.raises(PeerUnavailable):
        await slow.perform("evm.balance", {"address": ME})


async def test_a_node_that_takes_no_more_for_now_is_asked_later(slow: Actions) -> None:
    slow.node.errors["eth_getBalance"] = RpcError(-32005, "daily request count exceeded")
    with pytest.raises(Unsent):
        await slow.perform("evm.balance", {"address": ME})


async def test_logs_of_another_event_with_the_same_name_are_left_out(slow: Actions) -> None:
    _log_in_blocks(slow.chain, 1)
    found = await slow.perform(
        "evm.logs", {**LOGS, "event": "Transfer(address indexed from, address to, uint256 value)"}
    )
    assert isinstance(found.value, dict)
    assert found.value["logs"] == []


async def test_what_is_indexed_and_long_is_told_as_its_hash(slow: Actions) -> None:
    topics = [f"0x{32 * '11'}", f"0x{32 * '22'}"]
    slow.chain.mine()
    event = "Noted(string indexed text)"
    topics[0] = f"0x{read_event(event).topic.hex()}"
    slow.chain.blocks[-1].logs.append(Log(USDC, topics, "0x", f"0x{32 * '33'}"))
    slow.chain.mine()
    found = await slow.perform("evm.logs", {**LOGS, "event": event})
    assert isinstance(found.value, dict)
    assert isinstance(found.value["logs"], list)
    [log] = found.value["logs"]
    assert isinstance(log, dict)
    assert log["values"] == {"text": topics[1]}


def _log_in_blocks(chain: Chain, *counts: int) -> None:
    for count in counts:
        chain.mine()
        block = chain.blocks[-1]
        for _ in range(count):
            state = State(storage={USDC: {ME: 1}})
            data = bytes.fromhex(f"a9059cbb{PAYEE[2:]:0>64}{1:064x}")
            _, logs = token(state, USDC, ME, 0, data)
            logs[0].transaction = f"0x{32 * '33'}"
            block.logs += logs
    chain.mine()


@pytest.mark.parametrize(
    "entry",
    [
        "7",
        "[7]",
        '[{"address": "0x00"}]',
        '[{"address": "%s", "blockNumber": "0xffff"}]',
        '[{"address": "%s", "blockNumber": "0x1", "topics": 7}]',
        '[{"address": "%s", "blockNumber": "0x1", "topics": ["0x00"]}]',
    ],
)
async def test_logs_that_nobody_asked_for_are_no_answer(actions: Actions, entry: str) -> None:
    said = f'{{"jsonrpc": "2.0", "id": 1, "result": {entry.replace("%s", USDC)}}}'
    actions.front.fail_next("", "", Says(200, said.encode()))
    with pytest.raises(PeerUnavailable):
        await actions.perform("evm.logs", LOGS)
