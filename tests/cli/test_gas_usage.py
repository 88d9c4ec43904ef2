"""Tests of what people see of what was used: as a table, as CSV, and as a chart."""

from __future__ import annotations

import csv
import io
import json

import pytest

from actionvm.gas.v1 import budgets_pb2
from actionvm.gas.v1 import gas_pb2 as pb

from .conftest import FakeSystem, Invoke
from .gas_fakes import row

BERLIN = "Europe/Berlin"


def usage_query(system: FakeSystem) -> budgets_pb2.UsageQuery:
    request = system.gas.requests[-1]
    assert isinstance(request, pb.ListUsageRequest)
    return request.query


def test_usage_is_summed_by_agent_and_item_unless_told_otherwise(
    system: FakeSystem, invoke: Invoke
) -> None:
    invoke("gas", "usage")

    query = budgets_pb2.UsageQuery
    assert usage_query(system).dimensions == [query.DIMENSION_ACCOUNT, query.DIMENSION_ITEM]


def test_a_day_of_usage_begins_in_the_time_zone_that_was_named(
    system: FakeSystem, invoke: Invoke
) -> None:
    invoke("gas", "usage", "--by", "day", "--since", "2026-11-22", "--zone", BERLIN)

    query = usage_query(system)
    assert query.time_zone == BERLIN
    assert query.start_time.ToJsonString() == "2026-11-21T23:00:00Z"


def test_a_moment_may_name_its_own_zone(system: FakeSystem, invoke: Invoke) -> None:
    invoke("gas", "usage", "--until", "2026-11-22T09:30-05:00", "--zone", BERLIN)

    assert usage_query(system).end_time.ToJsonString() == "2026-11-22T14:30:00Z"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--since", "yesterday"),
        ("--until", "2026-13-01"),
        ("--zone", "Mars/Olympus"),
        ("--by", "colour"),
        ("--by", "day,day"),
        ("--by", ""),
        ("--by", "model,item"),
    ],
)
def test_a_wrong_option_of_usage_is_named_and_nothing_is_asked(
    system: FakeSystem, invoke: Invoke, option: str, value: str
) -> None:
    result = invoke("gas", "usage", option, value, "--json")

    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["field"] == option
    assert not system.gas.requests


def test_usage_by_model_leaves_actions_out(system: FakeSystem, invoke: Invoke) -> None:
    system.gas.rows = [row(5, item="model local/babbler"), row(9, item="action board.post")]

    found = json.loads(invoke("gas", "usage", "--by", "model", "--json").stdout)["rows"]

    assert [one["item"] for one in found] == ["model local/babbler"]


def test_what_was_passed_on_to_another_agent_does_not_count_twice(
    system: FakeSystem, invoke: Invoke
) -> None:
    system.gas.rows = [
        row(40, account="agents/a", item="agent b"),
        row(40, account="agents/b", item="model local/babbler"),
    ]

    total = next(line for line in invoke("gas", "usage").stdout.splitlines() if "total" in line)

    assert total.split()[1:] == ["1", "40", "0.00004", "USD"]


def test_sums_of_several_currencies_have_no_total(system: FakeSystem, invoke: Invoke) -> None:
    euros = row(2, item="model b")
    euros.cost.currency = "EUR"
    system.gas.rows = [row(1, item="model a"), euros]

    total = next(line for line in invoke("gas", "usage").stdout.splitlines() if "total" in line)

    assert total.split()[1:] == ["2", "3"]


def test_csv_has_a_column_for_each_meter_that_was_used(system: FakeSystem, invoke: Invoke) -> None:
    system.gas.rows = [row(5, day="2026-11-22", account="agents/a")]

    lines = list(
        csv.reader(io.StringIO(invoke("gas", "usage", "--by", "agent,day", "--csv").stdout))
    )

    assert lines == [
        ["agent", "day", "input_tokens", "charges", "gas", "cost_micros", "currency"],
        ["a", "2026-11-22", "5", "1", "5", "5", "USD"],
    ]


def test_csv_of_nothing_is_a_head_without_rows(system: FakeSystem, invoke: Invoke) -> None:
    system.gas.rows = []

    assert invoke("gas", "usage", "--csv").stdout == "agent,item,charges,gas,cost_micros,currency\n"


def test_no_usage_says_where_to_look(system: FakeSystem, invoke: Invoke) -> None:
    system.gas.rows = []

    assert "runs" in invoke("gas", "usage", "--chart").stdout


def test_a_chart_draws_the_largest_sum_as_the_longest_bar(
    system: FakeSystem, invoke: Invoke
) -> None:
    system.gas.rows = [row(10, account="agents/a"), row(40, account="agents/b")]

    _, b, a = invoke("gas", "usage", "--by", "agent", "--chart").stdout.splitlines()

    assert b.startswith("b ")
    assert b.count("█") > 3 * a.count("█") > 0


def test_a_chart_in_a_pipe_is_plain_and_as_wide_as_a_terminal_was_once(
    system: FakeSystem, invoke: Invoke
) -> None:
    output = invoke("gas", "usage", "--chart").stdout

    assert "\x1b" not in output
    assert max(map(len, output.splitlines())) == 80


def test_a_chart_of_days_has_a_row_for_days_without_a_charge(
    system: FakeSystem, invoke: Invoke
) -> None:
    system.gas.rows = [row(10, day="2026-11-20"), row(40, day="2026-11-23")]

    days = invoke("gas", "usage", "--by", "day", "--chart").stdout.splitlines()[1:]

    assert [day.split()[0][-2:] for day in days] == ["20", "21", "22", "23"]
    assert days[1].split()[1:] == ["0"]


def test_a_chart_of_refunds_has_no_bar(system: FakeSystem, invoke: Invoke) -> None:
    refunded = row(0, day="2026-11-20")
    refunded.gas = -7
    system.gas.rows = [refunded]

    assert "█" not in invoke("gas", "usage", "--by", "day", "--chart").stdout


def test_two_forms_at_once_are_refused(system: FakeSystem, invoke: Invoke) -> None:
    assert invoke("gas", "usage", "--csv", "--chart").exit_code == 2
