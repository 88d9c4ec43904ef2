"""Appraises quotes: whoever wants to belong runs on the same platform, by the same signer."""

from __future__ import annotations

from ..errors import EvidenceRefused
from ..platform.port import REPORT_BYTES, Platform, Quote, QuoteRefused
from ..platform.quotes import verify_quote


class QuoteAppraiser:
    """Trusts the platform that the key manager itself runs on, and code that is not older."""

    def __init__(self, platform: Platform) -> None:
        # What the platform says of the key manager is what it must say of everybody else.
        self._own = platform.quote(bytes(REPORT_BYTES))

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
                signer=own.measurement.signer,
                security_version_min=own.measurement.security_version,
            )
        except QuoteRefused as error:
            raise EvidenceRefused(str(error)) from error
        return quote.measurement.role
