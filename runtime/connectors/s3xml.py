"""What S3 answers in XML, which may come from anybody."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from .s3schemas import KEY_BYTES_MAX, LIST_MAX, TOKEN_CHARACTERS_MAX

XML_BYTES_MAX = 1024 * 1024

_CODE = re.compile(r"[A-Za-z0-9]{1,64}")
_SIZE = re.compile(r"[0-9]{1,15}")
_TIME = re.compile(r"[0-9TZ:.+-]{1,40}")


class NotUnderstood(Exception):
    """An answer that is not what S3 writes."""


@dataclass(frozen=True)
class Entry:
    """An object in a list."""

    key: str
    size: int
    modified: str


@dataclass(frozen=True)
class Listing:
    """A part of a list; `following` is empty at its end."""

    entries: tuple[Entry, ...]
    following: str


def read_error_code(content: bytes) -> str:
    """Return the code of an error, or the empty text if there is none."""
    try:
        root = _read(content, "Error")
    except NotUnderstood:
        return ""
    code = _text(root, "Code")
    return code if _CODE.fullmatch(code) else ""


def read_listing(content: bytes) -> Listing:
    """Return the objects of a list whose keys are encoded as in a URL."""
    root = _read(content, "ListBucketResult")
    is_encoded = _text(root, "EncodingType") == "url"
    found = [child for child in root if _name(child) == "Contents"]
    following = _text(root, "NextContinuationToken")
    is_whole = _text(root, "IsTruncated") != "true"
    # A list that goes on nowhere would be taken for a whole one.
    is_token = 0 < len(following) <= TOKEN_CHARACTERS_MAX
    if len(found) > LIST_MAX or not (is_whole or is_token):
        raise NotUnderstood
    entries = tuple(_entry(child, is_encoded=is_encoded) for child in found)
    return Listing(entries, "" if is_whole else following)


def _entry(element: ET.Element, *, is_encoded: bool) -> Entry:
    key, size, modified = (_text(element, name) for name in ("Key", "Size", "LastModified"))
    if not (key and _SIZE.fullmatch(size) and _TIME.fullmatch(modified)):
        raise NotUnderstood
    key = unquote_plus(key) if is_encoded else key
    if len(key.encode()) > KEY_BYTES_MAX:
        raise NotUnderstood
    return Entry(key, int(size), modified)


def _read(content: bytes, name: str) -> ET.Element:
    """Return the root of a document, if that has such a name."""
    if len(content) > XML_BYTES_MAX:
        raise NotUnderstood
    try:
        # Decoded here: in another encoding, a DTD would look like something else.
        text = content.decode("utf-8-sig")
        # Entities, and what they grow to, come with a DTD only.
        if "<!DOCTYPE" in text:
            raise NotUnderstood
        root = ET.fromstring(text)  # noqa: S314  # bounded, and without entities
    except (UnicodeDecodeError, ET.ParseError, ValueError) as error:
        raise NotUnderstood from error
    if _name(root) != name:
        raise NotUnderstood
    return root


def _text(element: ET.Element, name: str) -> str:
    return next((child.text or "" for child in element if _name(child) == name), "")


def _name(element: ET.Element) -> str:
    # Not all services have the namespace of AWS.
    return element.tag.rpartition("}")[2]
