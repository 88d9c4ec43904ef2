"""What a person who decides about a use is shown of its content; policies do not look at it."""

from __future__ import annotations

import json

from .attributed import Attribute
from .farcaster import SignFarcaster
from .macs import Hmac
from .operation import Operation
from .signatures import SignMessage
from .transactions import SignTransaction
from .wallet import SignPersonalMessage, SignTypedData

PREVIEW_CHARACTERS_MAX = 1_024

_BYTE_FROM, _BYTE_TO = 0xDC80, 0xDCFF


def preview_of(operation: Operation[object]) -> str:
    """Return the beginning of what is signed, in printable letters; empty if nobody can read it."""
    match operation:
        case Attribute(operation=inner):
            return preview_of(inner)
        case SignMessage(message=content) | SignPersonalMessage(message=content):
            return _printable(content)
        case Hmac(message=content) | SignFarcaster(data=content):
            return _printable(content)
        case SignTypedData(parsed=parsed):
            # Written anew: blanks in what was sent could fill all of it.
            message = json.dumps(parsed.message, ensure_ascii=False, separators=(",", ":"))
            return _printable(message.encode())
        case SignTransaction(parsed=transaction) if transaction.data:
            return _clipped(f"0x{transaction.data.hex()}")
    return ""


def _printable(content: bytes) -> str:
    # One letter more than is shown, so that it shows that there are more.
    letters = content.decode(errors="surrogateescape")[: PREVIEW_CHARACTERS_MAX + 1]
    return _clipped("".join(map(_shown, letters)))


def _shown(letter: str) -> str:
    """Return a letter, or what stands for it: none may turn around or hide what follows."""
    if letter.isprintable() and letter != "\\":
        return letter
    if _BYTE_FROM <= ord(letter) <= _BYTE_TO:
        return f"\\x{ord(letter) & 0xFF:02x}"
    return letter.encode("unicode_escape").decode()


def _clipped(text: str) -> str:
    if len(text) <= PREVIEW_CHARACTERS_MAX:
        return text
    return f"{text[: PREVIEW_CHARACTERS_MAX - 1]}…"
