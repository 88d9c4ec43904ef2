"""Whatever is sent, an operation is made or one field is refused; nothing else ever comes out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidField
from keymanager.signing import Purpose
from keymanager.uses.basic import BasicHeaders
from keymanager.uses.bearer import BearerHeaders, KeyHeader, KeyUrl
from keymanager.uses.envelopes import Decrypt, Encrypt, GenerateDataKey, Rewrap
from keymanager.uses.farcaster import SignFarcaster
from keymanager.uses.handover import Release
from keymanager.uses.jwt import CdpJwt, WalletJwt
from keymanager.uses.macs import Algorithm, Hmac
from keymanager.uses.oauth1 import OAuth1Headers
from keymanager.uses.operation import Operation
from keymanager.uses.public import ShowPublicKey
from keymanager.uses.signatures import SignDigest, SignMessage
from keymanager.uses.sigv4 import AwsHeaders, AwsPresign
from keymanager.uses.smtp import SmtpLogin
from keymanager.uses.transactions import SignTransaction
from keymanager.uses.wallet import SignPersonalMessage, SignTypedData

from .samples import OPERATIONS, URL, key_of, perform

TEXTS = st.text(alphabet="aA1/:.-_?&=%+ \n\0\u00e9\ud800\U0001f600", max_size=12)
METHODS = st.sampled_from(["GET", "POST"]) | TEXTS
URLS = TEXTS.map("https://a.example/".__add__) | st.just(URL) | TEXTS
PLACES = st.tuples(URLS, st.sampled_from(["", "{key}", "/{key}"]), TEXTS).map("".join)
WORDS = st.just("s3") | TEXTS
NUMBERS = st.integers(-(2**70), 2**70)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=3)
BYTES = st.binary(max_size=100)
KEYS = st.binary(min_size=32, max_size=32) | BYTES

HOSTILE: dict[str, st.SearchStrategy[Callable[[], Operation[object]]]] = {
    "sigv4": st.tuples(METHODS, URLS, WORDS, WORDS, KEYS, PAIRS).map(
        lambda given: lambda: AwsHeaders(*given)
    ),
    "sigv4-presign": st.tuples(METHODS, URLS, WORDS, WORDS, NUMBERS).map(
        lambda given: lambda: AwsPresign(*given)
    ),
    "basic": st.tuples(METHODS, URLS).map(lambda given: lambda: BasicHeaders(*given)),
    "bearer": st.tuples(METHODS, URLS, WORDS).map(lambda given: lambda: BearerHeaders(*given)),
    "key-header": st.tuples(METHODS, URLS, WORDS).map(lambda given: lambda: KeyHeader(*given)),
    "key-url": st.tuples(METHODS, PLACES).map(lambda given: lambda: KeyUrl(*given)),
    "jwt": st.tuples(METHODS, URLS, WORDS).map(lambda given: lambda: CdpJwt(*given)),
    "wallet-jwt": st.tuples(METHODS, URLS, BYTES).map(lambda given: lambda: WalletJwt(*given)),
    "oauth1": st.tuples(METHODS, URLS, PAIRS).map(lambda given: lambda: OAuth1Headers(*given)),
    "decrypt": st.tuples(WORDS, BYTES, KEYS).map(lambda given: lambda: Decrypt(*given)),
    "encrypt": st.tuples(WORDS, BYTES).map(lambda given: lambda: Encrypt(*given)),
    "generate-data-key": st.tuples(WORDS, KEYS).map(lambda given: lambda: GenerateDataKey(*given)),
    "smtp": (TEXTS.map("smtps://a.example".__add__) | URLS).map(
        lambda given: lambda: SmtpLogin(given)
    ),
    "public-key": st.just(ShowPublicKey),
    "rewrap": st.tuples(WORDS, BYTES).map(lambda given: lambda: Rewrap(*given)),
    "release": st.tuples(WORDS, KEYS).map(lambda given: lambda: Release(*given)),
    "farcaster": BYTES.map(lambda given: lambda: SignFarcaster(given)),
    "hmac": BYTES.map(lambda given: lambda: Hmac(Algorithm.SHA512, given)),
    "sign-digest": KEYS.map(lambda given: lambda: SignDigest(given)),
    "sign-message": BYTES.map(lambda given: lambda: SignMessage(Purpose.REQUEST, given)),
    "sign-personal-message": BYTES.map(lambda given: lambda: SignPersonalMessage(given)),
    "sign-transaction": BYTES.map(lambda given: lambda: SignTransaction(given)),
    "sign-typed-data": BYTES.map(lambda given: lambda: SignTypedData(given)),
}


@pytest.mark.parametrize("name", sorted(operation.name for operation in OPERATIONS))
@given(data=st.data())
def test_any_input_is_an_operation_or_one_refused_field(name: str, data: st.DataObject) -> None:
    make = data.draw(HOSTILE[name])
    try:
        operation = make()
        result = perform(operation, key_of(min(operation.kinds)))
    except InvalidField as refusal:
        assert refusal.field
        assert str(refusal).isprintable()
    else:
        assert result
        assert operation.facts() is not None
