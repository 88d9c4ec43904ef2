"""The stands of the actions on chains of the EVM."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from tests.fakes.evm import CHAIN_ID, GWEI
from tests.fakes.evm_node import FakeNode
from tests.fakes.internet import Site
from tests.runtime.connectors.stand import Subject
from tests.runtime.connectors.stands import URL, before_site
from tests.runtime.evm.chains import ME, SEND, SEND_TOKEN, USDC, WRITE, chain

_EVENT = "Transfer(address indexed from, address indexed to, uint256 value)"


def _of_evm(name: str, arguments: Mapping[str, JsonValue], *, writes: bool = False) -> Subject:
    def serves() -> tuple[Site, Callable[[], int]]:
        made = chain()
        return FakeNode(chain=made), lambda: len(made.mined())

    settings: dict[str, JsonValue] = {"url": URL, "chain_id": CHAIN_ID}
    if writes:
        settings["fee_per_gas_max"] = str(100 * GWEI)
    opened = before_site(name, serves, settings, credential="secrets/wallet" if writes else "")
    # The chain; of writes also the nonce, the fees, the balance, and whether it would work.
    return Subject(name, opened, arguments, lookups=6 if writes else 1)


EVM_SUBJECTS = [
    _of_evm("evm.send", SEND, writes=True),
    _of_evm("evm.send_token", SEND_TOKEN, writes=True),
    _of_evm("evm.write", WRITE, writes=True),
    _of_evm("evm.balance", {"address": ME}),
    _of_evm(
        "evm.read",
        {"contract": USDC, "method": "balanceOf(address) returns (uint256)", "arguments": [ME]},
    ),
    _of_evm("evm.receipt", {"transaction": f"0x{32 * '77'}"}),
    _of_evm("evm.logs", {"contract": USDC, "event": _EVENT}),
]
