"""Prices, quotes and reports over gRPC: what is asked for is answered, or refused by its field."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.action.v1.action_pb2 import Caller, Usage
from actionvm.gas.v1 import budgets_pb2, prices_pb2
from actionvm.gas.v1 import gas_pb2 as pb
from tests.contracts.contract import refused_field
from tests.gas.calls import Stub, charge, limit, reserve, used
from tests.gas.ledgers import ACTION, MODEL, run_name

IN_A_CENTURY = Timestamp(seconds=4_900_000_000)


def price(**changes: object) -> pb.Price:
    good = {"item": "model *", "meter": Usage.METER_IMAGES, "gas_per_thousand": 1}
    return pb.Price(**{**good, **changes})  # type: ignore[arg-type]  # any field


def update(**changes: object) -> pb.UpdatePriceTableRequest:
    good = {"request_id": "u", "prices": [price()], "effective_time": IN_A_CENTURY}
    return pb.UpdatePriceTableRequest(**{**good, **changes})  # type: ignore[arg-type]  # any field


def test_a_table_is_read_as_it_was_written(grpc_stub: Stub) -> None:
    source = {"source_url": "https://example.org/p", "source_date": "2026-11-22"}
    prices = [
        price(gas_per_thousand=3, **source),
        price(gas_per_thousand=4, input_tokens_above=10, **source),
    ]
    rate = prices_pb2.Rate(micros_per_thousand_gas=5, currency="EUR")
    frequency = prices_pb2.Weight.Frequency(calls_min=7, weight_permille=500)
    weight = prices_pb2.Weight(item="model *", complexity_permille=2000, frequencies=[frequency])
    request = update(request_id="whole", prices=prices, rate=rate, weights=[weight])
    answer = grpc_stub.UpdatePriceTable(request)

    table = grpc_stub.GetPriceTable(pb.GetPriceTableRequest(version=answer.version))

    assert (list(table.prices), table.rate, list(table.weights)) == (prices, rate, [weight])
    assert table.effective_time == IN_A_CENTURY


def test_a_table_that_was_read_can_be_written(grpc_stub: Stub) -> None:
    table = grpc_stub.GetPriceTable(pb.GetPriceTableRequest())
    request = update(
        request_id="again", prices=table.prices, rate=table.rate, weights=table.weights
    )

    assert grpc_stub.UpdatePriceTable(request).version == table.version


def test_the_schedule_is_listed_in_pages_newest_first(grpc_stub: Stub) -> None:
    for number in range(3):
        grpc_stub.UpdatePriceTable(
            update(request_id=f"s{number}", prices=[price(gas_per_thousand=100 + number)])
        )

    def page(token: str) -> prices_pb2.ListPriceTablesResponse:
        return grpc_stub.ListPriceTables(
            prices_pb2.ListPriceTablesRequest(page_size=2, page_token=token)
        )

    found, token = list[prices_pb2.ScheduledPriceTable](), ""
    while True:
        answer = page(token)
        found += answer.tables
        token = answer.next_page_token
        if not token:
            break

    assert [table.price_count for table in found[:3]] == [1, 1, 1]
    assert [table.from_file for table in found] == [False] * (len(found) - 1) + [True]
    assert [table.in_force for table in found] == [False] * (len(found) - 1) + [True]
    assert len({table.version for table in found[:3]}) == 3


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (update(request_id=""), "request_id"),
        (update(prices=[]), "prices"),
        (update(prices=[price(item="model")]), "prices[0].item"),
        (update(prices=[price(meter=0)]), "prices[0].meter"),
        (update(prices=[price(gas_per_thousand=-1)]), "prices[0].gas_per_thousand"),
        (update(prices=[price(gas_per_thousand=10**12 + 1)]), "prices[0].gas_per_thousand"),
        (update(prices=[price(), price()]), "prices[1]"),
        (update(prices=[price(source_url="http://x")]), "prices[0].source_url"),
        (update(prices=[price(source_url="https://x")]), "prices[0].source_date"),
        (update(prices=[price(source_date="2026-11-22")]), "prices[0].source_url"),
        (update(prices=[price(input_tokens_above=-1)]), "prices[0].input_tokens_above"),
        (update(prices=[price(input_tokens_above=5)]), "prices[0]"),
        (
            update(prices=[price(), price(input_tokens_above=5, gas_per_thousand=0)]),
            "prices[0]",
        ),
        (update(rate=prices_pb2.Rate(currency="USD")), "rate.micros_per_thousand_gas"),
        (update(rate=prices_pb2.Rate(micros_per_thousand_gas=1)), "rate.currency"),
        (update(weights=[prices_pb2.Weight()]), "weights[0].item"),
        (update(weights=[prices_pb2.Weight(item="model *")] * 2), "weights[1].item"),
        (
            update(weights=[prices_pb2.Weight(item="model *", complexity_permille=-1)]),
            "weights[0].complexity_permille",
        ),
        (update(effective_time=Timestamp(seconds=1)), "effective_time"),
        (update(effective_time=Timestamp(seconds=2**62)), "effective_time"),
    ],
)
def test_a_table_that_cannot_be_is_refused_by_its_field(
    grpc_stub: Stub, request_: pb.UpdatePriceTableRequest, field: str
) -> None:
    assert refused_field(lambda: grpc_stub.UpdatePriceTable(request_)) == field


def read(stub: Stub, *texts: bytes, name: str = "p.yaml") -> pb.ReadPriceFilesResponse:
    files = [prices_pb2.PriceFile(file=name, content=text) for text in texts]
    return stub.ReadPriceFiles(prices_pb2.ReadPriceFilesRequest(files=files))


def test_what_files_say_can_be_put_into_force(grpc_stub: Stub) -> None:
    rate = b"rate: {micros_per_thousand_gas: 5, currency: EUR}"
    found = read(grpc_stub, b"prices: {model *: {images: 3}}", rate).update
    found.request_id, found.effective_time.seconds = "read", IN_A_CENTURY.seconds

    version = grpc_stub.UpdatePriceTable(found).version

    table = grpc_stub.GetPriceTable(pb.GetPriceTableRequest(version=version))
    assert list(table.prices) == [price(gas_per_thousand=3)]
    assert table.rate == prices_pb2.Rate(micros_per_thousand_gas=5, currency="EUR")


def test_files_that_are_read_change_nothing(grpc_stub: Stub) -> None:
    def schedule() -> prices_pb2.ListPriceTablesResponse:
        return grpc_stub.ListPriceTables(prices_pb2.ListPriceTablesRequest())

    before = schedule()
    found = read(grpc_stub, b"prices: {model *: {images: 999}}")

    assert schedule() == before
    assert not found.update.HasField("rate")


def test_what_is_wrong_with_files_has_its_place_and_the_way_out(grpc_stub: Stub) -> None:
    found = read(grpc_stub, b"prices:\n  model *: {image: 1}")

    assert not found.HasField("update")
    (problem,) = found.problems
    assert (problem.file, problem.line, problem.column) == ("p.yaml", 2, 13)
    assert (problem.code, problem.field) == ("UNKNOWN_FIELD", "prices.model *.image")
    assert (problem.message, problem.severity) == ("'image' is no meter", problem.SEVERITY_ERROR)
    assert problem.fix.startswith("meters are input_tokens,")


@pytest.mark.parametrize(
    ("texts", "name", "field"),
    [
        ([], "a", "files"),
        ([b""] * 101, "a", "files"),
        ([b"#" * 1024 * 1024] * 3, "a", "files"),
        ([b""], "", "files[0].file"),
        ([b""], "a" * 257, "files[0].file"),
        ([b""], "a\n", "files[0].file"),
    ],
)
def test_files_that_cannot_be_are_refused_by_their_field(
    grpc_stub: Stub, texts: list[bytes], name: str, field: str
) -> None:
    assert refused_field(lambda: read(grpc_stub, *texts, name=name)) == field


def test_a_version_and_a_time_do_not_go_together(grpc_stub: Stub) -> None:
    request = pb.GetPriceTableRequest(version=12 * "a", time=Timestamp(seconds=1))

    assert refused_field(lambda: grpc_stub.GetPriceTable(request)) == "time"


# --- Quotes --------------------------------------------------------------------------------------


def call(**changes: object) -> prices_pb2.PlannedCall:
    usages = [prices_pb2.UsageRange(meter=Usage.METER_INPUT_TOKENS, least=1, most=9)]
    good = {"item": MODEL, "count_least": 1, "count_most": 3, "usages": usages}
    return prices_pb2.PlannedCall(**{**good, **changes})  # type: ignore[arg-type]  # any field


def plan(*calls: prices_pb2.PlannedCall, account: str = "agents/a") -> prices_pb2.QuoteRunRequest:
    return prices_pb2.QuoteRunRequest(account=account, calls=calls)


def test_a_quote_takes_what_is_likely_from_earlier_charges(
    grpc_stub: Stub, runtime: Stub, account: str
) -> None:
    for gas in (6, 8):
        charge(runtime, account, gas)

    quote = grpc_stub.QuoteRun(plan(call(), account=account))

    assert quote.gas == prices_pb2.GasRange(gas_least=1, gas_likely=14, gas_most=27)
    count, usage = quote.assumptions
    assert (count.basis, count.likely) == (prices_pb2.Assumption.BASIS_MIDDLE, 2)
    assert (usage.basis, usage.likely, usage.charge_count) == (
        prices_pb2.Assumption.BASIS_MEASURED,
        7,
        2,
    )
    assert (quote.cost_most.micros, quote.cost_most.currency) == (3, "USD")


def usage(**changes: int) -> list[prices_pb2.UsageRange]:
    good = {"meter": Usage.METER_INPUT_TOKENS, "least": 1, "most": 9}
    return [prices_pb2.UsageRange(**{**good, **changes})]  # type: ignore[arg-type]  # any field


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (plan(account=""), "account"),
        (plan(), "calls"),
        (plan(call(), call()), "calls[1].item"),
        (plan(call(item="?")), "calls[0].item"),
        (plan(call(count_most=0)), "calls[0].count_most"),
        (plan(call(count_most=10_001)), "calls[0].count_most"),
        (plan(call(count_least=4)), "calls[0].count_least"),
        (plan(call(count_likely=4)), "calls[0].count_likely"),
        (plan(call(usages=[])), "calls[0].usages"),
        (plan(call(usages=usage() * 2)), "calls[0].usages[1].meter"),
        (plan(call(usages=usage(meter=99))), "calls[0].usages[0].meter"),
        (plan(call(usages=usage(most=-1))), "calls[0].usages[0].most"),
        (plan(call(usages=usage(least=10))), "calls[0].usages[0].least"),
        (plan(call(usages=usage(likely=0))), "calls[0].usages[0].likely"),
        (plan(call(usages=usage(most=2**53 - 1))), "calls"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_by_its_field(
    grpc_stub: Stub, request_: prices_pb2.QuoteRunRequest, field: str
) -> None:
    assert refused_field(lambda: grpc_stub.QuoteRun(request_)) == field


# --- Chains, reports and counts ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("callers", "field"),
    [
        ([Caller(account="a", run=run_name(9))], "callers[0].account"),
        ([Caller(account="agents/x", run="r")], "callers[0].run"),
        ([Caller(account="agents/x", run=run_name(9))] * 9, "callers"),
        ([Caller(account="agents/x", run=run_name(9))] * 2, "callers[0].account"),
    ],
)
def test_a_chain_that_cannot_be_is_refused_by_its_field(
    runtime: Stub, account: str, callers: list[Caller], field: str
) -> None:
    request = reserve(account, 1)
    request.callers.extend(callers)

    assert refused_field(lambda: runtime.ReserveGas(request)) == field


def test_a_hold_says_who_called(grpc_stub: Stub, runtime: Stub, account: str) -> None:
    grpc_stub.SetBudget(pb.SetBudgetRequest(budget=limit("agents/caller", 100)))
    caller = Caller(account="agents/caller", run=run_name(77))
    request = reserve(account, 1)
    request.callers.append(caller)

    assert list(runtime.ReserveGas(request).hold.callers) == [caller]


def report(stub: Stub, account: str, **query: Any) -> list[pb.UsageRow]:  # noqa: ANN401  # any field
    request = pb.ListUsageRequest(account=account, query=budgets_pb2.UsageQuery(**query))
    return list(stub.ListUsage(request).rows)


def test_usage_is_reported_by_what_is_asked_for(
    grpc_stub: Stub, runtime: Stub, account: str
) -> None:
    charge(runtime, account, 5)
    hold = runtime.ReserveGas(reserve(account, 1, item="model local/other")).hold
    runtime.SettleGas(pb.SettleGasRequest(hold=hold.name, usages=[used(1)]))

    (total,) = report(grpc_stub, account)
    by_item = report(grpc_stub, account, dimensions=[2, 3, 4], time_zone="Asia/Tokyo")

    assert (total.gas, total.charge_count, total.account) == (6, 2, "")
    assert (total.cost.micros, total.cost.currency) == (1, "USD")
    # It is 22:30 on the last of March in UTC.
    assert [(row.item, row.gas, row.day, row.tenant) for row in by_item] == [
        (MODEL, 5, "2026-04-01", "tenants/default"),
        ("model local/other", 1, "2026-04-01", "tenants/default"),
    ]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"time_zone": "Mars/Base"}, "query.time_zone"),
        ({"time_zone": "../../etc/passwd"}, "query.time_zone"),
        ({"dimensions": [0]}, "query.dimensions[0]"),
        ({"dimensions": [1, 1]}, "query.dimensions[1]"),
        ({"dimensions": [1] * 5}, "query.dimensions"),
        ({"tenant": "acme"}, "query.tenant"),
        ({"start_time": Timestamp(seconds=-1)}, "query.start_time"),
        ({"end_time": Timestamp(seconds=0)}, "query.end_time"),
        (
            {"start_time": Timestamp(seconds=900), "end_time": Timestamp(seconds=900)},
            "query.end_time",
        ),
    ],
)
def test_a_report_that_cannot_be_is_refused_by_its_field(
    grpc_stub: Stub, query: dict[str, Any], field: str
) -> None:
    assert refused_field(lambda: report(grpc_stub, "", **query)) == field


def counted(counter: int, amount: int, meter: int = Usage.METER_INPUT_TOKENS) -> Any:  # noqa: ANN401  # a message
    return budgets_pb2.TokenCount(meter=meter, counter=counter, amount=amount)  # type: ignore[arg-type]  # also unknown ones


def test_drift_is_listed_for_an_item(grpc_stub: Stub, runtime: Stub, account: str) -> None:
    hold = runtime.ReserveGas(reserve(account, 5, item="model local/drifting")).hold
    counts = [counted(1, 10), counted(2, 9), counted(3, 40)]
    runtime.SettleGas(pb.SettleGasRequest(hold=hold.name, usages=[used(1)], token_counts=counts))

    def page(token: str) -> budgets_pb2.ListTokenDriftResponse:
        request = budgets_pb2.ListTokenDriftRequest(
            item="model local/drifting", page_size=1, page_token=token
        )
        return grpc_stub.ListTokenDrift(request)

    first = page("")
    second = page(first.next_page_token)

    assert [
        (drift.counter, drift.below_count, drift.drift_permille_max)
        for drift in (*first.drifts, *second.drifts)
    ] == [(2, 1, 100), (3, 0, 3000)]
    assert second.next_page_token == ""


@pytest.mark.parametrize(
    ("counts", "field"),
    [
        ([counted(1, 1, meter=0)], "token_counts[0].meter"),
        ([counted(0, 1)], "token_counts[0].counter"),
        ([counted(1, -1)], "token_counts[0].amount"),
        ([counted(1, 1), counted(1, 2)], "token_counts[1]"),
        ([counted(1, 1)] * 17, "token_counts"),
    ],
)
def test_counts_that_cannot_be_are_refused_by_their_field(
    runtime: Stub, account: str, counts: list[Any], field: str
) -> None:
    hold = runtime.ReserveGas(reserve(account, 5)).hold
    request = pb.SettleGasRequest(hold=hold.name, token_counts=counts)

    assert refused_field(lambda: runtime.SettleGas(request)) == field


def test_a_quote_of_one_call_has_its_cost(grpc_stub: Stub) -> None:
    usages = [used(1, Usage.METER_CONNECTOR_CALLS)]
    quote = grpc_stub.QuoteGas(pb.QuoteGasRequest(item=ACTION, usages=usages))

    assert (quote.gas, quote.cost.micros, quote.cost.currency) == (10, 1, "USD")
