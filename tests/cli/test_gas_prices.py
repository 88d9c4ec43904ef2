"""Tests of price tables in the terminal: how a file is read, what is shown, what is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actionvm.gas.v1 import gas_pb2 as pb
from actionvm.gas.v1 import prices_pb2
from cli.errors import CommandError
from cli.price_changes import Change, compare
from cli.price_file import find_price_files, write_price_file
from gas.price_file import PriceFile, parse_prices

from .conftest import FakeSystem, Invoke
from .gas_fakes import METER, at, price

EXAMPLE = """\
rate: {micros_per_thousand_gas: 200, currency: EUR}
sources:
  list: {url: "https://example.com/prices", date: "2026-11-22"}
prices:
  model openai/*:
    source: list
    input_tokens: 25_000
    above 200_000:
      input_tokens: 50000
  action *:
    connector_calls: 10
weights:
  model openai/*:
    complexity_permille: 1500
    frequencies: {100: 900, 1000: 800}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text(EXAMPLE)
    return path


def update_of(system: FakeSystem) -> pb.UpdatePriceTableRequest:
    (request,) = [one for one in system.gas.requests if isinstance(one, pb.UpdatePriceTableRequest)]
    return request


def has_updated(system: FakeSystem) -> bool:
    return any(isinstance(one, pb.UpdatePriceTableRequest) for one in system.gas.requests)


# --- The file ------------------------------------------------------------------------------------


def test_a_table_that_is_written_reads_as_the_same_table(
    system: FakeSystem, invoke: Invoke, file: Path, tmp_path: Path
) -> None:
    invoke("gas", "prices", "update", str(file), "--yes")
    found = update_of(system)
    table = pb.GetPriceTableResponse(prices=found.prices, rate=found.rate, weights=found.weights)
    copy = tmp_path / "copy.yaml"

    copy.write_text(write_price_file(table))

    again = parse_prices([PriceFile("copy.yaml", copy.read_bytes())])
    assert again == parse_prices([PriceFile("prices.yaml", file.read_bytes())])


def test_a_folder_is_sent_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml", "c.txt"):
        (tmp_path / name).write_text(name)

    found = find_price_files(tmp_path)

    assert [(one.file, one.content) for one in found] == [
        ("a.yaml", b"a.yaml"),
        ("b.yaml", b"b.yaml"),
    ]


def test_a_folder_without_price_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="has 0 files"):
        find_price_files(tmp_path)


def test_a_file_that_is_too_large_does_not_travel(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"#" * (2 * 1024 * 1024 + 1))

    with pytest.raises(CommandError, match="at most 2097152"):
        find_price_files(tmp_path)


# --- What changes --------------------------------------------------------------------------------


def test_prices_that_come_go_and_rise_are_changes(system: FakeSystem) -> None:
    after = pb.UpdatePriceTableRequest(prices=[price("model local/*", 150), price("model new", 1)])

    found = compare(system.gas.table, after).prices

    meter = METER.METER_INPUT_TOKENS
    assert found == [
        Change(("action *", meter, 0), 7, None),
        Change(("model local/*", meter, 0), 100, 150),
        Change(("model new", meter, 0), None, 1),
    ]
    assert found[1].percent == 50


def test_a_rate_that_a_file_leaves_out_stays(system: FakeSystem) -> None:
    assert compare(
        system.gas.table, pb.UpdatePriceTableRequest(prices=[*system.gas.table.prices])
    ).is_empty


def test_a_weight_that_changes_is_a_change(system: FakeSystem) -> None:
    weight = prices_pb2.Weight(item="model x", complexity_permille=2000)
    after = pb.UpdatePriceTableRequest(prices=[*system.gas.table.prices], weights=[weight])

    assert compare(system.gas.table, after).others == ["weights of model x: new"]


# --- Commands ------------------------------------------------------------------------------------


def test_nothing_is_sent_before_somebody_agrees(
    system: FakeSystem, invoke: Invoke, file: Path
) -> None:
    result = invoke("gas", "prices", "update", str(file))

    assert result.exit_code == 2
    assert "NOT_CONFIRMED" in result.stderr
    assert "3 new, 2 gone" in result.stdout
    assert not has_updated(system)


def test_what_was_shown_is_what_is_sent(system: FakeSystem, invoke: Invoke, file: Path) -> None:
    invoke("gas", "prices", "update", str(file), "--yes")

    request = update_of(system)
    source = {"source_url": "https://example.com/prices", "source_date": "2026-11-22"}
    calls = pb.Price(item="action *", meter=METER.METER_CONNECTOR_CALLS, gas_per_thousand=10)
    assert [*request.prices] == [
        calls,
        price("model openai/*", 25_000, **source),
        price("model openai/*", 50_000, input_tokens_above=200_000, **source),
    ]
    assert request.rate == prices_pb2.Rate(micros_per_thousand_gas=200, currency="EUR")
    assert [weight.item for weight in request.weights] == ["model openai/*"]
    assert not request.HasField("effective_time")


def test_prices_may_come_into_force_later(system: FakeSystem, invoke: Invoke, file: Path) -> None:
    options = ("--effective", "2026-12-01", "--zone", "Europe/Berlin", "--yes")

    invoke("gas", "prices", "update", str(file), *options)

    assert update_of(system).effective_time == at("2026-11-30T23:00")


def test_a_table_that_changes_nothing_is_not_sent(
    system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "same.yaml").write_text(invoke("gas", "prices", "show", "--yaml").stdout)

    result = invoke("gas", "prices", "update", str(tmp_path / "same.yaml"), "--yes")

    assert "nothing changes" in result.stdout
    assert not has_updated(system)


def test_all_problems_of_a_file_are_told_at_once(
    system: FakeSystem, invoke: Invoke, file: Path
) -> None:
    file.write_text("prices:\n  model x: {a: 1, input_tokens: b}\n  model y: {c: 1}\n")

    result = invoke("gas", "prices", "update", str(file), "--yes", "--json")

    problems = json.loads(result.stdout)["error"]["problems"]
    assert [(one["file"], one["line"], one["column"]) for one in problems] == [
        ("prices.yaml", 2, 13),
        ("prices.yaml", 2, 33),
        ("prices.yaml", 3, 13),
    ]
    assert not has_updated(system)


def test_a_broken_file_exits_with_2_and_shows_the_place(
    system: FakeSystem, invoke: Invoke, file: Path
) -> None:
    file.write_text("prices:\n  model x: {input_token: 1}\n")

    result = invoke("gas", "prices", "update", str(file))

    assert result.exit_code == 2
    assert "prices.yaml:2:13: error UNKNOWN_FIELD" in result.stderr
    assert not has_updated(system)


def test_prices_are_shown_as_providers_count_them(system: FakeSystem, invoke: Invoke) -> None:
    # 100 gas per 1,000 tokens are 100,000 gas per million; 1,000 gas are 100 micros.
    assert "0.01 USD" in invoke("gas", "prices", "show").stdout


def test_prices_are_found_by_a_part_of_their_item(system: FakeSystem, invoke: Invoke) -> None:
    found = json.loads(invoke("gas", "prices", "show", "LOCAL", "--json").stdout)

    assert [one["item"] for one in found["prices"]] == ["model local/*"]


def test_a_large_table_is_shown_by_the_beginning_of_its_items(
    system: FakeSystem, invoke: Invoke
) -> None:
    many = [price(f"model openai/{number}", 1) for number in range(200)]
    system.gas.table.prices.extend([*many, price("action board.post", 1)])

    lines = invoke("gas", "prices", "show").stdout.splitlines()

    assert [line.split() for line in lines[1:5]] == [
        ["action", "*", "1"],
        ["action", "board.", "1"],
        ["model", "local/", "1"],
        ["model", "openai/", "200"],
    ]
