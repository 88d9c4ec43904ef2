"""The words that rules select by: one that nothing has would make a rule that never matches."""

from __future__ import annotations

from collections.abc import Mapping

from chassis.identity import PEOPLE

from ..signing import Purpose

SERVICES = ("assembler", "gas", "knowledge", "linker", "runtime")
KINDS = (
    *("api-key", "ed25519", "secp256k1", "p256", "oauth1", "oauth2", "basic", "aws", "hmac"),
    "data",
)
OPERATIONS = (
    *("basic", "bearer", "decrypt", "encrypt", "farcaster", "generate-data-key", "hmac", "jwt"),
    *("key-header", "key-url", "oauth1"),
    *("public-key", "release", "rewrap", "sign-digest", "sign-message", "sign-personal-message"),
    *("sign-transaction", "sign-typed-data", "sigv4", "sigv4-presign", "smtp"),
    "wallet-jwt",
)

# By the field of a rule.
WORDS: Mapping[str, tuple[str, ...]] = {
    "callers": (*SERVICES, *sorted(PEOPLE)),
    "kinds": KINDS,
    "operations": OPERATIONS,
    "purposes": tuple(purpose.value for purpose in Purpose),
}
