"""A price table is read as written, or refused with all that is wrong and where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.problems import PROBLEMS_MAX, Flaw, Problem
from gas.price_file import BYTES_MAX, PACKAGED, Found, PriceFile, parse_prices, read_prices
from gas.price_problems import PriceFileInvalid
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
# What is wrong: the text, line and column (0 for the whole file), code, and words of the message.
BAD = {
    "an empty text": ("", (0, 0), Flaw.MISSING_FIELD, "no prices"),
    "a list": ("- a", (1, 1), Flaw.WRONG_TYPE, "must be a mapping"),
    "another key": (
        "prices: {model *: {images: 1}}\nprice: {}",
        (2, 1),
        Flaw.UNKNOWN_FIELD,
        "parts are prices,",
    ),
    "no prices": ("prices:", (1, 8), Flaw.WRONG_TYPE, "at least one entry"),
    "nothing but a rate": (RATE.format(1, "USD"), (0, 0), Flaw.MISSING_FIELD, "no prices"),
    "a rate of nothing": (GOOD + RATE.format(0, "USD"), (6, 33), Flaw.INVALID_VALUE, "must be 1"),
    "a rate of words": (GOOD + RATE.format("a", "USD"), (6, 33), Flaw.INVALID_VALUE, "must be 1"),
    "an unknown currency": (
        GOOD + RATE.format(1, "usd"),
        (6, 46),
        Flaw.INVALID_VALUE,
        "such as USD",
    ),
    "half a rate": (GOOD + "rate: {currency: USD}", (6, 1), Flaw.MISSING_FIELD, "is required"),
    "a rate that is a list": (GOOD + RATE.format("[1]", "USD"), (6, 33), Flaw.WRONG_TYPE, "text"),
    "too much of a rate": (
        GOOD + "rate: {micros_per_thousand_gas: 1, currency: USD, x: 1}",
        (6, 51),
        Flaw.UNKNOWN_FIELD,
        "is unknown",
    ),
    "a source nobody names": (
        "prices: {model *: {images: 1, source: x}}",
        (1, 39),
        Flaw.INVALID_VALUE,
        "is no source",
    ),
    "a source without a day": (
        GOOD + SOURCE.format("https://x.org", ""),
        (6, 43),
        Flaw.INVALID_VALUE,
        "must be a day",
    ),
    "a day that is none": (
        GOOD + SOURCE.format("https://x.org", "2026-02-30"),
        (6, 43),
        Flaw.INVALID_VALUE,
        "must be a day",
    ),
    "a source in the clear": (
        GOOD + SOURCE.format("http://x.org", "2026-02-03"),
        (6, 20),
        Flaw.INVALID_VALUE,
        "must be an https URL",
    ),
    "nothing but a source": (
        SOURCE.format("https://x.org", "2026-02-03") + "prices: {model *: {source: x}}",
        (2, 10),
        Flaw.MISSING_FIELD,
        "has no price of a meter",
    ),
    "a tier that is cheaper": (
        "prices: {model *: {images: 2, above 100: {images: 1}}}",
        (1, 10),
        Flaw.INVALID_VALUE,
        "costs less above 100 tokens",
    ),
    "nothing but a tier": (
        "prices: {model *: {above 100: {images: 1}}}",
        (1, 10),
        Flaw.INVALID_VALUE,
        "has no price for",
    ),
    "a tier in two spellings": (
        "prices: {model *: {images: 1, above 10: {images: 1}, above 1_0: {images: 2}}}",
        (1, 66),
        Flaw.DUPLICATE_KEY,
        "comes twice",
    ),
    "a tier above all": (
        "prices: {model *: {images: 1, above 1000000001: {images: 1}}}",
        (1, 31),
        Flaw.INVALID_VALUE,
        "more than 1000000000 tokens",
    ),
    "an unknown weight": (
        GOOD + "weights: {model *: {beauty: 1}}",
        (6, 21),
        Flaw.UNKNOWN_FIELD,
        "is no weight",
    ),
    "too heavy a weight": (
        GOOD + "weights: {model *: {complexity_permille: 1000001}}",
        (6, 42),
        Flaw.WRONG_TYPE,
        "must be a whole number",
    ),
    "a weight of nothing": (
        GOOD + "weights: {x: {complexity_permille: 1}}",
        (6, 11),
        Flaw.INVALID_VALUE,
        "is no item",
    ),
    "frequencies that fall": (
        GOOD + "weights: {model *: {frequencies: {9: 1, 8: 1}}}",
        (6, 21),
        Flaw.INVALID_VALUE,
        "must have calls that rise",
    ),
    "an item without a kind": (
        "prices:\n  local/*: {images: 1}",
        (2, 3),
        Flaw.INVALID_VALUE,
        "is no item",
    ),
    "a star inside": (
        "prices:\n  model a*b: {images: 1}",
        (2, 3),
        Flaw.INVALID_VALUE,
        "is no item",
    ),
    "an item without prices": ("prices:\n  model *: {}", (2, 12), Flaw.WRONG_TYPE, "one entry"),
    "an item twice": (GOOD + "  model local/*: {images: 1}", (6, 3), Flaw.DUPLICATE_KEY, "twice"),
    "a meter twice": (
        "prices:\n  model *:\n    images: 1\n    images: 2",
        (4, 5),
        Flaw.DUPLICATE_KEY,
        "comes twice",
    ),
    "an unknown meter": (
        "prices:\n  model *:\n    token: 1",
        (3, 5),
        Flaw.UNKNOWN_FIELD,
        "'token' is no meter",
    ),
    "a negative price": (
        "prices:\n  model *:\n    images: -1",
        (3, 13),
        Flaw.WRONG_TYPE,
        "must be a whole number",
    ),
    "a fraction": ("prices: {model *: {images: 0.5}}", (1, 28), Flaw.WRONG_TYPE, "whole number"),
    "too high a price": (
        f"prices: {{model *: {{images: {10**12 + 1}}}}}",
        (1, 28),
        Flaw.WRONG_TYPE,
        "from 0 to",
    ),
    "a price that is a list": (
        "prices: {model *: {images: [1]}}",
        (1, 28),
        Flaw.WRONG_TYPE,
        "whole number",
    ),
    "a key that is a list": ("prices:\n  ? [a]\n  : 1", (2, 5), Flaw.KEY_INVALID, "must be text"),
    "no YAML": ("prices:\n  a: [", (3, 1), Flaw.MALFORMED_YAML, "is not YAML"),
    "a tab": ("prices:\n\tmodel *: {}", (2, 1), Flaw.MALFORMED_YAML, "is not YAML"),
    "a control character": ("prices: \0", (0, 0), Flaw.MALFORMED_YAML, "is not YAML"),
    "two documents": ("a: b\n---\na: b", (2, 1), Flaw.MALFORMED_YAML, "is not YAML"),
    "an abyss of brackets": ("[" * 10_000, (1, 17), Flaw.MALFORMED_YAML, "too deeply"),
    # Where the parser in C builds what it reads, this ends the process.
    "an abyss of lists": ("- " * 100_000, (1, 33), Flaw.MALFORMED_YAML, "too deeply"),
    "an alias": (
        "prices: {model a: &a {images: 1}, model b: *a}",
        (1, 44),
        Flaw.MALFORMED_YAML,
        "aliases are not read",
    ),
    "too many prices": (
        "prices:\n" + "".join(f"  model {n}: {{images: 1}}\n" for n in range(10_001)),
        (0, 0),
        Flaw.INVALID_VALUE,
        "at most 10000",
    ),
}


def parse(*texts: str) -> Found:
    """Read texts as the files a.yaml, b.yaml and so on."""
    names = (f"{letter}.yaml" for letter in "abc")
    return parse_prices(
        [PriceFile(name, text.encode()) for name, text in zip(names, texts, strict=False)]
    )


def problems(*texts: str) -> tuple[Problem, ...]:
    """Return what is wrong with texts."""
    with pytest.raises(PriceFileInvalid) as failed:
        parse(*texts)
    return failed.value.problems


def test_a_good_table_is_read_as_written() -> None:
    table = parse(GOOD).table

    assert table.gas_per_thousand == {
        "model local/*": {Meter.INPUT_TOKENS: 1_000},
        "action board.post": {Meter.CONNECTOR_CALLS: 0},
    }


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_refused_with_its_place(case: str) -> None:
    text, place, code, words = BAD[case]

    (problem,) = problems(text)

    assert (problem.line, problem.column) == place
    assert problem.code == code
    assert words in problem.message


def test_all_problems_are_told_in_their_order() -> None:
    text = "prices:\n  model x: {a: 1, images: b}\n  model y: {c: 1}\nrate: 5\n"

    found = problems(text, "prices: {model z: 1}")

    assert [(one.file, one.line, one.field) for one in found] == [
        ("a.yaml", 2, "prices.model x.a"),
        ("a.yaml", 2, "prices.model x.images"),
        ("a.yaml", 3, "prices.model y.c"),
        ("a.yaml", 4, "rate"),
        ("b.yaml", 1, "prices.model z"),
    ]


def test_of_very_many_problems_the_last_says_how_many_are_left_out() -> None:
    found = problems("prices:\n" + "".join(f"  model {n}: {{a: 1}}\n" for n in range(150)))

    assert len(found) == PROBLEMS_MAX
    assert found[-1].code == Flaw.PROBLEMS_LEFT_OUT
    assert found[-1].message.startswith("51 more")


def test_a_problem_with_a_very_long_text_is_short() -> None:
    (problem,) = problems(f"prices: {{{'x' * 100_000}: {{images: 1}}}}")

    assert len(str(problem)) < 1_000


@given(text=st.text() | st.text("prices:model *{}[]&!?|\n \t0-'\"", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_prices([PriceFile("f", text.encode("utf-8", "surrogatepass"))])
    except PriceFileInvalid as error:
        assert error.problems
    else:
        assert found.table.prices


def test_the_packaged_table_prices_a_local_generation() -> None:
    table = read_prices(PACKAGED)
    usages = [Usage(Meter.INPUT_TOKENS, 4096), Usage(Meter.OUTPUT_TOKENS, 256)]

    assert table.quote("model local/babbler", usages) == 410 + 256


def test_the_packaged_table_prices_any_action() -> None:
    table = read_prices(PACKAGED)

    assert table.quote("action board.post", [Usage(Meter.CONNECTOR_CALLS, 1)]) == 10


def test_everything_that_a_file_can_say_is_read() -> None:
    table = parse(
        """
