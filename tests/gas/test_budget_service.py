"""Budgets over real gRPC: what is set is read back, what is odd is refused, who may lift what."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from actionvm.gas.v1 import budgets_pb2
from actionvm.gas.v1 import gas_pb2 as pb
from tests.contracts.contract import error_info
from tests.gas.calls import SEEDS, Stub, bad_field, limit, reason, reserve, used
from tests.gas.ledgers import ACCOUNT
from tests.grpc_fixtures import StubAs

RUN = "runs/00000000-0000-4000-8000-000000000007"
HOUR = Duration(seconds=3_600)


def budget_with(change: Callable[[pb.Budget], object]) -> pb.SetBudgetRequest:
    """Return a good request after a change."""
    one = limit(ACCOUNT, 100)
    change(one)
    return pb.SetBudgetRequest(budget=one)


def sliding(window: Duration | None = None) -> pb.SetBudgetRequest:
    one = limit(ACCOUNT, 100, period=pb.Budget.PERIOD_SLIDING)
    if window is not None:
        one.window.CopyFrom(window)
    return pb.SetBudgetRequest(budget=one)


def tenant(change: Callable[[pb.Budget], object]) -> pb.SetBudgetRequest:
    request = budget_with(change)
    request.budget.account = "tenants/default"
    return request


BAD_BUDGETS = [
    ("budget.account", budget_with(lambda one: one.MergeFrom(pb.Budget(account="tenants/A")))),
    ("budget.account", budget_with(lambda one: one.MergeFrom(pb.Budget(account="providers/x")))),
    ("budget.id", budget_with(lambda one: one.MergeFrom(pb.Budget(id="A")))),
    ("budget.id", budget_with(lambda one: one.MergeFrom(pb.Budget(id="x" * 64)))),
    ("budget.id", budget_with(lambda one: one.MergeFrom(pb.Budget(id="a/b")))),
    ("budget.run", budget_with(lambda one: one.MergeFrom(pb.Budget(run="runs/1")))),
    ("budget.run", tenant(lambda one: one.MergeFrom(pb.Budget(run=RUN)))),
    ("budget.item", budget_with(lambda one: one.MergeFrom(pb.Budget(item="*")))),
    ("budget.item", budget_with(lambda one: one.MergeFrom(pb.Budget(item="model *x")))),
    ("budget.item", budget_with(lambda one: one.MergeFrom(pb.Budget(item="model")))),
    ("budget.time_zone", budget_with(lambda one: one.MergeFrom(pb.Budget(time_zone="CEST")))),
    ("budget.time_zone", budget_with(lambda one: one.MergeFrom(pb.Budget(time_zone="localtime")))),
    ("budget.time_zone", budget_with(lambda one: one.MergeFrom(pb.Budget(time_zone="x" * 10**6)))),
    ("budget.window", budget_with(lambda one: one.window.CopyFrom(HOUR))),
    ("budget.window", sliding()),
    ("budget.window", sliding(Duration(seconds=59))),
    ("budget.window", sliding(Duration(seconds=366 * 86_400 + 1))),
    ("budget.window", sliding(Duration(seconds=-3_600))),
    ("budget.window", sliding(Duration(seconds=60, nanos=1))),
]


@pytest.mark.parametrize(("field", "request_"), BAD_BUDGETS)
def test_an_odd_budget_is_refused(
    grpc_stub: Stub, field: str, request_: pb.SetBudgetRequest
) -> None:
    assert bad_field(grpc_stub.SetBudget, request_) == field


@pytest.mark.parametrize("period", [pb.Budget.PERIOD_TOTAL, pb.Budget.PERIOD_SLIDING])
def test_a_time_zone_without_effect_is_refused(grpc_stub: Stub, period: int) -> None:
    request = sliding(HOUR)
    request.budget.period = period  # type: ignore[assignment]  # one of the enum
    if period == pb.Budget.PERIOD_TOTAL:
        request.budget.ClearField("window")
    request.budget.time_zone = "Europe/Berlin"

    assert bad_field(grpc_stub.SetBudget, request) == "budget.time_zone"


def test_a_tenant_has_no_manifest(runtime: Stub) -> None:
    request = tenant(lambda one: one.MergeFrom(limit("", 1, origin=pb.Budget.ORIGIN_MANIFEST)))

    assert bad_field(runtime.SetBudget, request) == "budget.origin"


def test_a_budget_is_read_back_as_it_was_set(grpc_stub: Stub, account: str) -> None:
    asked = pb.Budget(
        account=account,
        origin=pb.Budget.ORIGIN_OPERATOR,
        period=pb.Budget.PERIOD_MONTH,
        gas_limit=7,
        id="all-of-it",
        run=RUN,
        item="model openai/*",
        time_zone="Europe/Berlin",
        soft=True,
    )
    grpc_stub.SetBudget(pb.SetBudgetRequest(budget=asked))

    found, _ = grpc_stub.GetBudget(pb.GetBudgetRequest(account=account)).budgets

    asked.name = f"{account}/budgets/operator.all-of-it"
    assert found == asked


def test_a_sliding_window_is_read_back(grpc_stub: Stub, account: str) -> None:
    request = sliding(HOUR)
    request.budget.account = account

    assert grpc_stub.SetBudget(request).budget.window == HOUR


def test_an_empty_id_means_default(grpc_stub: Stub, account: str) -> None:
    request = pb.SetBudgetRequest(budget=limit(account, 7))
    request.budget.id = "default"
    grpc_stub.SetBudget(request)

    (found,) = grpc_stub.GetBudget(pb.GetBudgetRequest(account=account)).budgets

    assert (found.id, found.gas_limit) == ("default", 7)


def test_a_refusal_names_the_budget(grpc_stub: Stub, runtime: Stub, account: str) -> None:
    tight = limit(account, 7)
    tight.id, tight.item = "models", "model *"
    grpc_stub.SetBudget(pb.SetBudgetRequest(budget=tight))
    with pytest.raises(grpc.RpcError) as failed:
        runtime.ReserveGas(reserve(account, 8))

    metadata = error_info(failed.value).metadata

    assert metadata["budget"] == f"{account}/budgets/operator.models"
    assert (metadata["gas"], metadata["gas_available"]) == ("8", "7")


def test_a_lifted_budget_is_gone(grpc_stub: Stub, account: str) -> None:
    name = f"{account}/budgets/operator.default"
    for _ in range(2):
        grpc_stub.DeleteBudget(budgets_pb2.DeleteBudgetRequest(name=name))

    request = pb.GetBudgetRequest(account=account)

    assert reason(grpc_stub.GetBudget, request) == "ACCOUNT_NOT_FOUND"


@pytest.mark.parametrize(("caller", "origin"), [("runtime", "operator"), ("operator", "manifest")])
def test_nobody_lifts_a_budget_of_another_origin(
    grpc_stub_as: StubAs, caller: str, origin: str
) -> None:
    request = budgets_pb2.DeleteBudgetRequest(name=f"{ACCOUNT}/budgets/{origin}.default")

    assert reason(grpc_stub_as(caller).DeleteBudget, request) == "METHOD_DENIED"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ACCOUNT,
        f"{ACCOUNT}/budgets/operator",
        f"{ACCOUNT}/budgets/fate.default",
        f"{ACCOUNT}/budgets/operator.A",
        f"{ACCOUNT}/budgets/operator.a/budgets/operator.a",
        "providers/x/budgets/operator.default",
    ],
)
def test_the_name_of_no_budget_is_refused(grpc_stub: Stub, name: str) -> None:
    request = budgets_pb2.DeleteBudgetRequest(name=name)

    assert bad_field(grpc_stub.DeleteBudget, request) == "name"


def test_answers_warn(grpc_stub: Stub, runtime: Stub, account: str) -> None:
    held = runtime.ReserveGas(reserve(account, 81))
    settled = runtime.SettleGas(pb.SettleGasRequest(hold=held.hold.name, usages=[used(50)]))
    read = grpc_stub.GetBudget(pb.GetBudgetRequest(account=account))

    expected = [
        budgets_pb2.BudgetWarning(
            budget=f"{account}/budgets/operator.default",
            percent=percent,
            gas_spent=gas,
            gas_limit=100,
        )
        for percent, gas in ((80, 81), (50, 50))
    ]
    assert [list(answer.warnings) for answer in (held, settled, read)] == [
        [expected[0]],
        [expected[1]],
        [expected[1]],
    ]


def test_what_is_available_is_also_limited_by_the_tenant(
    grpc_stub: Stub, runtime: Stub, account: str
) -> None:
    name = f"tenants/t{next(SEEDS)}"
    grpc_stub.SetTenant(budgets_pb2.SetTenantRequest(account=account, tenant=name))
    grpc_stub.SetBudget(pb.SetBudgetRequest(budget=limit(name, 60)))
    runtime.ReserveGas(reserve(account, 10))

    own = runtime.GetBudget(pb.GetBudgetRequest(account=account))
    of_tenant = runtime.GetBudget(pb.GetBudgetRequest(account=name))

    assert (own.gas_available, own.tenant) == (50, name)
    assert (of_tenant.gas_available, of_tenant.tenant) == (50, "")
    assert [found.gas_spent for found in of_tenant.budgets] == [10]


def test_a_tenant_without_a_budget_limits_nothing(grpc_stub: Stub, runtime: Stub) -> None:
    name = f"agents/a{next(SEEDS)}"
    grpc_stub.SetBudget(pb.SetBudgetRequest(budget=limit(name, 10**15)))

    read = runtime.GetBudget(pb.GetBudgetRequest(account=name))

    assert (read.gas_available, read.tenant) == (10**15, "tenants/default")


def test_budgets_that_are_for_a_part_do_not_say_what_is_available(
    grpc_stub: Stub, runtime: Stub, account: str
) -> None:
    for id_, change in (
        ("soft", pb.Budget(soft=True)),
        ("item", pb.Budget(item="model *")),
        ("run", pb.Budget(run=RUN)),
    ):
        part = limit(account, 5)
        part.MergeFrom(change)
        part.id = id_
        grpc_stub.SetBudget(pb.SetBudgetRequest(budget=part))

    assert runtime.GetBudget(pb.GetBudgetRequest(account=account)).gas_available == 100
