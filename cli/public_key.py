"""Public keys, as people hand them on."""

from __future__ import annotations

from .errors import CommandError

KEY_BYTES = 32


def parse_public_key(text: str, fix: str) -> bytes:
    """Return the Ed25519 key that `--key` names; `fix` says where it can be read."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise CommandError(
            f"--key {text} is not a public key", reason="INVALID_FIELD", field="--key", fix=fix
        )
    return key
