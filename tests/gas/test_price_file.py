"""A price table is read as written, or refused with the line that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gas.price_file import BYTES_MAX, PACKAGED, PriceFileInvalid, parse_prices, read_prices
from gas.prices import Meter, Usage

GOOD = """\
prices:
  model local/*:
    input_tokens: 1_000
  action board.post:
    connector_calls: 0
"""

BAD = {
    "an empty text": ("", 1, "is empty"),
    "a list": ("- a", 1, "the price table must be a mapping"),
    "another key": ("prices: {model *: {images: 1}}\nprice: {}", 2, "'price' is unknown"),
    "no prices": ("prices:", 1, "prices must be a mapping with at least one entry"),
    "an item without a kind": ("prices:\n  local/*: {images: 1}", 2, "is no item"),
    "a star inside": ("prices:\n  model a*b: {images: 1}", 2, "is no item"),
    "an item without prices": ("prices:\n  model *: {}", 2, "model * must be a mapping"),
    "an item twice": (GOOD + "  model local/*: {images: 1}", 6, "comes twice in prices"),
    "a meter twice": ("prices:\n  model *:\n    images: 1\n    images: 2", 4, "comes twice"),
    "an unknown meter": ("prices:\n  model *:\n    token: 1", 3, "'token' is no meter"),
    "a negative price": ("prices:\n  model *:\n    images: -1", 3, "must be a whole number"),
    "a fraction": ("prices:\n  model *:\n    images: 0.5", 3, "must be a whole number"),
    "too high a price": (f"prices: {{model *: {{images: {10**12 + 1}}}}}", 1, "from 0 to"),
    "a price that is a list": ("prices:\n  model *:\n    images: [1]", 3, "whole number"),
    "a key that is a list": ("prices:\n  ? [a]\n  : {images: 1}", 2, "must be text"),
    "no YAML": ("prices:\n  a: [", 2, "is not YAML"),
    "a tab": ("prices:\n\tmodel *: {}", 2, "is not YAML"),
    "a control character": ("prices: \0", 1, "is not YAML"),
    "an abyss": ("[" * 10_000, 1, "is not YAML"),
    "too many prices": (
        "prices:\n" + "".join(f"  model {n}: {{images: 1}}\n" for n in range(10_001)),
        1,
        "at most 10000",
    ),
}


def test_a_good_table_is_read_as_written() -> None:
    table = parse_prices(GOOD)

    assert table.gas_per_thousand == {
        "model local/*": {Meter.INPUT_TOKENS: 1_000},
        "action board.post": {Meter.CONNECTOR_CALLS: 0},
    }


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_refused_with_its_line(case: str) -> None:
    text, line, problem = BAD[case]

    with pytest.raises(PriceFileInvalid, match=rf"^{line}: .*{re.escape(problem)}"):
        parse_prices(text)


@given(text=st.text() | st.text("prices:model *{}[]&!?|\n \t0-'\"", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_prices(text)
    except PriceFileInvalid as error:
        assert re.match(r"\d+: ", str(error))


def test_aliases_do_not_unfold() -> None:
    bomb = "prices:\n  model a0: &a0 {images: 1}\n"
    bomb += "".join(f"  model a{n}: &a{n} {{? *a{n - 1} : *a{n - 1}}}\n" for n in range(1, 40))

    with pytest.raises(PriceFileInvalid, match="must be text"):
        parse_prices(bomb)


def test_the_packaged_table_prices_a_local_generation() -> None:
    table = read_prices(PACKAGED)
    usages = [Usage(Meter.INPUT_TOKENS, 4096), Usage(Meter.OUTPUT_TOKENS, 256)]

    assert table.quote("model local/babbler", usages) == 410 + 256


def test_the_packaged_table_prices_any_action() -> None:
    table = read_prices(PACKAGED)

    assert table.quote("action board.post", [Usage(Meter.CONNECTOR_CALLS, 1)]) == 10


def test_a_file_error_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("prices:\n  nothing: 1")

    with pytest.raises(PriceFileInvalid, match=rf"{re.escape(str(path))}:2: "):
        read_prices(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PriceFileInvalid, match=r"none\.yaml: cannot be read"):
        read_prices(tmp_path / "none.yaml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_bytes(b"prices\xff")

    with pytest.raises(PriceFileInvalid, match="is not UTF-8, at byte 6"):
        read_prices(path)


def test_a_file_that_is_too_long_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_bytes(b"#" * (BYTES_MAX + 1))

    with pytest.raises(PriceFileInvalid, match="is longer than"):
        read_prices(path)
