"""Checks receipts without trusting whoever sent them: sums, digests, signatures, called runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from actionvm.action.v1 import action_pb2
from chassis.canonical import canonical_json, sha256_hex
from chassis.fields import UUID

from .output import to_json

RECEIPT_KEY = "keys/receipts"
RECEIPT_PREFIX = b"actionvm/receipt/v1\n"
SIGNED_FIELDS = ("run", "account", "charges", "total_gas")

_CALLED = re.compile(rf"agent [^/]+/({UUID})")


@dataclass(frozen=True)
class Checked:
    """A receipt and what is wrong with it; `depth` is how many runs called one another for it."""

    receipt: action_pb2.Receipt
    flaw: str
    depth: int = 0


def called_runs(receipt: action_pb2.Receipt) -> Iterator[tuple[str, int]]:
    """Yield every run that a run called, and the gas that its line says."""
    for charge in receipt.charges:
        if found := _CALLED.fullmatch(charge.item):
            yield f"runs/{found[1]}", charge.gas


def find_flaw(
    receipt: action_pb2.Receipt, public_key: bytes, called: Mapping[str, int] | None = None
) -> str:
    """Return what is wrong with a receipt; empty if `public_key` signed exactly these lines.

    `called` has the totals of runs that it called, as far as they are known.
    """
    for run, gas in called_runs(receipt):
        if gas != (called or {}).get(run, gas):
            return f"the line of {run} is not the total of its receipt"
    if sum(charge.gas for charge in receipt.charges) != receipt.total_gas:
        return "the lines do not add up to the total"
    fields = to_json(receipt)
    content = canonical_json({name: fields[name] for name in SIGNED_FIELDS})
    if sha256_hex(content) != receipt.digest.sha256:
        return "the digest does not fit the lines"
    if not receipt.HasField("signature"):
        return "it is not signed"
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(receipt.signature.value, RECEIPT_PREFIX + receipt.digest.sha256.encode())
    except (InvalidSignature, ValueError):
        return "the signature is not by the receipt key of this system"
    return ""
