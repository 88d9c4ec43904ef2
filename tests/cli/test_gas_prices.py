"""Tests of price tables in the terminal: how a file is read, what is shown, what is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actionvm.gas.v1 import gas_pb2 as pb
from actionvm.gas.v1 import prices_pb2
from chassis.errors import InvalidField
from cli.errors import CommandError
from cli.price_changes import Change, compare
from cli.price_file import PriceFile, read_price_file, write_price_file

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

# What is wrong, and its line, column and code.
BROKEN = {
    "": (1, 1, "MISSING_FIELD"),
    "prices: {}": (1, 9, "WRONG_TYPE"),
    "prices:\n  - model x": (2, 3, "WRONG_TYPE"),
    "prices: {model x: {input_tokens: 1}": (1, 36, "MALFORMED_YAML"),
    "prices:\n  model x: {input_token: 1}": (2, 13, "UNKNOWN_FIELD"),
    "prices:\n  model x: {input_tokens: -1}": (2, 27, "WRONG_TYPE"),
    "prices:\n  model x: {input_tokens: 1.5}": (2, 27, "WRONG_TYPE"),
    "prices:\n  model x: {input_tokens: [1]}": (2, 27, "WRONG_TYPE"),
    f"prices:\n  model x: {{input_tokens: {10**12 + 1}}}": (2, 27, "WRONG_TYPE"),
    "prices:\n  model: {input_tokens: 1}": (2, 3, "INVALID_VALUE"),
    "prices: {model x: {input_tokens: 1}}\nweights: {x: {complexity_permille: 1}}": (
        *(2, 11),
        "INVALID_VALUE",
    ),
    "prices: {model x: {input_tokens: 1}}\nsources: {a: {url: http://b, date: 2026-11-22}}": (
        *(2, 20),
        "INVALID_VALUE",
    ),
    "prices: {model x: {input_tokens: 1}}\nsources: {a: {url: https://b, date: today}}": (
        *(2, 37),
        "INVALID_VALUE",
    ),
    "prices: {model x: {input_tokens: 1}}\nrate: {micros_per_thousand_gas: 1, currency: usd}": (
        2,
        46,
        "INVALID_VALUE",
    ),
    "prices:\n  model x: {source: a}": (2, 21, "INVALID_VALUE"),
    "prices:\n  model x: {input_tokens: 1, input_tokens: 2}": (2, 30, "DUPLICATE_KEY"),
    "prices:\n  ? [a]\n  : {input_tokens: 1}": (2, 5, "KEY_INVALID"),
    "price: {}\nprices: {model x: {input_tokens: 1}}": (1, 1, "UNKNOWN_FIELD"),
    "prices: {model x: {input_tokens: 1}}\nrate: {currency: USD}": (2, 1, "MISSING_FIELD"),
    "prices: {model x: {input_tokens: 1}}\nweights: {model x: {speed: 1}}": (
        2,
        21,
        "UNKNOWN_FIELD",
    ),
}


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


def test_a_file_says_prices_rate_and_weights(file: Path) -> None:
    found = read_price_file(file)

    origin = {"source_url": "https://example.com/prices", "source_date": "2026-11-22"}
    calls = pb.Price(item="action *", meter=METER.METER_CONNECTOR_CALLS, gas_per_thousand=10)
    assert found.prices == [
        price("model openai/*", 25_000, **origin),
        price("model openai/*", 50_000, input_tokens_above=200_000, **origin),
        calls,
    ]
    assert found.rate == prices_pb2.Rate(micros_per_thousand_gas=200, currency="EUR")
    frequency = prices_pb2.Weight.Frequency
    assert found.weights == [
        prices_pb2.Weight(
            item="model openai/*",
            complexity_permille=1500,
            inference_time_permille=1000,
            frequencies=[
                frequency(calls_min=100, weight_permille=900),
                frequency(calls_min=1000, weight_permille=800),
            ],
        )
    ]


@pytest.mark.parametrize(("content", "place"), BROKEN.items(), ids=range(len(BROKEN)))
def test_what_is_wrong_with_a_file_has_line_column_and_code(
    file: Path, content: str, place: tuple[int, int, str]
) -> None:
    file.write_text(content)

    with pytest.raises(CommandError) as failed:
        read_price_file(file)

    problem = failed.value.problems[0]
    assert (problem.line, problem.column, problem.code) == place


def test_all_problems_of_a_file_are_told_at_once(file: Path) -> None:
    file.write_text("prices:\n  model x: {a: 1, input_tokens: b}\n  model y: {c: 1}\n")

    with pytest.raises(CommandError) as failed:
        read_price_file(file)

    assert [problem.line for problem in failed.value.problems] == [2, 2, 3]


def test_a_folder_of_files_is_one_table(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(f"prices: {{model {name}: {{input_tokens: 1}}}}")

    assert [one.item for one in read_price_file(tmp_path).prices] == ["model a", "model b"]


def test_an_item_in_two_files_of_a_folder_is_told_with_the_second_file(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text("prices: {model x: {input_tokens: 1}}")

    with pytest.raises(CommandError) as failed:
        read_price_file(tmp_path)

    assert [problem.file for problem in failed.value.problems] == ["b.yaml"]


def test_a_file_that_is_no_text_is_refused(file: Path) -> None:
    file.write_bytes(b"prices: \xff")

    with pytest.raises(CommandError) as failed:
        read_price_file(file)

    assert failed.value.problems[0].code == "MALFORMED_TEXT"


def test_a_table_that_is_written_reads_as_the_same_table(file: Path, tmp_path: Path) -> None:
    found = read_price_file(file)
    table = pb.GetPriceTableResponse(prices=found.prices, rate=found.rate, weights=found.weights)
    copy = tmp_path / "copy.yaml"

    copy.write_text(write_price_file(table))

    again = read_price_file(copy)
    assert (again.prices, again.rate, again.weights) == (found.prices, found.rate, found.weights)


@given(content=st.text(alphabet="prices:modl x/*{}[],-&!'\"\n 019_\t", max_size=60))
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    file.write_text(content)

    try:
        found = read_price_file(file)
    except CommandError as error:
        assert error.problems
    else:
        assert found.prices


# --- What changes --------------------------------------------------------------------------------


def test_prices_that_come_go_and_rise_are_changes(system: FakeSystem) -> None:
    after = PriceFile(prices=[price("model local/*", 150), price("model new", 1)])

    found = compare(system.gas.table, after).prices

    meter = METER.METER_INPUT_TOKENS
    assert found == [
        Change(("action *", meter, 0), 7, None),
        Change(("model local/*", meter, 0), 100, 150),
        Change(("model new", meter, 0), None, 1),
    ]
    assert found[1].percent == 50


def test_a_rate_that_a_file_leaves_out_stays(system: FakeSystem) -> None:
    assert compare(system.gas.table, PriceFile(prices=[*system.gas.table.prices])).is_empty


def test_a_weight_that_changes_is_a_change(system: FakeSystem) -> None:
    weight = prices_pb2.Weight(item="model x", complexity_permille=2000)
    after = PriceFile(prices=[*system.gas.table.prices], weights=[weight])

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

    request, wanted = update_of(system), read_price_file(file)
    assert [*request.prices] == wanted.prices
    assert request.rate == wanted.rate
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


def test_what_the_gas_system_refuses_is_told_with_its_line(
    system: FakeSystem, invoke: Invoke, file: Path
) -> None:
    system.gas.update_failure = InvalidField("prices[1].item", "is no item")

    result = invoke("gas", "prices", "update", str(file), "--yes", "--json")

    (problem,) = json.loads(result.stdout)["error"]["problems"]
    assert (problem["file"], problem["line"], problem["column"]) == ("prices.yaml", 9, 21)
    assert (problem["field"], problem["message"]) == ("prices.model openai/*.item", "is no item")


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
