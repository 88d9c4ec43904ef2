"""Evidence until the platform gives quotes: who knows the token of a service is the service.

Transitional, with `keymanager/identity/tokens.py`; the attester of the platform replaces both.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

from chassis.identity import hash_token


class TokenAttester:
    """Authenticates report data by the token in a file."""

    def __init__(self, role: str, file: Path) -> None:
        self._role = role
        self._file = file

    def quote(self, report_data: bytes) -> bytes:
        """Return the role and a keyed hash of the report data."""
        key = hash_token(self._file.read_text().strip()).encode()
        tag = hmac.digest(key, self._role.encode() + b"\n" + report_data, hashlib.sha256)
        return json.dumps({"role": self._role, "tag": tag.hex()}).encode()
