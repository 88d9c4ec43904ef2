"""What a model is told of an answer: text or JSON, of a size, and nothing that is neither."""

from __future__ import annotations

import re
from bisect import bisect_right
from codecs import getincrementaldecoder
from dataclasses import dataclass

from pydantic import JsonValue

from ..egress import Answer
from ..jsontext import read_json, write_json

CONTENT_TYPE_CHARACTERS_MAX = 256

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}")
_CHARSET = re.compile(r";\s*charset=\"?([a-z0-9_:.-]{1,40})", re.IGNORECASE)
_TEXTS = {
    *("application/xml", "application/yaml", "application/x-yaml", "application/toml"),
    *("application/javascript", "application/ecmascript", "application/x-www-form-urlencoded"),
    *("application/x-ndjson", "application/jsonl", "application/sql", "image/svg+xml"),
}
_SUFFIXES = ("+xml", "+yaml")
# Python has codecs that do something else with a text, such as `zip` and `unicode_escape`.
_CHARSETS = {
    **dict.fromkeys(("iso-8859-1", "latin1", "us-ascii", "ascii"), "cp1252"),
    **{f"windows-{page}": f"cp{page}" for page in (874, *range(1250, 1259))},
    **{f"iso-8859-{part}": f"iso8859-{part}" for part in (*range(2, 12), 13, 14, 15, 16)},
    **{name: name for name in ("utf-16", "utf-16le", "utf-16be", "koi8-r", "koi8-u", "big5")},
    **{name: name for name in ("gbk", "gb2312", "gb18030", "euc-jp", "euc-kr", "shift_jis")},
}


@dataclass(eq=False)
class NotText(Exception):
    """An answer that is neither text nor JSON, whatever it says that it is."""

    content_type: str


def read_answer(answer: Answer, bytes_max: int) -> dict[str, JsonValue]:
    """Return what the model is told of a body, in at most so many bytes of JSON text."""
    kind = content_type(answer)
    told: dict[str, JsonValue] = {"content_type": kind}
    if not answer.body:
        return told | {"text": "", "truncated": answer.is_cut}
    is_json = kind.endswith(("/json", "+json"))
    is_text = kind in _TEXTS or kind.startswith("text/") or kind.endswith(_SUFFIXES)
    # Who does not say what it is may have sent text.
    if kind and not is_json and not is_text:
        raise NotText(kind)
    text = decode(answer)
    if "\0" in text:
        raise NotText(kind)
    if is_json and not answer.is_cut:
        value = _json(text)
        if value is not None and size(value[0]) <= bytes_max:
            return told | {"json": value[0], "truncated": False}
    shown = cut(text, bytes_max)
    return told | {"text": shown, "truncated": answer.is_cut or len(shown) < len(text)}


def content_type(answer: Answer) -> str:
    """Return what a body says that it is, such as `text/html`; nothing if that is no type."""
    kind = _stated(answer).partition(";")[0].strip().lower()
    return kind if _TYPE.fullmatch(kind) else ""


def decode(answer: Answer) -> str:
    """Decode as it is stated, else as UTF-8; a character that was cut in two is left out."""
    found = _CHARSET.search(_stated(answer))
    charset = _CHARSETS.get(found[1].lower(), "utf-8-sig") if found else "utf-8-sig"
    return getincrementaldecoder(charset)("replace").decode(answer.body)


def _stated(answer: Answer) -> str:
    return answer.headers.get("content-type", "")[:CONTENT_TYPE_CHARACTERS_MAX]


def _json(text: str) -> tuple[JsonValue] | None:
    """Return a value by itself, or None if it is none: `null` is one."""
    try:
        return (read_json(text),)
    except ValueError:
        return None


def size(value: JsonValue) -> int:
    """Return how many bytes a value has as JSON text."""
    return len(write_json(value).encode())


def cut(text: str, bytes_max: int) -> str:
    """Return as much of a text as has so many bytes once it is in JSON."""
    if size(text) <= bytes_max:
        return text
    counts = range(len(text) + 1)
    # The quotes are always there.
    return text[: max(bisect_right(counts, bytes_max, key=lambda count: size(text[:count])) - 1, 0)]
