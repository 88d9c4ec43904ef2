"""A quote is believed if it is what it says, made here and now; no forged one is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keymanager.platform.port import Platform, Quote, QuoteProblem, QuoteRefused
from keymanager.platform.quotes import verify_quote
from platformd import protocol

from .bench import Bench, Identity

OURS = Identity()


def report(nonce: str, key: str = "our key") -> bytes:
    """Return what an enrolment binds a quote to."""
    return hashlib.sha512(f"{nonce}|{key}".encode()).digest()


@dataclass(frozen=True)
class Scene:
    """A good quote, and what else an attacker has."""

    quote: Quote
    of_other_platform: Quote
    of_other_role: Quote
    of_older_code: Quote
    of_other_signer: Quote
    of_debug: Quote
    of_our_debug: Quote
    replayed: Quote
    relayed: Quote

    def accepts(self, content: bytes) -> QuoteProblem | None:
        """Verify as strictly as the key manager does; return the problem."""
        try:
            quote = Quote.from_bytes(content)
            verify_quote(
                quote,
                report_data=report("now"),
                trusted_keys=[self.quote.key],
                allow_emulated=True,
                allow_debug=False,
                role="keymanager",
                code=self.quote.measurement.code,
                signer=self.quote.measurement.signer,
                security_version_min=2,
            )
        except QuoteRefused as error:
            return error.problem
        return None


@pytest.fixture
def scene(bench: Bench) -> Scene:
    """Let everybody make a quote."""
    data = report("now")

    def quote_of(identity: Identity) -> Quote:
        return bench.become(identity).quote(data)

    ours = bench.become(OURS)
    return Scene(
        quote=ours.quote(data),
        replayed=ours.quote(report("yesterday")),
        relayed=ours.quote(report("now", "their key")),
        of_other_platform=bench.other().become(OURS).quote(data),
        of_other_role=quote_of(replace(OURS, role="gas")),
        of_older_code=quote_of(replace(OURS, security_version=1)),
        of_other_signer=quote_of(replace(OURS, signer="them")),
        of_debug=quote_of(replace(OURS, debug=True, signer="owner")),
        of_our_debug=quote_of(replace(OURS, debug=True)),
    )


def self_signed(quote: Quote) -> Quote:
    """Sign it with a key of our own, and call it the key of the platform."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    forged = replace(quote, platform="soft", hardware=False, key=public)
    content = protocol.quoted(protocol.decode(forged.to_bytes()))
    return replace(forged, signature=key.sign(content))


def measured(**changes: object) -> Callable[[Scene], bytes]:
    def forge(scene: Scene) -> bytes:
        changed = replace(scene.quote.measurement, **changes)  # type: ignore[arg-type]  # by name
        return replace(scene.quote, measurement=changed).to_bytes()

    return forge


def changed(**changes: object) -> Callable[[Scene], bytes]:
    return lambda scene: replace(scene.quote, **changes).to_bytes()  # type: ignore[arg-type]  # by name


def written(change: Callable[[bytes], bytes]) -> Callable[[Scene], bytes]:
    return lambda scene: change(scene.quote.to_bytes())


def flipped(name: str, at: int) -> Callable[[Scene], bytes]:
    def forge(scene: Scene) -> bytes:
        content = bytearray(getattr(scene.quote, name))
        content[at % len(content)] ^= 1
        return changed(**{name: bytes(content)})(scene)

    return forge


def with_field(**fields: object) -> Callable[[Scene], bytes]:
    return written(
        lambda content: json.dumps(
            {**json.loads(content), **fields}, sort_keys=True, separators=(",", ":")
        ).encode()
    )


def without(name: str) -> Callable[[Scene], bytes]:
    return written(
        lambda content: protocol.encode(
            {key: value for key, value in protocol.decode(content).items() if key != name}
        )
    )


FIELDS = (
    *("code", "debug", "format", "hardware", "key", "platform", "report_data", "role"),
    *("security_version", "signature", "signer"),
)

