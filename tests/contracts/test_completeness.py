"""No RPC of any contract goes untested: each is in the `CALLS` of its service's contract tests."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

PROTOS = Path(__file__).parents[2] / "protos" / "actionvm"
SERVICES = sorted(
    path.stem for path in PROTOS.glob("*/v1/*.proto") if "\nservice " in path.read_text()
)


@pytest.mark.parametrize("service", SERVICES)
def test_every_rpc_is_called_by_a_contract_test(service: str) -> None:
    contract = importlib.import_module(f"actionvm.{service}.v1.{service}_pb2")
    calls = importlib.import_module(f"tests.contracts.test_{service}").CALLS
    (descriptor,) = contract.DESCRIPTOR.services_by_name.values()

    assert {call.method for call in calls} == {method.name for method in descriptor.methods}
