"""Signatures by which a receiver knows our events, as in Standard Webhooks 1.0."""

from __future__ import annotations

import base64
import hmac
from datetime import datetime
from pathlib import Path

KEY_BYTES_MIN = 32
_PURPOSE = "actionvm/webhook/v1\n"


def require_key_file(path: Path | None) -> Path | None:
    """Return the file of a key, if there is one; raise `ValueError` if it is none."""
    try:
        size = KEY_BYTES_MIN if path is None else len(path.read_bytes())
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    if size < KEY_BYTES_MIN:
        raise ValueError(f"must have {KEY_BYTES_MIN} bytes or more")
    return path


class Seal:
    """Signs with secrets that are derived from one key, and that nobody stores."""

    def __init__(self, key: bytes) -> None:
        assert len(key) >= KEY_BYTES_MIN, "a key that can be guessed signs nothing"
        self._key = key

    def secret(self, webhook: str) -> str:
        """Return what the receiver of a webhook verifies with."""
        return f"whsec_{base64.b64encode(self._secret(webhook)).decode()}"

    def headers(
        self, webhook: str, *, event_id: str, time: datetime, body: bytes
    ) -> dict[str, str]:
        """Return what tells the receiver who sends which event, and when."""
        timestamp = str(int(time.timestamp()))
        signed = b".".join([event_id.encode(), timestamp.encode(), body])
        digest = hmac.digest(self._secret(webhook), signed, "sha256")
        return {
            "webhook-id": event_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }

    def _secret(self, webhook: str) -> bytes:
        return hmac.digest(self._key, (_PURPOSE + webhook).encode(), "sha256")
