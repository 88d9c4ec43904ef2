"""Signs a checkout as a release: `python -m platformd.sign_release KEY --security-version 3`.

KEY is an Ed25519 key in PEM: `openssl genpkey -algorithm ed25519 -out release.pem`. Written are
`release.json` and `release.json.sig`; shown is what `PLATFORMD_RELEASE_KEY` has to be.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from . import protocol
from .measure import SUPERVISED_FOLDERS
from .memory import Memory, Unclean
from .release import FORMAT, PURPOSE
from .root import Root
from .sources import Sources

CHECKOUT = Path(__file__).resolve().parent.parent


def sign_release(checkout: Path, key: Ed25519PrivateKey, *, security_version: int) -> None:
    """Sign the code of a checkout as it is; raise Unclean where others could change it."""
    # Nothing is remembered: this reads every file.
    memory = Memory(checkout / "release.memory", Root(bytes(protocol.KEY_BYTES)), time.time_ns)
    sources = Sources(str(checkout), memory, owner_uid=os.getuid())
    content = protocol.encode(
        {
            "format": FORMAT,
            "security_version": security_version,
            "lock": sources.hash_file(str(checkout / "requirements.lock")),
            **{f"sources.{name}": sources.hash_folder(name) for name in SUPERVISED_FOLDERS},
        }
    )
    (checkout / "release.json").write_bytes(content)
    signature = key.sign(PURPOSE + content).hex()
    (checkout / "release.json.sig").write_text(signature + "\n")


def main(arguments: Sequence[str] | None = None, *, checkout: Path = CHECKOUT) -> None:
    """Sign the checkout that this is part of; exit with 1 if that cannot be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("key", type=Path, help="PEM of an Ed25519 key")
    parser.add_argument("--security-version", type=int, required=True)
    asked = parser.parse_args(arguments)
    try:
        key = _read_key(asked.key)
        sign_release(checkout, key, security_version=asked.security_version)
    except (OSError, TypeError, Unclean, ValueError) as error:
        sys.stderr.write(f"platformd: nothing was signed: {error}\n")
        raise SystemExit(1) from error
    sys.stdout.write(f"PLATFORMD_RELEASE_KEY={key.public_key().public_bytes_raw().hex()}\n")


def _read_key(file: Path) -> Ed25519PrivateKey:
    key = load_pem_private_key(file.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError(f"{file} is no Ed25519 key")
    return key


if __name__ == "__main__":
    main()
