"""Appraises evidence until the platform gives quotes: see `enrolment/tokens.py`, which makes it.

Transitional: an appraiser of quotes replaces it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

from chassis.identity import read_identities

from ..errors import EvidenceRefused


class TokenAppraiser:
    """Knows the hashes of the tokens, with which the evidence is authenticated."""

    def __init__(self, identities_file: Path) -> None:
        self._identities_file = identities_file

    def appraise(self, evidence: bytes, report_data: bytes) -> str:
        """Return the role whose token made the evidence, or raise `EvidenceRefused`."""
        try:
            found = json.loads(evidence)
            role, tag = str(found["role"]), bytes.fromhex(found["tag"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise EvidenceRefused("it is malformed") from error
        for key, token in read_identities(self._identities_file).items():
            expected = hmac.digest(
                key.encode(), role.encode() + b"\n" + report_data, hashlib.sha256
            )
            if token.role == role and hmac.compare_digest(tag, expected):
                return role
        raise EvidenceRefused("it is not over this nonce and key, or not by this role")
