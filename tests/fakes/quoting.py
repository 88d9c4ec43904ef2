"""A platform for tests: it measures whoever the test says, and quotes with a key of its own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keymanager.errors import EvidenceRefused

CODE = "c0de"


@dataclass(frozen=True)
class Measurement:
    """What a process is."""

    role: str
    code: str = CODE
    signer: str = "release"
    security_version: int = 2
    debug: bool = False


@dataclass(frozen=True)
class Quote:
    """A measurement with 64 bytes of the process's choice, signed by the platform."""

    platform: str
    measurement: Measurement
    report_data: bytes = field(repr=False)
    hardware: bool = False
    key: bytes = b""
    signature: bytes = b""

    def content(self) -> bytes:
        """Return what is signed."""
        fields = asdict(replace(self, signature=b"", key=b""))
        shown = {k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items()}
        return b"actionvm/quote/v1\n" + json.dumps(shown, sort_keys=True).encode()

    def to_bytes(self) -> bytes:
        """Return the quote as it travels."""
        fields = asdict(self)
        shown = {k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items()}
        return json.dumps(shown, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Quote:
        """Read a quote; raise ValueError if it is none, or written in another way."""
        try:
            found = json.loads(content)
            measurement = Measurement(**found.pop("measurement"))
            for name in ("report_data", "key", "signature"):
                found[name] = bytes.fromhex(found[name])
            quote = cls(measurement=measurement, **found)
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError("no quote") from error
        if quote.to_bytes() != content:
            raise ValueError("not the one way to write a quote")
        return quote


@dataclass
class FakePlatform:
    """Signs with `key`; it is the port `Attester` for the process that it measures."""

    measurement: Measurement = field(default_factory=lambda: Measurement("linker"))
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    name: str = "fake"

    def sign(self, quote: Quote) -> Quote:
        """Return the quote with the signature of this platform."""
        public = self.key.public_key().public_bytes_raw()
        return replace(quote, key=public, signature=self.key.sign(quote.content()))

    def quote(self, report_data: bytes) -> bytes:
        """Return a quote of the measured process."""
        return self.sign(Quote(self.name, self.measurement, report_data)).to_bytes()

    def running(self, role: str) -> FakePlatform:
        """Return the same platform as it measures another process."""
        return FakePlatform(Measurement(role), self.key, self.name)


@dataclass
class PlatformAppraiser:
    """The port `Appraiser`: trusts one platform, code of one measurement, and no debuggers."""

    platform: FakePlatform
    allow_emulated: bool = True
    security_version_min: int = 2

    def appraise(self, evidence: bytes, report_data: bytes) -> str:
        """Return the role that was measured, or raise `EvidenceRefused`."""
        try:
            quote = Quote.from_bytes(evidence)
            trusted = self.platform.key.public_key()
            if quote.key != trusted.public_bytes_raw():
                raise EvidenceRefused("the platform is unknown")
            trusted.verify(quote.signature, quote.content())
        except ValueError as error:
            raise EvidenceRefused("it is malformed") from error
        except InvalidSignature as error:
            raise EvidenceRefused("the platform did not sign it") from error
        measurement = quote.measurement
        problems = {
            "it is not over this nonce and key": quote.report_data != report_data,
            "the process can be debugged": measurement.debug,
            "the platform is an emulation": not (self.allow_emulated or quote.hardware),
            "the code is unknown": measurement.code != CODE,
            "the signer is unknown": measurement.signer != "release",
            "the code is too old": measurement.security_version < self.security_version_min,
            "the platform is of another kind": quote.platform != self.platform.name,
        }
        for problem, is_found in problems.items():
            if is_found:
                raise EvidenceRefused(problem)
        return measurement.role
