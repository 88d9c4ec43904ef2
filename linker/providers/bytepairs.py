"""Counts tokens as OpenAI's models cut them, with the files of tiktoken if they are there."""

from __future__ import annotations

import asyncio
import re
import sys
import unicodedata
from base64 import b64decode
from collections.abc import Mapping
from functools import cache
from heapq import heapify, heappop, heappush
from itertools import groupby
from pathlib import Path

from ..conversation import Conversation
from ..errors import ModelUnusable
from ..tokens import FRAME_TOKENS, images_in, texts_in

CL100K, O200K = "cl100k_base", "o200k_base"
# Longer conversations have the upper bound: to cut the worst of them takes two seconds.
CONVERSATION_BYTES_MAX = 256 * 1024
FILE_BYTES_MAX = 16 * 1024**2
# What stands around a turn, and before the answer, from OpenAI's "How to count tokens with
# tiktoken". What stands around calls and actions is not told; `FRAME_TOKENS` are more than that.
TURN_TOKENS = 4
ANSWER_TOKENS = 3


class Encoding:
    """A text is cut into pieces, whose bytes are joined to tokens: the lowest rank comes first."""

    def __init__(self, ranks: Mapping[bytes, int], pieces: re.Pattern[str]) -> None:
        self._ranks = ranks
        self._pieces = pieces

    def count(self, text: str) -> int:
        """Return how many tokens a text is."""
        return sum(map(self._count, self._pieces.findall(text)))

    def _count(self, text: str) -> int:
        piece = text.encode("utf-8", "replace")
        if piece in self._ranks:
            return 1
        # Of a byte that begins a part: where it ends, and where the one before it begins.
        ends = list(range(1, len(piece) + 1))
        before = list(range(-1, len(piece) - 1))
        # A heap: a piece may be as long as a text, and nobody may make us wait for its square.
        pairs = [pair for i in range(len(piece) - 1) for pair in self._pair(piece, i, i + 1, i + 2)]
        heapify(pairs)
        count = len(piece)
        while pairs:
            _, start, middle, end = heappop(pairs)
            if ends[start] != middle or ends[middle] != end:
                # One of the two was joined with another neighbour since.
                continue
            ends[start], ends[middle] = end, 0
            count -= 1
            if end < len(piece):
                before[end] = start
                for pair in self._pair(piece, start, end, ends[end]):
                    heappush(pairs, pair)
            if start:
                for pair in self._pair(piece, before[start], start, end):
                    heappush(pairs, pair)
        return count

    def _pair(
        self, piece: bytes, start: int, middle: int, end: int
    ) -> list[tuple[int, int, int, int]]:
        """Return two neighbours with their rank, if they are a token together."""
        rank = self._ranks.get(piece[start:end])
        return [] if rank is None else [(rank, start, middle, end)]


class Tokenizers:
    """The encodings of a folder, read when they are first used; without a folder there are none."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None
        self._found: dict[str, Encoding | None] = {}
        self._turn = asyncio.Lock()

    async def count(self, encoding: str, conversation: Conversation, model: str) -> int | None:
        """Return how many tokens a model reads, or None if that cannot be told.

        Raises `ModelUnusable` if the file of its encoding is not what tiktoken wrote.
        """
        if self._folder is None or not encoding or images_in(conversation):
            return None
        size = sum(len(text.encode("utf-8", "replace")) for text in texts_in(conversation))
        if size > CONVERSATION_BYTES_MAX:
            return None
        async with self._turn:
            if encoding not in self._found:
                path = self._folder / f"{encoding}.tiktoken"
                self._found[encoding] = await asyncio.to_thread(_read, path, encoding, model)
        found = self._found[encoding]
        return None if found is None else await asyncio.to_thread(_count, found, conversation)


def parse_ranks(content: bytes) -> dict[bytes, int]:
    """Return tokens with their ranks; raise ValueError for what is no file of tiktoken."""
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"it has more than {FILE_BYTES_MAX} bytes")
    lines = [line.split() for line in content.splitlines() if line]
    ranks = {b64decode(token, validate=True): int(rank) for token, rank in lines}
    if any(bytes([one]) not in ranks for one in range(256)):
        raise ValueError("some bytes are no token")
    return ranks


def encoding_of(name: str, ranks: Mapping[bytes, int]) -> Encoding:
    """Return an encoding with its way of cutting texts into pieces."""
    return Encoding(ranks, pieces()[name])


def _read(path: Path, name: str, model: str) -> Encoding | None:
    try:
        with path.open("rb") as file:
            return encoding_of(name, parse_ranks(file.read(FILE_BYTES_MAX + 1)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        problem = f"{path.name} is no file of tiktoken ({error}); replace or remove it"
        raise ModelUnusable(model, problem) from error


def _count(encoding: Encoding, conversation: Conversation) -> int:
    count = ANSWER_TOKENS + TURN_TOKENS * len(conversation.messages)
    count += FRAME_TOKENS * sum(len(message.calls) for message in conversation.messages)
    count += FRAME_TOKENS * len(conversation.actions)
    return count + sum(map(encoding.count, texts_in(conversation)))


@cache
def pieces() -> dict[str, re.Pattern[str]]:
    r"""Return the patterns of tiktoken, with the classes that `re` lacks, such as `\p{L}`."""
    kinds = _kinds()
    letters = "".join(kinds[kind] for kind in ("Lu", "Ll", "Lt", "Lm", "Lo"))
    numbers = kinds["Nd"] + kinds["Nl"] + kinds["No"]
    marks = kinds["Mn"] + kinds["Mc"] + kinds["Me"]
    uncased = kinds["Lm"] + kinds["Lo"] + marks
    upper, lower = f"[{kinds['Lu']}{kinds['Lt']}{uncased}]", f"[{kinds['Ll']}{uncased}]"
    spaces = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
    space, no_space = f"[{spaces}]", f"[^{spaces}]"
    ending = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    lead, signs = f"[^\r\n{letters}{numbers}]", f"[^{spaces}{letters}{numbers}]"
    rest = rf"{space}+(?!{no_space})"
    cl100k = (
        r"'(?i:[sdmt]|ll|ve|re)",
        f"{lead}?+[{letters}]++",
        f"[{numbers}]{{1,3}}+",
        f" ?{signs}++[\r\n]*+",
        rf"{space}++\Z",
        f"{space}*[\r\n]",
        rest,
        space,
    )
    o200k = (
        f"{lead}?{upper}*{lower}+{ending}",
        f"{lead}?{upper}+{lower}*{ending}",
        f"[{numbers}]{{1,3}}",
        f" ?{signs}+[\r\n/]*",
        f"{space}*[\r\n]+",
        rest,
        f"{space}+",
    )
    return {CL100K: re.compile("|".join(cl100k)), O200K: re.compile("|".join(o200k))}


def _kinds() -> dict[str, str]:
    """Return what stands between brackets for each category of Unicode."""
    kinds: dict[str, list[str]] = {}
    everything = range(sys.maxunicode + 1)
    for kind, group in groupby(everything, lambda code: unicodedata.category(chr(code))):
        codes = list(group)
        kinds.setdefault(kind, []).append(f"\\U{codes[0]:08x}-\\U{codes[-1]:08x}")
    return {kind: "".join(ranges) for kind, ranges in kinds.items()}
