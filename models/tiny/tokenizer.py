"""A byte-level BPE in which a space is a token of its own, so that a word looks the same anywhere.

llama.cpp cuts text differently (`smollm`: digits, then the words of GPT-2 with the space before
them), and comes to the same tokens: no merge holds a space, a digit, or two kinds of characters.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from ..babbler import byte_alphabet
from .prompt import ASSISTANT, CONTROLS, END, FRAMES, USER

_SPECIAL = re.compile("|".join(map(re.escape, sorted((*CONTROLS, *FRAMES), key=len, reverse=True))))
# Letters, or what is neither a letter nor a digit nor white space; all else stands alone.
_WORD = re.compile(r"[^\W\d_]+|(?:[^\w\s]|_)+|\w|\s")

Pair = tuple[str, str]


class Tokenizer:
    """Texts to token ids and back; ids are controls, then frames, then bytes, then merges."""

    def __init__(self, merges: Sequence[Pair]) -> None:
        self.merges = tuple(merges)
        joined = [left + right for left, right in self.merges]
        self.tokens = (*CONTROLS, *FRAMES, *byte_alphabet(), *joined)
        self._ids = {token: index for index, token in enumerate(self.tokens)}
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._known: dict[str, list[int]] = {}
        self.user, self.assistant, self.end = (self._ids[mark] for mark in (USER, ASSISTANT, END))
        self.plain = range(len(CONTROLS) + len(FRAMES), len(self.tokens))

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a rendered conversation."""
        ids: list[int] = []
        position = 0
        for found in _SPECIAL.finditer(text):
            ids += self._plain(text[position : found.start()])
            ids.append(self._ids[found[0]])
            position = found.end()
        return ids + self._plain(text[position:])

    def spoken(self, ids: Sequence[int]) -> list[bool]:
        """Return which tokens the agent wrote: after its control token, until the end of turn."""
        mask, speaks = [], False
        for token in ids:
            mask.append(speaks)
            speaks = token == self.assistant or (speaks and token != self.end)
        return mask

    def write(self, path: Path) -> None:
        """Keep the merges in a file."""
        path.write_text(json.dumps(self.merges, ensure_ascii=False), encoding="utf-8")

    def _plain(self, text: str) -> list[int]:
        ids: list[int] = []
        for word in _WORD.findall(text):
            if word not in self._known:
                self._known[word] = [self._ids[piece] for piece in self._split(word)]
            ids += self._known[word]
        return ids

    def _split(self, word: str) -> list[str]:
        pieces = list(_spelled(word))
        while len(pieces) > 1:
            best = min(pairwise(pieces), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            pieces = _merged(pieces, best)
        return pieces


def read_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer that a file holds."""
    return Tokenizer(
        [(left, right) for left, right in json.loads(path.read_text(encoding="utf-8"))]
    )


def learn_tokenizer(texts: Iterable[str], *, merge_count: int) -> Tokenizer:
    """Return a tokenizer with the merges that shorten the texts most, one after the other."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word in _WORD.findall(_SPECIAL.sub(" ", text)) if len(word) > 1)
    words = {word: list(_spelled(word)) for word in sorted(counts)}
    merges: list[Pair] = []
    pairs: Counter[Pair] = Counter()
    for word, pieces in words.items():
        for pair in pairwise(pieces):
            pairs[pair] += counts[word]
    while len(merges) < merge_count and pairs:
        # The pair itself decides between equals: the order of a Counter must not show.
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for word, pieces in words.items():
            if best not in pairwise(pieces):
                continue
            words[word] = _merged(pieces, best)
            for sign, parts in ((-1, pieces), (1, words[word])):
                for pair in pairwise(parts):
                    pairs[pair] += sign * counts[word]
        pairs = +pairs
    return Tokenizer(merges)


def _merged(pieces: Sequence[str], pair: Pair) -> list[str]:
    """Join every occurrence of the pair, from the left."""
    merged: list[str] = []
    waiting: str | None = None
    for piece in pieces:
        if waiting is not None and (waiting, piece) == pair:
            merged.append(waiting + piece)
            waiting = None
            continue
        if waiting is not None:
            merged.append(waiting)
        waiting = piece
    return merged if waiting is None else [*merged, waiting]


def _spelled(text: str) -> str:
    """Return text in the alphabet of GPT-2, where every byte is one printable character."""
    return "".join(byte_alphabet()[byte] for byte in text.encode())