rate: {micros_per_thousand_gas: 50, currency: EUR}
sources:
  page: {url: https://example.org/prices, date: 2026-11-22}
weights:
  model a*: {complexity_permille: 1500, frequencies: {10: 900, 20: 800}}
prices:
  model a/b: {input_tokens: 1, source: page, above 1_000: {input_tokens: 2}}
"""
    ).table
    source = Source("https://example.org/prices", "2026-11-22")

    assert table.rate == Rate(50, "EUR")
    assert table.weights == {"model a*": Weight("model a*", 1_500, 1_000, ((10, 900), (20, 800)))}
    assert table.prices == (
        Price("model a/b", Meter.INPUT_TOKENS, 1, 0, source),
        Price("model a/b", Meter.INPUT_TOKENS, 2, 1_000, source),
    )


def test_every_public_price_that_is_packaged_has_its_source() -> None:
    table = read_prices(PACKAGED)
    ours = re.compile(r"model local/|action |cache |code ")
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

    with pytest.raises(
        PriceFileInvalid, match=r"b\.yaml:1:10: .* comes twice; first at .*a\.yaml:1:10"
    ):
        read_prices(tmp_path)


def test_a_folder_without_prices_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PriceFileInvalid, match="has 0 price files"):
        read_prices(tmp_path)


def test_a_file_error_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("prices:\n  nothing: 1")

    with pytest.raises(PriceFileInvalid, match=rf"{re.escape(str(path))}:2:3: "):
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


def test_files_that_are_too_long_together_are_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_bytes(b"#" * (BYTES_MAX // 2 + 1))

    with pytest.raises(PriceFileInvalid, match="is longer than"):
        read_prices(tmp_path)
