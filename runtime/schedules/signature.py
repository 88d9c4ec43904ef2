"""Signatures by which a webhook knows who calls it, as in Standard Webhooks 1.0."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

KEY_BYTES = 32
# Later or earlier than this, a request is not taken, whoever signed it.
TOLERANCE = timedelta(minutes=5)
SIGNATURES_MAX = 8

_PURPOSE = "actionvm/schedule-webhook/v1\n"
_TIMESTAMP = re.compile(r"[0-9]{1,11}")
_DELIVERY = re.compile(r"[!-~]{1,128}")


class Unsigned(Exception):
    """A request does not prove who sent it, or when; the message says what is wrong."""


class WebhookKey:
    """Verifies with secrets that are derived from one key, and that nobody stores."""

    def __init__(self, key: bytes) -> None:
        assert len(key) >= KEY_BYTES, "a key that can be guessed proves nothing"
        self._key = key

    def secret(self, schedule: str) -> str:
        """Return what callers of a schedule sign with."""
        return f"whsec_{base64.b64encode(self._secret(schedule)).decode()}"

    def verify(
        self,
        schedule: str,
        *,
        delivery: str,
        timestamp: str,
        signatures: str,
        body: bytes,
        now: datetime,
    ) -> None:
        """Raise `Unsigned` unless one of the signatures is that of the request."""
        if not _DELIVERY.fullmatch(delivery):
            raise Unsigned("webhook-id must have 1 to 128 visible characters")
        if not _TIMESTAMP.fullmatch(timestamp):
            raise Unsigned("webhook-timestamp must be seconds since 1970")
        signed = b".".join([delivery.encode(), timestamp.encode(), body])
        digest = hmac.digest(self._secret(schedule), signed, "sha256")
        given = [_digest_of(one) for one in signatures.split(" ")[:SIGNATURES_MAX]]
        if not any(hmac.compare_digest(one, digest) for one in given):
            raise Unsigned("webhook-signature is not that of this request")
        try:
            time = datetime.fromtimestamp(int(timestamp), UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise Unsigned("webhook-timestamp is no time") from error
        if abs(now - time) > TOLERANCE:
            raise Unsigned("webhook-timestamp is more than 5 minutes from now")

    def _secret(self, schedule: str) -> bytes:
        return hmac.digest(self._key, (_PURPOSE + schedule).encode(), "sha256")


def read_key(path: Path) -> bytes:
    """Return the key in a file; make one, which nobody else may read, if there is none."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
    key = path.read_bytes()
    if len(key) < KEY_BYTES:
        raise ValueError(f"{path} has fewer than {KEY_BYTES} bytes; delete it to have a new key")
    return key


def _digest_of(signature: str) -> bytes:
    version, _, value = signature.partition(",")
    if version != "v1":
        return b""
    try:
        return base64.b64decode(value.encode(), validate=True)
    except (binascii.Error, ValueError):
        return b""
