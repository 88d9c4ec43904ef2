"""Numbers of arguments are exact, or none."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runtime.amounts import amount_text, read_amount
from runtime.jsontext import read_exact


@given(st.decimals(-(10**12), 10**12, places=9))
def test_an_amount_is_exact(number: Any) -> None:  # noqa: ANN401  # a decimal, which hypothesis does not say
    text = format(number, "f")
    amount = read_amount(text)
    assert amount is not None
    assert amount == int(number.scaleb(9)) * 10**9
    assert read_amount(amount_text(amount)) == amount


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_read_as_it_is_written_or_not_at_all(number: float) -> None:
    text = json.dumps(number)
    amount = read_amount(read_exact(text))
    assert amount is None or float(amount_text(amount)) == number
