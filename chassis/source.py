"""Reads a document that people write: YAML without the parts that surprise or attack.

The reader works on events, so that it stops at a limit before anything large is built. Plain
scalars follow JSON, not YAML 1.1: `yes`, `12:30` and `2024-01-01` are texts. The scanner in Python
is used on purpose: the one in C overflows its stack on deep nesting, and names other columns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

import yaml

from .canonical import Json
from .draft import Draft, FieldPath, Place, Spot
from .problems import Flaw, clip

DEPTH_MAX = 32
VALUES_MAX = 20_000
# The largest integer that JSON can carry everywhere.
INTEGER_MAX = 2**53 - 1
NUMBER_CHARACTERS_MAX = 64

_UNPRINTABLE = re.compile(
    "[^\\t\\n\\r\\x20-\\x7e\\x85\\xa0-\\ud7ff\\ue000-\\ufefe\\uff00-\\ufffd\\U00010000-\\U0010ffff]"
)
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, Json] = {"": None, "~": None, "null": None, "true": True, "false": False}


def read_draft(file: str, content: bytes) -> Draft:
    """Read a document; what is wrong with its text is among the problems of the draft."""
    draft = Draft(file)
    try:
        _Reader(draft).read(_decode(content))
    except _UnreadableError as error:
        draft.report((), error.code, error.message, fix=error.fix, place=error.place)
        draft.is_readable = False
    return draft


def find_unprintable(text: str) -> re.Match[str] | None:
    """Return the first character that no document may hold, such as NUL or a lone surrogate."""
    return _UNPRINTABLE.search(text)


class _Mark(Protocol):
    """A mark of PyYAML, which counts from 0."""

    line: int
    column: int


@dataclass
class _UnreadableError(Exception):
    """The text makes no sense from `place` on."""

    code: Flaw
    message: str
    place: Place
    fix: str


@dataclass
class _Frame:
    """A mapping or list that is being read."""

    path: FieldPath
    container: dict[str, Json] | list[Json]
    key: str | None = None
    key_place: Place = field(default=Place(1, 1))
    # The key came before, so that its value is read and dropped.
    drops: bool = False


class _Reader:
    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._frames: list[_Frame] = []
        self._value_count = 0
        self._document_count = 0
        self._last = Place(1, 1)

    def read(self, text: str) -> None:
        try:
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                self._last = _place(event.start_mark) or self._last
                self._take(event)
        except yaml.YAMLError as error:
            raise _malformed(error, self._last) from error
        except (ValueError, OverflowError) as error:
            # The scanner lets through what Python makes of `"\UFFFFFFFF"` or `%YAML 9999…`.
            fix = "Remove the escape sequence or directive around here."
            message = "is not YAML: a number in it is too large"
            raise _UnreadableError(Flaw.MALFORMED_YAML, message, self._last, fix) from error
        self._draft.is_empty = not self._value_count

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._document_count += 1
            if self._document_count > 1:
                fix = "Keep one document per file; remove the line `---`."
                message = "holds a second document"
                raise _UnreadableError(Flaw.MULTIPLE_DOCUMENTS, message, self._last, fix)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._frames.pop()
        elif isinstance(event, yaml.NodeEvent):
            self._take_node(event)

    def _take_node(self, event: yaml.NodeEvent) -> None:
        if isinstance(event, yaml.ScalarEvent) and find_unprintable(event.value):
            # JSON writes a character beyond U+FFFF as two escapes, which are one character.
            pairs = event.value.encode("utf-16", "surrogatepass")
            event.value = pairs.decode("utf-16", "surrogatepass")
        frame = self._frames[-1] if self._frames else None
        if frame is not None and isinstance(frame.container, dict) and frame.key is None:
            self._take_key(frame, event)
            return
        self._value_count += 1
        if self._value_count > VALUES_MAX:
            fix = "Leave out or move elsewhere what is large."
            message = f"holds more than {VALUES_MAX} values"
            raise _UnreadableError(Flaw.TOO_MANY_VALUES, message, self._last, fix)
        path = self._path(frame)
        key_place = frame.key_place if frame and isinstance(frame.container, dict) else self._last
        self._draft.spots[path] = Spot(key=key_place, value=self._last)
        value = self._value(path, event)
        if frame is None:
            self._draft.value = value
        elif isinstance(frame.container, list):
            frame.container.append(value)
        else:
            assert frame.key is not None, "a value follows its key"
            if not frame.drops:
                frame.container[frame.key] = value
            frame.key = None
        if isinstance(value, dict | list):
            self._frames.append(_Frame(path, value))
            if len(self._frames) > DEPTH_MAX:
                message = f"is nested deeper than {DEPTH_MAX}"
                fix = "Close the brackets, or flatten it."
                raise _UnreadableError(Flaw.TOO_DEEP, message, self._last, fix)

    def _path(self, frame: _Frame | None) -> FieldPath:
        if frame is None:
            return ()
        if isinstance(frame.container, list):
            return (*frame.path, len(frame.container))
        assert frame.key is not None, "a value follows its key"
        return (*frame.path, frame.key)

    def _take_key(self, frame: _Frame, event: yaml.NodeEvent) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            message = "has a key that is not a text"
            fix = "Write a plain name before the colon."
            raise _UnreadableError(Flaw.KEY_INVALID, message, self._last, fix)
        path = (*frame.path, event.value)
        known = event.value in frame.container
        if _is_plain(event) and event.value == "<<":
            self._report_alias(path, "merge keys are")
        key = self._value(path, event)
        if key != event.value:
            message = f"the key `{clip(event.value)}` is not a text"
            self._draft.report(
                path, Flaw.KEY_INVALID, message, fix="Put it in quotes.", place=self._last
            )
        if known:
            first = self._draft.spots[path].key
            message = f"comes twice; it is also in line {first.line}"
            fix = "Remove one of them."
            self._draft.report(path, Flaw.DUPLICATE_KEY, message, fix=fix, place=self._last)
        frame.key, frame.key_place, frame.drops = event.value, self._last, known

    def _value(self, path: FieldPath, event: yaml.NodeEvent) -> Json:
        if isinstance(event, yaml.AliasEvent) or event.anchor:
            self._report_alias(path, "anchors and aliases are")
        tag = getattr(event, "tag", None)
        if tag:
            message = f"has the tag `{clip(tag)}`; tags are not taken"
            fix = "Remove the tag; put a text in quotes."
            self._draft.report(path, Flaw.TAG_FORBIDDEN, message, fix=fix, place=self._last)
        if isinstance(event, yaml.MappingStartEvent):
            return {}
        if isinstance(event, yaml.SequenceStartEvent):
            return []
        if not isinstance(event, yaml.ScalarEvent):
            return None
        if _is_plain(event) and event.value in _WORDS:
            return _WORDS[event.value]
        if _is_plain(event) and _NUMBER.fullmatch(event.value):
            return self._number(path, event.value)
        return self._text(path, event.value)

    def _text(self, path: FieldPath, text: str) -> str:
        if found := find_unprintable(text):
            message = f"holds the character U+{ord(found[0]):04X}, which no document may hold"
            fix = "Remove the escape sequence."
            self._draft.report(path, Flaw.MALFORMED_TEXT, message, fix=fix, place=self._last)
        return text

    def _number(self, path: FieldPath, text: str) -> int | float:
        value: int | float = 0
        if len(text) <= NUMBER_CHARACTERS_MAX:
            value = int(text) if _INTEGER.fullmatch(text) else float(text)
        if len(text) > NUMBER_CHARACTERS_MAX or abs(value) > INTEGER_MAX:
            message = f"is {clip(text)}; numbers go up to {INTEGER_MAX}"
            fix = "Put it in quotes if a text is meant."
            self._draft.report(path, Flaw.OUT_OF_RANGE, message, fix=fix, place=self._last)
            return 0
        return value

    def _report_alias(self, path: FieldPath, what: str) -> None:
        fix = "Write the value out where it is needed."
        message = f"{what} not taken"
        self._draft.report(path, Flaw.ALIAS_FORBIDDEN, message, fix=fix, place=self._last)


def _is_plain(event: yaml.ScalarEvent) -> bool:
    return bool(event.implicit[0]) and not event.style


def _place(mark: _Mark | None) -> Place | None:
    return Place(mark.line + 1, mark.column + 1) if mark else None


def _decode(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _place_after(content[: error.start].decode("utf-8-sig"))
        fix = "Save the file as UTF-8."
        raise _UnreadableError(Flaw.MALFORMED_TEXT, "is not UTF-8", place, fix) from error
    if found := find_unprintable(text):
        message = f"holds the character U+{ord(found[0]):04X}, which no document may hold"
        place = _place_after(text[: found.start()])
        raise _UnreadableError(Flaw.MALFORMED_TEXT, message, place, "Remove the character.")
    return text


def _place_after(text: str) -> Place:
    lines = text.split("\n")
    return Place(len(lines), len(lines[-1]) + 1)


def _malformed(error: yaml.YAMLError, last: Place) -> _UnreadableError:
    problem, place = "it makes no sense from here on", last
    if isinstance(error, yaml.MarkedYAMLError):
        problem = str(error.problem)
        place = _place(error.problem_mark) or last
        if error.context and error.context_mark:
            problem += f" {error.context}, which starts in line {error.context_mark.line + 1}"
    if "'\\t'" in problem:
        fix = "Indent with spaces, not with tabs."
    elif "mapping values" in problem:
        fix = "Check the indentation, and put a text that holds `: ` in quotes."
    else:
        fix = "Check indentation, quotes and brackets here and in the line before."
    message = f"is not YAML: {clip(problem, length_max=200)}"
    return _UnreadableError(Flaw.MALFORMED_YAML, message, place, fix)
