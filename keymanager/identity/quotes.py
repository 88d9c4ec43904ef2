"""Appraises quotes: whoever wants to belong runs on a platform that is trusted, by its signer."""

from __future__ import annotations

from ..errors import EvidenceRefused
from ..platform.port import REPORT_BYTES, Platform, PlatformUnavailable, Quote, QuoteRefused
from ..platform.quotes import verify_quote
from ..sealing import RandomBytes


class QuoteAppraiser:
    """Trusts the platform that measures the services, and code that is not older.

    What that says of the key manager is what it must say of everybody else.
    """

    def __init__(self, own: Quote) -> None:
        self._own = own

    def appraise(self, evidence: bytes, report_data: bytes) -> str:
        """Return the role that was measured, or raise `EvidenceRefused`."""
        own = self._own
        try:
            quote = Quote.from_bytes(evidence)
            verify_quote(
                quote,
                report_data=report_data,
                trusted_keys={own.key},
                allow_emulated=not own.hardware,
                allow_debug=own.measurement.debug,
                signer=own.measurement.signer,
                security_version_min=own.measurement.security_version,
            )
        except QuoteRefused as error:
            raise EvidenceRefused(str(error)) from error
        return quote.measurement.role


def trusting_own(platform: Platform) -> QuoteAppraiser:
    """Trust the platform that seals for the key manager."""
    return QuoteAppraiser(platform.quote(bytes(REPORT_BYTES)))


def trusting_key(platform: Platform, key: bytes, *, random_bytes: RandomBytes) -> QuoteAppraiser:
    """Trust another platform than the one that seals, if it has this key.

    Raise `PlatformUnavailable` if it has not, or says that the key manager is none.
    """
    report_data = random_bytes(REPORT_BYTES)
    own = platform.quote(report_data)
    if own.key != key:
        raise PlatformUnavailable(
            f"platformd quotes the services with the key {own.key.hex()}; if it is the platformd "
            "that you started, set KEYMANAGER_PLATFORMD_KEY to that"
        )
    try:
        verify_quote(
            own,
            report_data=report_data,
            trusted_keys={key},
            allow_emulated=True,
            allow_debug=True,
            role="keymanager",
        )
    except QuoteRefused as error:
        raise PlatformUnavailable(f"what platformd says of the key manager: {error}") from error
    return QuoteAppraiser(own)
