"""The lines of an exported log, each of which has only one spelling.

    {"first":1,"format":…,"frontier":[],"head":…,"key":…,"ledger":…}   whose, and from where on
    {"chain_hash":…,"record":{"sequence":1,…}}                         the content as it was hashed
    {"checkpoint":{…},"signature":…}                                   where one was made
    {"end":"<SHA-256 of all lines before>","signature":…}

The last checkpoint is of the last record. Where the first record is not the first of the log,
`head` and `frontier` are the state before it; wrong ones do not lead to what was signed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime

from ..canonical import Json, canonical_json, parse_time
from .checkpoint import Checkpoint
from .log import EMPTY_LOG, FIRST_HEAD, Log
from .merkle import HASH_BYTES, Tree

FORMAT = "actionvm.log-export/v1"
END_PREFIX = b"actionvm/log-export/v1\n"
LINE_BYTES_MAX = 128 * 1024
CONTENT_BYTES_MAX = LINE_BYTES_MAX - 1024
KEY_BYTES = 32
SIGNATURE_BYTES = 64

CHECKPOINT_START = b'{"checkpoint":'
END_START = b'{"end":'
_RECORD = re.compile(rb'\{"chain_hash":"([0-9a-f]{64})","record":(\{.*\})\}\n')
_TIME = re.compile(r"[0-9:.TZ-]{27}")
_LEDGER = re.compile(r"[!-~]{1,128}")
# What JSON can hold exactly, on any machine.
_WHOLE_MAX = 2**53 - 1


@dataclass(frozen=True)
class Header:
    """Whose log it is, the key that signs it, and its state before the first record here."""

    ledger: str
    key: bytes
    before: Log = EMPTY_LOG


@dataclass(frozen=True)
class Entry:
    """A record as it was hashed; its sequence is in its content."""

    content: bytes
    chain_hash: bytes


class LineInvalid(Exception):
    """A line is not one of an export; says what is wrong with it."""


def header_line(header: Header) -> bytes:
    """Return the first line."""
    fields: dict[str, Json] = {
        "first": header.before.size + 1,
        "format": FORMAT,
        "frontier": [part.hex() for part in header.before.tree.frontier],
        "head": header.before.head.hex(),
        "key": header.key.hex(),
        "ledger": header.ledger,
    }
    return canonical_json(fields) + b"\n"


def record_line(entry: Entry) -> bytes:
    """Return the line of a record."""
    return b'{"chain_hash":"%b","record":%b}\n' % (entry.chain_hash.hex().encode(), entry.content)


def checkpoint_line(checkpoint: Checkpoint) -> bytes:
    """Return the line of a checkpoint."""
    fields: dict[str, Json] = {
        "checkpoint": checkpoint.facts,
        "signature": checkpoint.signature.hex(),
    }
    return canonical_json(fields) + b"\n"


def end_line(digest: bytes, signature: bytes) -> bytes:
    """Return the last line."""
    return b'{"end":"%b","signature":"%b"}\n' % (digest.hex().encode(), signature.hex().encode())


def end_content(digest: bytes) -> bytes:
    """Return what is signed at the end, so that nothing that is cut at a checkpoint looks whole."""
    return END_PREFIX + digest.hex().encode()


def parse_header(line: bytes) -> Header:
    """Return what the first line spells, or raise `LineInvalid`."""
    if f'"format":"{FORMAT}"'.encode() not in line:
        raise LineInvalid(f"the first line does not name the format {FORMAT}")
    fields = _Fields(line, "header")
    tree = Tree(fields.whole("first") - 1, fields.hashes("frontier"))
    before = Log(fields.binary("head", HASH_BYTES), tree)
    header = Header(fields.text("ledger", _LEDGER), fields.binary("key", KEY_BYTES), before)
    is_possible = tree.is_whole and (before.size > 0 or before.head == FIRST_HEAD)
    if not is_possible or header_line(header) != line:
        raise fields.damaged
    return header


def parse_record(line: bytes) -> Entry:
    """Return what the line of a record spells, or raise `LineInvalid`."""
    found = _RECORD.fullmatch(line)
    if found is None:
        raise LineInvalid("the line is damaged: it is neither a record nor a checkpoint")
    return Entry(found[2], bytes.fromhex(found[1].decode()))


def parse_checkpoint(line: bytes) -> Checkpoint:
    """Return what the line of a checkpoint spells, or raise `LineInvalid`."""
    outer = _Fields(line, "checkpoint")
    fields = _Fields(outer.found.get("checkpoint"), "checkpoint")
    checkpoint = Checkpoint(
        ledger=fields.text("ledger", _LEDGER),
        size=fields.whole("size"),
        root=fields.binary("root", HASH_BYTES),
        head=fields.binary("head", HASH_BYTES),
        counter=fields.whole("counter"),
        time=fields.time("time"),
        key=fields.binary("key", KEY_BYTES),
        signature=outer.binary("signature", SIGNATURE_BYTES),
    )
    if checkpoint_line(checkpoint) != line:
        raise fields.damaged
    return checkpoint


def parse_end(line: bytes) -> tuple[bytes, bytes]:
    """Return the digest of the lines before and its signature, or raise `LineInvalid`."""
    fields = _Fields(line, "end")
    digest = fields.binary("end", HASH_BYTES)
    signature = fields.binary("signature", SIGNATURE_BYTES)
    if end_line(digest, signature) != line:
        raise fields.damaged
    return digest, signature


def sequence_of(content: bytes) -> int | None:
    """Return the sequence that a record says of itself, if it says one."""
    try:
        return _Fields(content, "record").whole("sequence")
    except LineInvalid:
        return None


class _Fields:
    """The fields of a JSON object from outside; what is not as it must be is `LineInvalid`."""

    def __init__(self, source: object, what: str) -> None:
        self.damaged = LineInvalid(f"the {what} is damaged")
        try:
            found = json.loads(source) if isinstance(source, bytes) else source
        except (RecursionError, ValueError) as error:
            raise self.damaged from error
        if not isinstance(found, dict):
            raise self.damaged
        self.found: dict[str, object] = found

    def whole(self, name: str) -> int:
        value = self.found.get(name)
        if type(value) is not int or not 0 <= value <= _WHOLE_MAX:
            raise self.damaged
        return value

    def text(self, name: str, pattern: re.Pattern[str]) -> str:
        value = self.found.get(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise self.damaged
        return value

    def time(self, name: str) -> datetime:
        try:
            return parse_time(self.text(name, _TIME))
        except ValueError as error:
            raise self.damaged from error

    def binary(self, name: str, size: int) -> bytes:
        return self._binary(self.found.get(name), size)

    def hashes(self, name: str) -> tuple[bytes, ...]:
        value = self.found.get(name)
        if not isinstance(value, list):
            raise self.damaged
        return tuple(self._binary(part, HASH_BYTES) for part in value)

    def _binary(self, value: object, size: int) -> bytes:
        if not isinstance(value, str) or not re.fullmatch(f"[0-9a-f]{{{2 * size}}}", value):
            raise self.damaged
        return bytes.fromhex(value)