FORGED: dict[str, Callable[[Scene], bytes]] = {
    "replayed": lambda scene: scene.replayed.to_bytes(),
    "relayed": lambda scene: scene.relayed.to_bytes(),
    "other platform": lambda scene: scene.of_other_platform.to_bytes(),
    "other role": lambda scene: scene.of_other_role.to_bytes(),
    "older code": lambda scene: scene.of_older_code.to_bytes(),
    "other signer": lambda scene: scene.of_other_signer.to_bytes(),
    "debug": lambda scene: scene.of_debug.to_bytes(),
    "our debug": lambda scene: scene.of_our_debug.to_bytes(),
    "self-signed": lambda scene: self_signed(scene.quote).to_bytes(),
    "self-signed under their key": lambda scene: replace(
        self_signed(scene.quote), key=scene.quote.key
    ).to_bytes(),
    "signature of another report": lambda scene: replace(
        scene.replayed, report_data=scene.quote.report_data
    ).to_bytes(),
    "signature of another role": lambda scene: replace(
        scene.of_other_role, measurement=scene.quote.measurement
    ).to_bytes(),
    "signature of another platform": lambda scene: replace(
        scene.quote, signature=scene.of_other_platform.signature
    ).to_bytes(),
    "key of another platform": lambda scene: replace(
        scene.quote, key=scene.of_other_platform.key
    ).to_bytes(),
    "role": measured(role="runtime"),
    "no role": measured(role=""),
    "code": measured(code=bytes(32)),
    "signer": measured(signer=bytes(32)),
    "newer": measured(security_version=3),
    "newest": measured(security_version=2**53 - 1),
    "now debug": measured(debug=True),
    "hardware": changed(hardware=True, platform="soft"),
    "platform": changed(platform="sgx"),
    "no platform": changed(platform=""),
    "swapped platform": lambda scene: replace(
        scene.quote, platform="tpm2" if scene.quote.platform == "soft" else "soft"
    ).to_bytes(),
    "report data": changed(report_data=bytes(64)),
    "no signature": changed(signature=b""),
    "zero signature": changed(signature=bytes(64)),
    "no key": changed(key=b""),
    "zero key": changed(key=bytes(32)),
    "empty": written(lambda _: b""),
    "half": written(lambda content: content[: len(content) // 2]),
    "one byte less": written(lambda content: content[:-1]),
    "one byte more": written(lambda content: content + b" "),
    "leading space": written(lambda content: b" " + content),
    "twice": written(lambda content: content + content),
    "list": written(lambda content: b"[" + content + b"]"),
    "field twice": written(lambda content: b'{"role":"gas",' + content[1:]),
    "upper case": written(lambda content: content.replace(b"a", b"A")),
    "other order": written(lambda content: json.dumps(json.loads(content), indent=1).encode()),
    "too long": written(lambda content: content + bytes(5000)),
    "not ascii": written(lambda content: content.replace(b"keymanager", "këymanager".encode())),
    "deep": written(lambda _: b"[" * 4000),
    "further field": with_field(admin=True),
    "number for text": with_field(role=1),
    "text for number": with_field(security_version="2"),
    "truth for number": with_field(security_version=True),
    "fraction": with_field(security_version=2.0),
    "negative": with_field(security_version=-1),
    "long report": with_field(report_data="00" * 65),
    "short code": with_field(code="00" * 31),
    "other format": with_field(format="actionvm.quote/v2"),
    "null": with_field(signer=None),
    **{f"without {name}": without(name) for name in FIELDS},
    **{f"signature bit {at}": flipped("signature", at) for at in (0, 1, 2, 9, 31, 32, 40, -9, -1)},
    **{f"key bit {at}": flipped("key", at) for at in (0, 1, 31, -1)},
}


def test_a_good_quote_is_believed(scene: Scene) -> None:
    assert scene.accepts(scene.quote.to_bytes()) is None


def test_there_are_sixty_forgeries() -> None:
    assert len(FORGED) >= 60


def test_no_forged_quote_is_believed(scene: Scene) -> None:
    believed = [name for name, forge in FORGED.items() if scene.accepts(forge(scene)) is None]

    assert not believed


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("replayed", QuoteProblem.REPORT_DATA),
        ("relayed", QuoteProblem.REPORT_DATA),
        ("other platform", QuoteProblem.KEY),
        ("self-signed", QuoteProblem.KEY),
        ("other role", QuoteProblem.ROLE),
        ("older code", QuoteProblem.SECURITY_VERSION),
        ("other signer", QuoteProblem.SIGNER),
        ("our debug", QuoteProblem.DEBUG),
        ("role", QuoteProblem.SIGNATURE),
        ("one byte less", QuoteProblem.MALFORMED),
    ],
)
def test_a_refusal_says_what_is_wrong(scene: Scene, name: str, problem: QuoteProblem) -> None:
    assert scene.accepts(FORGED[name](scene)) is problem


def test_an_emulated_platform_is_refused_where_it_is_not_allowed(platform: Platform) -> None:
    quote = platform.quote(report("now"))

    with pytest.raises(QuoteRefused) as caught:
        verify_quote(
            quote,
            report_data=report("now"),
            trusted_keys=[quote.key],
            allow_emulated=False,
            allow_debug=True,
        )

    assert caught.value.problem is QuoteProblem.EMULATED


def test_code_that_nobody_signed_passes_only_where_that_is_allowed(bench: Bench) -> None:
    quote = bench.become(replace(OURS, debug=True)).quote(report("now"))
    asked = {"report_data": report("now"), "trusted_keys": [quote.key], "allow_emulated": True}

    verify_quote(quote, allow_debug=True, **asked)  # type: ignore[arg-type]  # by name
    with pytest.raises(QuoteRefused) as caught:
        verify_quote(quote, allow_debug=False, **asked)  # type: ignore[arg-type]  # by name

    assert caught.value.problem is QuoteProblem.DEBUG


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"role": "gas"}, QuoteProblem.ROLE),
        ({"code": bytes(32)}, QuoteProblem.CODE),
        ({"signer": bytes(32)}, QuoteProblem.SIGNER),
        ({"security_version_min": 3}, QuoteProblem.SECURITY_VERSION),
        ({"trusted_keys": ()}, QuoteProblem.KEY),
        ({"report_data": report("later")}, QuoteProblem.REPORT_DATA),
    ],
    ids=str,
)
def test_a_verifier_gets_what_it_asks_for(
    platform: Platform, wanted: dict[str, object], problem: QuoteProblem
) -> None:
    quote = platform.quote(report("now"))
    asked = {"report_data": report("now"), "trusted_keys": [quote.key], **wanted}

    with pytest.raises(QuoteRefused) as caught:
        verify_quote(quote, allow_emulated=True, allow_debug=False, **asked)  # type: ignore[arg-type]  # by name

    assert caught.value.problem is problem


def test_a_quote_reads_as_it_was_written(platform: Platform) -> None:
    quote = platform.quote(report("now"))

    assert Quote.from_bytes(quote.to_bytes()) == quote
