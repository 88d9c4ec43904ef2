"""The port of the platform: what a root of trust does, whether it is a process or a chip."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Protocol

from platformd import protocol

REPORT_BYTES = protocol.REPORT_BYTES
HASH_BYTES = protocol.HASH_BYTES


class SealPolicy(Enum):
    """Who can unseal: the same code, or code that the same signer vouches for, not older."""

    CODE = "code"
    SIGNER = "signer"


@dataclass(frozen=True)
class Measurement:
    """What the platform says about a process.

    `role` is empty for a process that was not started as a service. `code` and `signer` are hashes
    of 32 bytes. `debug` says that nobody has signed the code.
    """

    role: str
    code: bytes
    signer: bytes
    security_version: int
    debug: bool


@dataclass(frozen=True)
class Quote:
    """A measurement that the platform has signed, bound to `report_data` (64 bytes).

    `key` is the public half of the attestation key: 32 bytes of Ed25519, or 65 of P-256.
    """

    platform: str
    measurement: Measurement
    report_data: bytes
    hardware: bool
    signature: bytes
    key: bytes

    def to_bytes(self) -> bytes:
        """Return the one way to write this quote: canonical JSON."""
        return protocol.encode(
            {
                "format": protocol.QUOTE_FORMAT,
                "platform": self.platform,
                "role": self.measurement.role,
                "code": self.measurement.code.hex(),
                "signer": self.measurement.signer.hex(),
                "security_version": self.measurement.security_version,
                "debug": self.measurement.debug,
                "report_data": self.report_data.hex(),
                "hardware": self.hardware,
                "signature": self.signature.hex(),
                "key": self.key.hex(),
            }
        )

    @staticmethod
    def from_bytes(content: bytes) -> Quote:
        """Read a quote that somebody else sent; raise QuoteRefused(MALFORMED)."""
        if len(content) > protocol.PACKET_BYTES_MAX:
            raise QuoteRefused(QuoteProblem.MALFORMED)
        try:
            return _read_quote(protocol.decode(content))
        except ValueError as error:
            raise QuoteRefused(QuoteProblem.MALFORMED) from error


def _read_quote(fields: protocol.Fields) -> Quote:
    protocol.expect(
        fields,
        *("format", "platform", "role", "code", "signer", "security_version", "debug"),
        *("report_data", "hardware", "signature", "key"),
    )
    if fields["format"] != protocol.QUOTE_FORMAT:
        raise protocol.PacketInvalid("the quote has another format")
    return Quote(
        platform=protocol.text(fields, "platform", protocol.ROLE_CHARACTERS_MAX),
        measurement=read_measurement(fields),
        report_data=protocol.octets(fields, "report_data", REPORT_BYTES),
        hardware=protocol.truth(fields, "hardware"),
        signature=_some_octets(fields, "signature"),
        key=_some_octets(fields, "key"),
    )


def read_measurement(fields: protocol.Fields) -> Measurement:
    """Read the fields of a measurement; raise PacketInvalid."""
    return Measurement(
        role=protocol.text(fields, "role", protocol.ROLE_CHARACTERS_MAX),
        code=protocol.octets(fields, "code", HASH_BYTES),
        signer=protocol.octets(fields, "signer", HASH_BYTES),
        security_version=protocol.number(fields, "security_version"),
        debug=protocol.truth(fields, "debug"),
    )


def _some_octets(fields: protocol.Fields, name: str) -> bytes:
    written = protocol.text(fields, name, protocol.PACKET_BYTES_MAX)
    return protocol.octets(fields, name, len(written) // 2)


class Sealing(Protocol):
    """What storage needs of a platform. Every method may raise PlatformUnavailable."""

    def seal(self, content: bytes, policy: SealPolicy, label: str) -> bytes:
        """Encrypt so that only this platform opens it, for whom the policy names.

        May raise CodeUnsigned for SIGNER.
        """

    def unseal(self, sealed: bytes, label: str) -> bytes:
        """Return what was sealed under this label; raise Unsealable."""

    def has_counted(self) -> bool:
        """Tell whether the counter of this role was ever incremented; many begin above 0."""

    def read_counter(self) -> int:
        """Return the counter of this role."""

    def increment_counter(self) -> int:
        """Return one more than before; durable before it returns."""


class Platform(Sealing, Protocol):
    """What roots trust. Every method may raise PlatformUnavailable."""

    def measure(self) -> Measurement:
        """Return what the platform knows about this process."""

    def quote(self, report_data: bytes) -> Quote:
        """Sign the measurement of this process together with 64 bytes of its choice."""


class UnsealProblem(StrEnum):
    """Why something does not open."""

    DAMAGED = "DAMAGED"
    OTHER_CODE = "OTHER_CODE"
    OTHER_SIGNER = "OTHER_SIGNER"
    NEWER_SECURITY_VERSION = "NEWER_SECURITY_VERSION"


_UNSEALABLE = {
    UnsealProblem.DAMAGED: "it was changed, or sealed by another platform or for another purpose",
    UnsealProblem.OTHER_CODE: "it was sealed by other code; what the signer sealed may open",
    UnsealProblem.OTHER_SIGNER: "it was sealed by code of another signer; restore from a backup",
    UnsealProblem.NEWER_SECURITY_VERSION: "newer code sealed it; start the newer release",
}


class Unsealable(Exception):
    """What was sealed does not open here."""

    def __init__(self, problem: UnsealProblem) -> None:
        super().__init__(_UNSEALABLE[problem])
        self.problem = problem


class PlatformUnavailable(Exception):
    """The platform does not answer, or says no to something that it should do."""


class CodeUnsigned(PlatformUnavailable):
    """Nobody has signed this code, so there is no signer to seal for."""


class QuoteProblem(StrEnum):
    """Why a quote is not believed."""

    MALFORMED = "MALFORMED"
    REPORT_DATA = "REPORT_DATA"
    EMULATED = "EMULATED"
    DEBUG = "DEBUG"
    KEY = "KEY"
    SIGNATURE = "SIGNATURE"
    CODE = "CODE"
    SIGNER = "SIGNER"
    SECURITY_VERSION = "SECURITY_VERSION"
    ROLE = "ROLE"


_REFUSED = {
    QuoteProblem.MALFORMED: "the quote cannot be read",
    QuoteProblem.REPORT_DATA: "the quote was made for another nonce or another key",
    QuoteProblem.EMULATED: "the quote is of an emulated platform, which is not allowed here",
    QuoteProblem.DEBUG: "the quote is of code that nobody signed",
    QuoteProblem.KEY: "the quote is of a platform that is not trusted here",
    QuoteProblem.SIGNATURE: "the quote is not what the platform signed",
    QuoteProblem.CODE: "the quote is of other code",
    QuoteProblem.SIGNER: "the quote is of code of another signer",
    QuoteProblem.SECURITY_VERSION: "the quote is of code that is too old",
    QuoteProblem.ROLE: "the quote is of a process of another role",
}


class QuoteRefused(Exception):
    """A quote that proves nothing."""

    def __init__(self, problem: QuoteProblem) -> None:
        super().__init__(_REFUSED[problem])
        self.problem = problem
