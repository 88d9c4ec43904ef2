"""A person who decides sees what is signed, and nothing in it can deceive the eye."""

from __future__ import annotations

import json

import pytest

from chassis import rlp
from keymanager.signing import Purpose
from keymanager.uses.attributed import Attribute
from keymanager.uses.macs import Algorithm, Hmac
from keymanager.uses.operation import Operation
from keymanager.uses.preview import PREVIEW_CHARACTERS_MAX, preview_of
from keymanager.uses.signatures import SignDigest, SignMessage
from keymanager.uses.transactions import SignTransaction
from keymanager.uses.wallet import SignPersonalMessage, SignTypedData

from .samples import TRANSACTION, TYPED_DATA

CALL = b"\x02" + rlp.encode(
    (b"\x01", b"", b"\x01", b"\x02", b"\x52\x08", b"\x35" * 20, b"\x05", b"\xab\xcd", ())
)


@pytest.mark.parametrize(
    ("operation", "shown"),
    [
        (SignMessage(Purpose.REQUEST, b"POST\n/posts"), "POST\\n/posts"),
        (Attribute(SignPersonalMessage("Grüße".encode())), "Grüße"),
        (Hmac(Algorithm.SHA256, b"\xff\\x"), "\\xff\\\\x"),
        (SignPersonalMessage("a\u202eb".encode()), "a\\u202eb"),
        (SignTypedData(TYPED_DATA), '{"text":"hello"}'),
        (SignTransaction(CALL), "0xabcd"),
        (SignTransaction(TRANSACTION), ""),
        (SignDigest(bytes(32)), ""),
    ],
)
def test_the_content_is_shown_in_printable_letters(
    operation: Operation[object], shown: str
) -> None:
    assert preview_of(operation) == shown
    assert preview_of(operation).isprintable()


def test_blanks_in_typed_data_hide_nothing() -> None:
    wide = json.dumps(json.loads(TYPED_DATA), indent=2_000).encode()
    assert preview_of(SignTypedData(wide)) == '{"text":"hello"}'


@pytest.mark.parametrize("content", [b"x" * 5_000, b"\0" * 5_000, "\U000e0001".encode() * 999])
def test_a_long_message_is_shown_from_its_beginning(content: bytes) -> None:
    shown = preview_of(SignPersonalMessage(content))
    assert len(shown) == PREVIEW_CHARACTERS_MAX
    assert shown.endswith("…")


def test_a_message_of_the_longest_length_is_shown_whole() -> None:
    content = b"x" * PREVIEW_CHARACTERS_MAX
    assert preview_of(SignPersonalMessage(content)) == content.decode()
