"""One value, one sequence of bytes."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from chassis.canonical import Json, canonical_json, sha256_hex

VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_it_is_json_that_reads_back_as_the_same_value(value: Json) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), st.integers(-9, 9), min_size=2, max_size=6))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    turned = dict(reversed(value.items()))

    assert canonical_json(value) == canonical_json(turned)


def test_the_digest_is_sha256() -> None:
    # The digest of nothing, from FIPS 180-4's examples.
    assert sha256_hex(b"").startswith("e3b0c44298fc1c14")
