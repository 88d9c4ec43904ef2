"""What contracts say that do not do what they are asked for."""

from __future__ import annotations

from .. import Result, Unsent
from ..keyed import told
from .abi import AbiInvalid, decode
from .node import LIMIT_EXCEEDED, PEER, NodeRefuses
from .types import SELECTOR_BYTES, Type

_CHARACTERS_MAX = 200
# EIP-140 as nodes tell it.
_REVERTED = 3
# `Error(string)` and `Panic(uint256)`, which Solidity itself says.
_ERROR, _PANIC = bytes.fromhex("08c379a0"), bytes.fromhex("4e487b71")


def refusal_of(error: NodeRefuses) -> Result:
    """Return what the model is told of a call that was only tried.

    Raise `Unsent` where the node takes no more for now.
    """
    if error.code == LIMIT_EXCEEDED:
        raise Unsent(PEER) from error
    if error.code == _REVERTED or "revert" in error.message.lower():
        words = _words(error.data)
        message = f"the contract would not do it{f': {words}' if words else ''}"
        return told("WOULD_REVERT", f"{message}; nothing was sent")
    return told("NODE_REFUSED", f"the node says {error.code}: {_plain(error.message)}")


def _words(data: bytes) -> str:
    """Return why a contract does not do it, as far as it says so in a known way."""
    selector, content = data[:SELECTOR_BYTES], data[SELECTOR_BYTES:]
    try:
        if selector == _ERROR:
            return _plain(str(decode([Type("string")], content)[0]))
        if selector == _PANIC:
            return f"panic {decode([Type('uint', 256)], content)[0]}"
    except AbiInvalid:
        return ""
    return f"error {selector.hex()}" if selector else ""


def _plain(text: str) -> str:
    """Return a text of strangers in one line, without what is not ASCII."""
    plain = "".join(one for one in text if one.isascii() and one.isprintable())
    return plain[:_CHARACTERS_MAX]
