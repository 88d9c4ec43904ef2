"""No RPC of any contract goes untested: each is in the `CALLS` of its service's contract tests."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

PROTOS = Path(__file__).parents[2] / "protos" / "actionvm"
SERVICES = sorted(
    (path.parts[-3], path.stem)
    for path in PROTOS.glob("*/v1/*.proto")
    if "\nservice " in path.read_text()
)


@pytest.mark.parametrize(("package", "contract_name"), SERVICES)
def test_every_rpc_is_called_by_a_contract_test(package: str, contract_name: str) -> None:
    contract = importlib.import_module(f"actionvm.{package}.v1.{contract_name}_pb2")
    calls = importlib.import_module(f"tests.contracts.test_{contract_name}").CALLS
    (descriptor,) = contract.DESCRIPTOR.services_by_name.values()

    assert {call.method for call in calls} == {method.name for method in descriptor.methods}
