"""What users have in their hands, brought into the one form that is stored."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis.canonical import canonical_json
from chassis.errors import InvalidField
from chassis.fields import require_size

from ..secret import Kind
from .strictjson import parse_json
from .target import parse_target

VALUE_BYTES_MAX = 64 * 1024
KEY_BYTES = 32
HMAC_BYTES = 32
HMAC_BYTES_MIN = 16
HMAC_BYTES_MAX = 512

# The orders of the groups; a private key lies below.
_ORDERS = {
    Kind.SECP256K1: 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
    Kind.P256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
}
_CURVES = {"secp256k1": Kind.SECP256K1, "secp256r1": Kind.P256}
_SIGNING = (Kind.ED25519, Kind.SECP256K1, Kind.P256)
_HEX_KEY = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_PEM_START = "-----BEGIN "


@dataclass(frozen=True)
class _Part:
    """One member of a structured value."""

    pattern: re.Pattern[str]
    is_required: bool = True


# Tokens travel in headers; passwords are whatever people type, without control characters.
_TOKEN = re.compile(r"[!-~]{1,16384}")
# Of these, earlier releases took any bytes.
_API_KEY = re.compile(rb"[!-~](?:[ -~]*[!-~])?")
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,4096}")
_USERNAME = re.compile(r"[^:\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,4096}")
_AWS_ID = re.compile(r"[A-Za-z0-9]{16,128}")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)

_PARTS: Mapping[Kind, Mapping[str, _Part]] = {
    Kind.OAUTH1: {
        "consumer_key": _Part(_TOKEN),
        "consumer_secret": _Part(_TOKEN),
        "token": _Part(_TOKEN),
        "token_secret": _Part(_TOKEN),
    },
    Kind.OAUTH2: {
        "access_token": _Part(_TOKEN),
        "refresh_token": _Part(_TOKEN, is_required=False),
        "token_type": _Part(_TOKEN, is_required=False),
        "expire_time": _Part(_TIME, is_required=False),
        "client_id": _Part(_TOKEN, is_required=False),
        "client_secret": _Part(_TOKEN, is_required=False),
        "token_url": _Part(_TOKEN, is_required=False),
    },
    Kind.BASIC: {"username": _Part(_USERNAME), "password": _Part(_TEXT)},
    Kind.AWS: {
        "access_key_id": _Part(_AWS_ID),
        "secret_access_key": _Part(_TOKEN),
        "session_token": _Part(_TOKEN, is_required=False),
        "region": _Part(_REGION, is_required=False),
    },
}


def normalise(kind: Kind, value: bytes) -> bytes:
    """Return the form that is stored, or raise `InvalidField` that does not repeat the value.

    Stored are: 32 bytes of a private key or of `DATA`, canonical JSON of structured kinds, and the
    bytes themselves of `API_KEY` and `HMAC`. What is stored already stays as it is.
    """
    require_size("value", value, size_max=VALUE_BYTES_MAX)
    if kind in _PARTS:
        return _structured(kind, value)
    if kind in _SIGNING:
        return _private_key(kind, value)
    if kind is Kind.HMAC:
        require_size("value", value, size_min=HMAC_BYTES_MIN, size_max=HMAC_BYTES_MAX)
    if kind is Kind.DATA:
        return _symmetric_key(value)
    return value


def accept(kind: Kind, value: bytes) -> bytes:
    """Return the form in which something new is stored, or raise `InvalidField` as `normalise`."""
    if kind is Kind.API_KEY and not _API_KEY.fullmatch(value):
        problem = "is no text of printable ASCII in one line, without blanks at its ends"
        raise InvalidField("value", problem)
    return normalise(kind, value)


def check_value(kind: Kind, value: bytes) -> None:
    """Refuse what `normalise` would."""
    normalise(kind, value)


def is_scalar(kind: Kind, value: bytes) -> bool:
    """Return whether 32 bytes are a private key of this curve."""
    return 0 < int.from_bytes(value) < _ORDERS[kind]


def _symmetric_key(value: bytes) -> bytes:
    if len(value) == KEY_BYTES:
        return value
    found = _HEX_KEY.fullmatch(_text(value))
    if not found:
        raise InvalidField("value", "is no key; send 32 bytes or 64 hexadecimal digits")
    return bytes.fromhex(found[1])


def _private_key(kind: Kind, value: bytes) -> bytes:
    content = value if len(value) == KEY_BYTES else _from_text(kind, _text(value))
    if kind in _ORDERS and not is_scalar(kind, content):
        raise InvalidField("value", "is no private key: it is zero or not below the order")
    return content


def _from_text(kind: Kind, text: str) -> bytes:
    if text.startswith(_PEM_START):
        # Environment files keep a PEM in one line, its line feeds written out.
        return _from_document(kind, text.replace("\\n", "\n").encode(), is_pem=True)
    if found := _HEX_KEY.fullmatch(text):
        return bytes.fromhex(found[1])
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if kind is Kind.ED25519 and len(content) == 2 * KEY_BYTES:
        return _from_pair(content)
    if not content:
        raise InvalidField(
            "value", "is no private key; send 32 bytes, 64 hexadecimal digits, PEM or Base64"
        )
    return _from_document(kind, content, is_pem=False)


def _from_pair(content: bytes) -> bytes:
    """Return the seed of a seed with its public key, as Coinbase hands out keys."""
    seed, public = content[:KEY_BYTES], content[KEY_BYTES:]
    if Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw() != public:
        raise InvalidField("value", "is a key whose public half does not belong to it")
    return seed


def _from_document(kind: Kind, content: bytes, *, is_pem: bool) -> bytes:
    load = serialization.load_pem_private_key if is_pem else serialization.load_der_private_key
    try:
        key = load(content, password=None)
    except TypeError as error:
        raise InvalidField("value", "is encrypted; decrypt the key first") from error
    except (ValueError, UnsupportedAlgorithm):
        # What the parser says may quote what it read.
        raise InvalidField("value", "is no private key that can be read") from None
    if isinstance(key, Ed25519PrivateKey) and kind is Kind.ED25519:
        return key.private_bytes_raw()
    if isinstance(key, ec.EllipticCurvePrivateKey) and _CURVES.get(key.curve.name) is kind:
        return key.private_numbers().private_value.to_bytes(KEY_BYTES)
    raise InvalidField("value", f"is a key of another kind than {kind.name.lower()}")


def _structured(kind: Kind, value: bytes) -> bytes:
    parts = _PARTS[kind]
    wanted = ", ".join(parts)
    content = parse_json("value", value)
    if not isinstance(content, dict):
        raise InvalidField("value", f"is no JSON object; it has {wanted}")
    if content.keys() - parts.keys():
        raise InvalidField("value", f"has a member that nobody knows; it has {wanted}")
    for name, part in parts.items():
        if part.is_required and name not in content:
            raise InvalidField("value", f"lacks {name}; it has {wanted}")
    for name, text in content.items():
        if not isinstance(text, str) or not parts[name].pattern.fullmatch(text):
            raise InvalidField("value", f"has a malformed {name}")
    _check_oauth2(content.get("expire_time"), content.get("token_url"))
    return canonical_json(content)


def _check_oauth2(expire_time: object, token_url: object) -> None:
    if isinstance(expire_time, str):
        try:
            datetime.fromisoformat(expire_time)
        except ValueError:
            raise InvalidField("value", "has a malformed expire_time") from None
    if isinstance(token_url, str):
        try:
            parse_target("POST", token_url)
        except InvalidField:
            raise InvalidField("value", "has a malformed token_url") from None


def _text(value: bytes) -> str:
    """Return ASCII without the line feed that editors and shells add; of other bytes nothing."""
    return value.decode("ascii").strip() if value.isascii() else ""
