"""A price table is read as written, or refused with the line that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gas.price_file import BYTES_MAX, PACKAGED, PriceFileInvalid, parse_prices, read_prices
from gas.prices import Meter, Price, Rate, Source, Usage, Weight

GOOD = """\
prices:
  model local/*:
    input_tokens: 1_000
  action board.post:
    connector_calls: 0
"""

RATE = "rate: {{micros_per_thousand_gas: {}, currency: {}}}\n"
SOURCE = "sources: {{x: {{url: '{}', date: '{}'}}}}\n"
BAD = {
    "an empty text": ("", 1, "is empty"),
    "a list": ("- a", 1, "the price table must be a mapping"),
    "another key": ("prices: {model *: {images: 1}}\nprice: {}", 2, "'price' is unknown"),
    "no prices": ("prices:", 1, "prices must be a mapping with at least one entry"),
    "nothing but a rate": (RATE.format(1, "USD"), 1, "has no prices"),
    "a rate of nothing": (GOOD + RATE.format(0, "USD"), 6, "micros_per_thousand_gas must be"),
    "an unknown currency": (GOOD + RATE.format(1, "usd"), 6, "currency must be"),
    "half a rate": (GOOD + "rate: {currency: USD}", 6, "rate has exactly the keys"),
    "a source nobody names": ("prices: {model *: {images: 1, source: x}}", 1, "is no source"),
    "a source without a day": (SOURCE.format("https://x.org", ""), 1, "date must be a day"),
    "a day that is none": (SOURCE.format("https://x.org", "2026-02-30"), 1, "date must be a day"),
    "a source in the clear": (SOURCE.format("http://x.org", "2026-02-03"), 1, "url must be"),
    "nothing but a source": (
        SOURCE.format("https://x.org", "2026-02-03") + "prices: {model *: {source: x}}",
        2,
        "has no price of a meter",
    ),
    "a tier that is cheaper": (
        "prices: {model *: {images: 2, above 100: {images: 1}}}",
        1,
        "costs less above 100 tokens",
    ),
    "nothing but a tier": ("prices: {model *: {above 100: {images: 1}}}", 1, "has no price for"),
    "an unknown weight": (GOOD + "weights: {model *: {beauty: 1}}", 6, "'beauty' is no weight"),
    "too heavy a weight": (
        GOOD + "weights: {model *: {complexity_permille: 1000001}}",
        6,
        "must be a whole number",
    ),
    "frequencies that fall": (
        GOOD + "weights: {model *: {frequencies: {9: 1, 8: 1}}}",
        6,
        "must have calls that rise",
    ),
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
    table = parse_prices(GOOD.encode())

    assert table.gas_per_thousand == {
        "model local/*": {Meter.INPUT_TOKENS: 1_000},
        "action board.post": {Meter.CONNECTOR_CALLS: 0},
    }


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_refused_with_its_line(case: str) -> None:
    text, line, problem = BAD[case]

    with pytest.raises(PriceFileInvalid, match=rf"^{line}: .*{re.escape(problem)}"):
        parse_prices(text.encode())


@given(text=st.text() | st.text("prices:model *{}[]&!?|\n \t0-'\"", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_prices(text.encode("utf-8", "surrogatepass"))
    except PriceFileInvalid as error:
        assert re.match(r"\d+: | is not UTF-8", str(error))


def test_aliases_do_not_unfold() -> None:
    bomb = "prices:\n  model a0: &a0 {images: 1}\n"
    bomb += "".join(f"  model a{n}: &a{n} {{? *a{n - 1} : *a{n - 1}}}\n" for n in range(1, 40))

    with pytest.raises(PriceFileInvalid, match="must be text"):
        parse_prices(bomb.encode())


def test_the_packaged_table_prices_a_local_generation() -> None:
    table = read_prices(PACKAGED)
    usages = [Usage(Meter.INPUT_TOKENS, 4096), Usage(Meter.OUTPUT_TOKENS, 256)]

    assert table.quote("model local/babbler", usages) == 410 + 256


def test_the_packaged_table_prices_any_action() -> None:
    table = read_prices(PACKAGED)

    assert table.quote("action board.post", [Usage(Meter.CONNECTOR_CALLS, 1)]) == 10


def test_everything_that_a_file_can_say_is_read() -> None:
    table = parse_prices(
        b"""
rate: {micros_per_thousand_gas: 50, currency: EUR}
sources:
  page: {url: https://example.org/prices, date: 2026-11-22}
weights:
  model a*: {complexity_permille: 1500, frequencies: {10: 900, 20: 800}}
prices:
  model a/b: {input_tokens: 1, source: page, above 1_000: {input_tokens: 2}}
"""
    )
    source = Source("https://example.org/prices", "2026-11-22")

    assert table.rate == Rate(50, "EUR")
    assert table.weights == {"model a*": Weight("model a*", 1_500, 1_000, ((10, 900), (20, 800)))}
    assert table.prices == (
        Price("model a/b", Meter.INPUT_TOKENS, 1, 0, source),
        Price("model a/b", Meter.INPUT_TOKENS, 2, 1_000, source),
    )


def test_every_public_price_that_is_packaged_has_its_source() -> None:
    table = read_prices(PACKAGED)
    ours = re.compile(r"model local/|action ")
    public = [price for price in table.prices if not ours.match(price.item)]

    assert {price.item.partition("/")[0].split()[1] for price in public} == {
        "anthropic",
        "azure",
        "bedrock",
        "google",
        "huggingface",
        "openai",
    }
    assert all(price.source for price in public)


def test_a_packaged_price_is_what_the_provider_says() -> None:
    table = read_prices(PACKAGED)
    million = 10**6

    def dollars(item: str, meter: Meter, amount: int = million) -> float:
        return table.rate.micros(table.quote(item, [Usage(meter, amount)])) / million

    assert dollars("model openai/gpt-4o", Meter.INPUT_TOKENS) == 2.50
    assert dollars("model openai/gpt-4o", Meter.OUTPUT_TOKENS) == 10
    assert dollars("model anthropic/claude-sonnet-4-5", Meter.CACHE_WRITE_TOKENS) == 3.75
    # More than 200,000 tokens in one call cost twice as much.
    assert dollars("model google/gemini-2.5-pro", Meter.INPUT_TOKENS) == 2.50
    assert dollars("model google/gemini-2.5-pro", Meter.INPUT_TOKENS, 200_000) == 0.25
    assert dollars("model openai/text-embedding-3-small", Meter.EMBEDDING_TOKENS) == 0.02


def test_the_files_of_a_folder_are_one_table(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("prices: {model a: {images: 1}}")
    (tmp_path / "b.yaml").write_text("prices: {model b: {images: 2}}")

    assert read_prices(tmp_path).gas_per_thousand.keys() == {"model a", "model b"}


def test_an_item_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("prices: {model a: {images: 1}}")

    with pytest.raises(PriceFileInvalid, match=r"b\.yaml:1: 'model a' comes twice"):
        read_prices(tmp_path)


def test_a_folder_without_prices_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PriceFileInvalid, match="has 0 price files"):
        read_prices(tmp_path)


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
