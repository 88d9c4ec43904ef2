"""Cuts a text into passages that are short enough to compare and long enough to understand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

PASSAGE_CHARACTERS_MAX = 800
# A heading starts a new passage only after this many; so a text has a bounded number of passages.
PASSAGE_CHARACTERS_MIN = 200

_SENTENCE_ENDS = (". ", "! ", "? ", "\n")


@dataclass(frozen=True)
class Passage:
    """The part `text[start:end]` of a document, without white space at either end."""

    start: int
    end: int


def cut(text: str) -> list[Passage]:
    """Return passages in order, without overlap, that together hold all but white space.

    Whole paragraphs are joined while they fit; a heading begins a passage, so that it stays with
    what it announces.
    """
    passages: list[Passage] = []
    for block in _blocks(text):
        for piece in _pieces(text, block):
            last = passages[-1] if passages else None
            if last is not None and _belong_together(text, last, piece):
                passages[-1] = Passage(last.start, piece.end)
            else:
                passages.append(piece)
    return passages


def _belong_together(text: str, last: Passage, piece: Passage) -> bool:
    if piece.end - last.start > PASSAGE_CHARACTERS_MAX:
        return False
    return text[piece.start] != "#" or last.end - last.start < PASSAGE_CHARACTERS_MIN


def _blocks(text: str) -> Iterator[Passage]:
    """Yield paragraphs: runs of lines between blank lines, and before headings."""
    start = position = 0
    while position < len(text):
        line_end = text.find("\n", position) + 1 or len(text)
        is_blank = text[position:line_end].isspace()
        if is_blank or text[position] == "#":
            yield from _trimmed(text, start, position)
            start = position
        position = line_end
    yield from _trimmed(text, start, len(text))


def _pieces(text: str, block: Passage) -> Iterator[Passage]:
    """Yield a block in parts that are short enough, cut after sentences or words if it has any."""
    start = block.start
    while block.end - start > PASSAGE_CHARACTERS_MAX:
        window = text[start : start + PASSAGE_CHARACTERS_MAX]
        cut_at = max(window.rfind(mark) for mark in _SENTENCE_ENDS) + 1
        if cut_at < PASSAGE_CHARACTERS_MIN:
            cut_at = window.rfind(" ")
        if cut_at < PASSAGE_CHARACTERS_MIN:
            cut_at = PASSAGE_CHARACTERS_MAX
        yield from _trimmed(text, start, start + cut_at)
        start += cut_at
    yield from _trimmed(text, start, block.end)


def _trimmed(text: str, start: int, end: int) -> Iterator[Passage]:
    """Yield the part without white space around it, or nothing if it holds nothing else."""
    part = text[start:end]
    if stripped := part.strip():
        first = start + len(part) - len(part.lstrip())
        yield Passage(first, first + len(stripped))
