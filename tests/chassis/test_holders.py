"""Only its holder opens a sealed share, and only a file of holders stands for holders."""

from __future__ import annotations

from pathlib import Path

import pytest
from shamir_mnemonic.wordlist import WORDLIST

from chassis.holders import (
    Holder,
    HolderKeyInvalid,
    HoldersMalformed,
    SealedShareInvalid,
    format_holders,
    new_private_key,
    open_share,
    public_key_of,
    read_holders,
    seal_share,
)

SHARE = " ".join(WORDLIST[:33])
HOLDER_KEY = public_key_of(b"h" * 32)
SEALED = seal_share(SHARE, HOLDER_KEY)


def test_the_holder_opens_a_sealed_share() -> None:
    assert open_share(SEALED, b"h" * 32) == SHARE


def test_sealed_shares_have_one_length() -> None:
    assert len(seal_share("academic acid", HOLDER_KEY)) == len(SEALED)


def test_a_share_of_the_longest_words_has_that_length_too() -> None:
    longest = " ".join([max(WORDLIST, key=len)] * 33)
    assert len(seal_share(longest, HOLDER_KEY)) == len(SEALED)


@pytest.mark.parametrize("key", [b"o" * 32, b"short", b""])
def test_no_other_key_opens_a_sealed_share(key: bytes) -> None:
    with pytest.raises(SealedShareInvalid):
        open_share(SEALED, key)


def test_no_flipped_bit_of_a_sealed_share_is_accepted() -> None:
    for bit in range(8 * len(SEALED)):
        changed = (int.from_bytes(SEALED) ^ 1 << bit).to_bytes(len(SEALED))
        # The top bit of an X25519 key is ignored (RFC 7748), but it is hashed into the key here.
        with pytest.raises(SealedShareInvalid):
            open_share(changed, b"h" * 32)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 47, 100])
def test_a_sealed_share_that_was_cut_is_refused(size: int) -> None:
    with pytest.raises(SealedShareInvalid):
        open_share(SEALED[:size], b"h" * 32)


@pytest.mark.parametrize("key", [b"", b"short", bytes(32), bytes(33)])
def test_a_key_of_a_holder_that_is_none_is_refused(key: bytes) -> None:
    with pytest.raises(HolderKeyInvalid):
        seal_share(SHARE, key)


def test_a_new_key_opens_what_is_sealed_to_its_public_half() -> None:
    key = new_private_key()
    assert open_share(seal_share(SHARE, public_key_of(key)), key) == SHARE


# --- The file ------------------------------------------------------------------------------------


def test_holders_are_read_as_they_were_written(tmp_path: Path) -> None:
    holders = (Holder("alice", b"a" * 32), Holder("bob", b"b" * 32))
    (tmp_path / "holders.json").write_bytes(format_holders(reversed(holders)))
    assert read_holders(tmp_path / "holders.json") == holders


def test_without_a_file_nobody_is_registered(tmp_path: Path) -> None:
    assert read_holders(tmp_path / "holders.json") == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'{"alice": 1}',
        b'{"alice": "abcd"}',
        b'{"Alice": "%s"}' % (b"aa" * 32),
        b'{"alice": "%s", "bob": "%s"}' % (b"aa" * 32, b"aa" * 32),
        format_holders(Holder(f"h{i}", bytes([i]) * 32) for i in range(17)),
    ],
    ids=range(8),
)
def test_a_damaged_file_does_not_stand_for_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "holders.json").write_bytes(content)
    with pytest.raises(HoldersMalformed):
        read_holders(tmp_path / "holders.json")
