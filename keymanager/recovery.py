"""Backups that open only where enough people bring their shares of the key.

    {"count":5,"create_time":…,"format":…,"key_check":…,"ledger":…,"threshold":3,"words":…}
    nonce (12) · AES-256-GCM of the content, with that line as associated data · SHA-256

A random backup key is split by Shamir into shares of 33 words (SLIP-39). The SHA-256 of all before
it is no protection: it tells an accident, for which there is another copy, from wrong shares.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from shamir_mnemonic import EncryptedMasterSecret, MnemonicError, Share, recover_ems, split_ems
from shamir_mnemonic.shamir import ShareGroup
from shamir_mnemonic.wordlist import WORD_INDEX_MAP

from chassis.canonical import Json, canonical_json, parse_time, time_text
from chassis.fields import require_range, require_size

from .errors import BackupInvalid, ShareDamaged, ShareForeign, SharesDisagree, SharesMissing
from .sealing import KEY_BYTES, NONCE_BYTES, RandomBytes

FORMAT = "actionvm.backup/v1"
SHARES_MAX = 16
# One share that opens everything would be a copy of the key. Older backups may have that.
THRESHOLD_MIN = 2
HEADER_BYTES_MAX = 4_096
DIGEST_BYTES = 32

SHARE_WORDS = 33
# The longest word has eight letters; the rest is for spaces.
_SHARE_INPUT_MAX = 4 * 9 * SHARE_WORDS
_SEAL_BYTES_MIN = NONCE_BYTES + 16
_SET_ID_BITS = 15


@dataclass(frozen=True)
class Header:
    """What a backup says of itself; it is true only if `open_backup` opened it.

    `words` are the two words with which each of its shares begins.
    """

    ledger: str
    create_time: datetime
    threshold: int
    count: int
    words: str
    key_check: bytes

    def to_bytes(self) -> bytes:
        """Return the first line, which is the associated data of the content."""
        fields: dict[str, Json] = {
            "count": self.count,
            "create_time": time_text(self.create_time),
            "format": FORMAT,
            "key_check": self.key_check.hex(),
            "ledger": self.ledger,
            "threshold": self.threshold,
            "words": self.words,
        }
        return canonical_json(fields) + b"\n"


@dataclass(frozen=True)
class Backup:
    """A backup, and the shares of its key, which nobody else ever has."""

    content: bytes = field(repr=False)
    shares: tuple[str, ...] = field(repr=False)


def make_backup(
    content: bytes,
    *,
    threshold: int,
    count: int,
    ledger: str,
    create_time: datetime,
    random_bytes: RandomBytes,
) -> Backup:
    """Encrypt a content so that `threshold` of `count` shares open it."""
    require_range("count", count, least=THRESHOLD_MIN, most=SHARES_MAX)
    require_range("threshold", threshold, least=THRESHOLD_MIN, most=count)
    key = random_bytes(KEY_BYTES)
    shares = _split(key, threshold, count, random_bytes)
    words = _first_words(shares[0])
    header = Header(ledger, create_time, threshold, count, words, _derive(key, b"check")).to_bytes()
    assert len(header) <= HEADER_BYTES_MAX, "the name of a ledger is short"
    nonce = random_bytes(NONCE_BYTES)
    sealed = header + nonce + AESGCM(_derive(key, b"content")).encrypt(nonce, content, header)
    return Backup(sealed + hashlib.sha256(sealed).digest(), tuple(map(Share.mnemonic, shares)))


def read_header(backup: bytes) -> Header:
    """Return what a backup says of itself, or raise `BackupInvalid`; nothing proves it yet."""
    return _parse(backup)[0]


def open_backup(backup: bytes, shares: Sequence[str]) -> bytes:
    """Return the content. Upper case, spaces and line breaks in shares do not matter.

    Raises `BackupInvalid`, `ShareDamaged`, `ShareForeign`, `SharesMissing` or `SharesDisagree`.
    Numbers of shares are their places in `shares`, from 1.
    """
    header, line, sealed = _parse(backup)
    key = _join(header, shares)
    if not hmac.compare_digest(_derive(key, b"check"), header.key_check):
        raise SharesDisagree(header.words)
    nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return AESGCM(_derive(key, b"content")).decrypt(nonce, ciphertext, line)
    except InvalidTag as error:
        raise BackupInvalid("was changed on purpose; use another copy") from error


def _split(key: bytes, threshold: int, count: int, random_bytes: RandomBytes) -> list[Share]:
    set_id = int.from_bytes(random_bytes(2)) >> 16 - _SET_ID_BITS
    # No passphrase, so the key needs no slow encryption; the key is random anyway.
    master = EncryptedMasterSecret.from_master_secret(
        key, b"", set_id, extendable=True, iteration_exponent=0
    )
    # The dice of the polynomial cannot be handed in: the library reads `secrets.token_bytes` from
    # a variable of its module, and to set that would be seen by every thread. So shares are not
    # repeatable in a simulation; what they open is.
    [shares] = split_ems(1, [(threshold, count)], master)
    return list(shares)


def _join(header: Header, shares: Sequence[str]) -> bytes:
    require_size("shares", shares, size_max=SHARES_MAX)
    found: dict[int, Share] = {}
    for number, text in enumerate(shares, start=1):
        share = _parse_share(text, number)
        if not _is_of(header, share):
            raise ShareForeign(number, header.words)
        # Who hands in the same share twice has one of them.
        if found.setdefault(share.index, share) != share:
            raise SharesDisagree(header.words)
    if len(found) < header.threshold:
        raise SharesMissing(len(found), header.threshold)
    group = ShareGroup()
    for share in list(found.values())[: header.threshold]:
        group.add(share)
    try:
        key: bytes = recover_ems({0: group}).decrypt(b"")
    except MnemonicError as error:
        raise SharesDisagree(header.words) from error
    return key


def _parse_share(text: str, number: int) -> Share:
    words = text[:_SHARE_INPUT_MAX].lower().split()
    if len(words) != SHARE_WORDS:
        raise ShareDamaged(number, f"it has {len(words)} words instead of {SHARE_WORDS}")
    for place, word in enumerate(words, start=1):
        if word not in WORD_INDEX_MAP:
            raise ShareDamaged(number, f"its word {place} is none of the list of SLIP-39")
    try:
        return Share.from_mnemonic(" ".join(words))
    except MnemonicError:
        # The library repeats words of the share, which must not get into a log.
        problem = "a word of it is wrong, or in the wrong place"
        raise ShareDamaged(number, problem) from None


def _is_of(header: Header, share: Share) -> bool:
    """Tell whether a share says that it is of this backup."""
    form = (share.group_index, share.group_threshold, share.group_count, share.iteration_exponent)
    return (
        form == (0, 1, 1, 0)
        and _first_words(share) == header.words
        and share.member_threshold == header.threshold
        and share.index < header.count
    )


def _first_words(share: Share) -> str:
    """Return the two words that all shares of one set, and few other ones, begin with."""
    return " ".join(share.words()[:2])


def _parse(backup: bytes) -> tuple[Header, bytes, bytes]:
    """Return the header, its line, and what is encrypted."""
    first, newline, _ = backup[:HEADER_BYTES_MAX].partition(b"\n")
    line = first + newline
    try:
        fields = json.loads(line) if newline else None
    except (RecursionError, ValueError):
        fields = None
    name = fields.get("format") if isinstance(fields, dict) else None
    if not isinstance(name, str):
        raise BackupInvalid("is none of the key manager")
    if name != FORMAT:
        raise BackupInvalid(f"has the format {name!a}, which this release does not read")
    content, digest = backup[:-DIGEST_BYTES], backup[-DIGEST_BYTES:]
    header = _parse_header(fields)
    if header is None or hashlib.sha256(content).digest() != digest:
        raise BackupInvalid("is damaged: its checksum does not fit; use another copy")
    sealed = content[len(line) :]
    if len(sealed) < _SEAL_BYTES_MIN:
        raise BackupInvalid("is cut off; use another copy")
    return header, line, sealed


def _parse_header(fields: object) -> Header | None:
    match fields:
        case {
            "ledger": str(ledger),
            "create_time": str(time),
            "threshold": int(threshold),
            "count": int(count),
            "words": str(words),
            "key_check": str(key_check),
        } if 1 <= threshold <= count <= SHARES_MAX:
            try:
                check = bytes.fromhex(key_check)
                return Header(ledger, parse_time(time), threshold, count, words, check)
            except ValueError:
                return None
    return None


def _derive(key: bytes, purpose: bytes) -> bytes:
    info = b"actionvm/backup/" + purpose + b"/v1"
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)
