"""Signatures by which a webhook knows who calls it, as in Standard Webhooks 1.0."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chassis.seal import KEY_BYTES_MIN, Seal

# Later or earlier than this, a request is not taken, whoever signed it.
TOLERANCE = timedelta(minutes=5)
SIGNATURES_MAX = 8

_TIMESTAMP = re.compile(r"0|[1-9][0-9]{0,10}")
_DELIVERY = re.compile(r"[!-~]{1,128}")


class Unsigned(Exception):
    """A request does not prove who sent it, or when; the message says what is wrong."""


def verify(
    seal: Seal,
    schedule: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: datetime,
) -> str:
    """Return the id of a delivery; raise `Unsigned` unless it is signed for this schedule."""
    delivery = headers.get("webhook-id", "")
    if not _DELIVERY.fullmatch(delivery):
        raise Unsigned("webhook-id must have 1 to 128 visible characters")
    if not _TIMESTAMP.fullmatch(headers.get("webhook-timestamp", "")):
        raise Unsigned("webhook-timestamp must be seconds since 1970")
    time = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    sealed = seal.headers(schedule, event_id=delivery, time=time, body=body)
    wanted = sealed["webhook-signature"].encode()
    given = headers.get("webhook-signature", "").split(" ")[:SIGNATURES_MAX]
    if not any(hmac.compare_digest(one.encode(), wanted) for one in given):
        raise Unsigned("webhook-signature is not that of this request")
    # Only now: to others, the clock of this machine is none of their business.
    if abs(now - time) > TOLERANCE:
        raise Unsigned("webhook-timestamp is more than 5 minutes from now")
    return delivery


def read_key(path: Path) -> bytes:
    """Return the key in a file; make one, which nobody else may read, if there is none."""
    if not path.exists():
        # Whole or not at all: half a key would be refused from then on.
        made = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES_MIN))
            file.flush()
            os.fsync(file.fileno())
        made.rename(path)
    key = path.read_bytes()
    if len(key) < KEY_BYTES_MIN:
        raise ValueError(
            f"{path} has fewer than {KEY_BYTES_MIN} bytes; delete it to have a new one"
        )
    return key
