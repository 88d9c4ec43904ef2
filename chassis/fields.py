"""Checks of single request fields, so that every service refuses bad input in the same words."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sized

from .errors import InvalidField

REQUEST_ID = re.compile(r"[!-~]{1,128}")
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
RUN_NAME = re.compile(f"runs/{UUID}")
HOLD_NAME = re.compile(f"holds/{UUID}")
ACCOUNT_NAME = re.compile(r"agents/[a-z0-9][a-z0-9-]{0,62}")
SECRET_NAME = re.compile(r"secrets/[a-z0-9][a-z0-9-]{0,63}")
COLLECTION_NAME = re.compile(r"collections/[a-z0-9][a-z0-9-]{0,63}")
BUNDLE_NAME = re.compile(r"bundles/[0-9a-f]{64}")

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1_000


def require_match(field: str, value: str, pattern: re.Pattern[str], *, example: str) -> str:
    """Return `value` if all of it matches; `example` tells the caller what would."""
    if not value:
        raise InvalidField(field, f"is required, such as '{example}'")
    if not pattern.fullmatch(value):
        raise InvalidField(field, f"is malformed; it looks like '{example}'")
    return value


def require_request_id(value: str) -> str:
    """Return a well-formed idempotency key."""
    return require_match("request_id", value, REQUEST_ID, example="a UUID")


def require_size(field: str, value: Sized, *, size_max: int, size_min: int = 1) -> None:
    """Refuse text, bytes and lists that are too short or too long."""
    if len(value) < size_min:
        problem = "is required" if not value else f"has {len(value)}; at least {size_min}"
        raise InvalidField(field, problem)
    if len(value) > size_max:
        raise InvalidField(field, f"has a length of {len(value)}; at most {size_max} are allowed")


def require_range(field: str, value: float, *, least: float, most: float) -> None:
    """Refuse numbers outside a closed interval, and NaN."""
    if not least <= value <= most:
        raise InvalidField(field, f"is {value}; it must be {least} to {most}")


def page_limit(page_size: int) -> int:
    """Return how many rows a page has; zero asks for the default, too many are reduced."""
    if page_size < 0:
        raise InvalidField("page_size", "is negative; leave it out for the default")
    return min(page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def page_token(*key: str) -> str:
    """Return an opaque token for the page after the row with this key."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def page_start(token: str, *, parts: int = 1) -> tuple[str, ...] | None:
    """Return the key that a token stands for, or None for the first page."""
    if not token:
        return None
    try:
        key = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
        # JSON can hold halves of characters, which no database takes.
        json.dumps(key, ensure_ascii=False).encode()
    except (binascii.Error, ValueError, RecursionError) as error:
        raise InvalidField("page_token", "was not made by this service") from error
    if not isinstance(key, list) or [type(part) for part in key] != [str] * parts:
        raise InvalidField("page_token", "was not made by this service")
    return tuple(key)


def page_number(text: str) -> int:
    """Return the number that a part of a token is; each fits into 54 bits."""
    if not text.isascii() or not text.isdigit() or len(text) > len(str(2**53)):
        raise InvalidField("page_token", "was not made by this service")
    return int(text)
