"""Tokens are counted as tiktoken cuts them, by a merge that is slow and plain beside ours."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from linker.conversation import Action, Call, Conversation, Image, Message, Role
from linker.errors import ModelUnusable
from linker.providers import bytepairs
from linker.providers.bytepairs import CL100K, O200K, Tokenizers, encoding_of, parse_ranks
from linker.providers.known import OPENAI
from linker.providers.openai import OpenAiProvider
from linker.settings import ProviderSettings
from linker.tokens import FRAME_TOKENS

JOINED = (b"ab", b"bc", b"abc", b" a", b"aa", b"aaaa", b"ba", b"\xc3\xa9", b"ca", b" abc")
RANKS = {bytes([one]): one for one in range(256)} | {
    token: 256 + place for place, token in enumerate(JOINED)
}
# What tiktoken makes of it, beside what is the same in both.
CUTS = {
    "Hello wOrld's 12345": (
        ["Hello", " wOrld", "'s", " ", "123", "45"],
        ["Hello", " w", "Orld's", " ", "123", "45"],
    ),
    "a  b \n\n c\n": (
        ["a", " ", " b", " \n\n", " c", "\n"],
        ["a", " ", " b", " \n\n", " c", "\n"],
    ),
    "x/\n//y": (["x", "/\n", "//", "y"], ["x", "/\n//", "y"]),
    "東京,\u3000タワー": (["東京", ",", "\u3000タワー"], ["東京", ",", "\u3000タワー"]),
    "DON'T": (["DON", "'T"], ["DON'T"]),
}
TEXTS = st.text(st.sampled_from("abcABC é1'\n .\u3000ʰ́") | st.characters(codec="utf-8"))


def content(ranks: dict[bytes, int]) -> bytes:
    """Return a file as tiktoken writes it."""
    lines = (f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items())
    return "".join(lines).encode()


def slow_count(piece: bytes) -> int:
    """Join the first pair of the lowest rank, until there is none."""
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while True:
        pairs = [parts[i] + parts[i + 1] for i in range(len(parts) - 1)]
        known = [pair for pair in pairs if pair in RANKS]
        if not known:
            return len(parts)
        place = pairs.index(min(known, key=RANKS.__getitem__))
        parts[place : place + 2] = [pairs[place]]


def said(*texts: str) -> Conversation:
    return Conversation(tuple(Message(Role.USER, text) for text in texts))


def pieces_of(name: str, text: str) -> list[str]:
    return bytepairs.pieces()[name].findall(text)


@pytest.mark.parametrize(("place", "name"), [(0, CL100K), (1, O200K)])
@pytest.mark.parametrize("text", CUTS)
def test_texts_are_cut_as_tiktoken_cuts_them(place: int, name: str, text: str) -> None:
    assert pieces_of(name, text) == CUTS[text][place]


@given(TEXTS, st.sampled_from([CL100K, O200K]))
def test_nothing_of_a_text_is_left_out(text: str, name: str) -> None:
    assert "".join(pieces_of(name, text)) == text


@given(st.text("ab", min_size=3) | st.text("abc é") | TEXTS)
@example("aaaab")
def test_pieces_are_joined_in_the_order_of_ranks(text: str) -> None:
    expected = sum(slow_count(piece.encode()) for piece in pieces_of(O200K, text))

    assert encoding_of(O200K, RANKS).count(text) == expected


def test_nobody_makes_us_wait_with_one_long_word() -> None:
    start = time.process_time()
    count = encoding_of(CL100K, RANKS).count("ab" * (bytepairs.CONVERSATION_BYTES_MAX // 2))

    # With a merge that looks at all pairs for each it would be hours.
    assert time.process_time() - start < 60
    assert count == bytepairs.CONVERSATION_BYTES_MAX // 2


async def test_a_conversation_is_its_texts_and_what_stands_around_them(tmp_path: Path) -> None:
    (tmp_path / f"{O200K}.tiktoken").write_bytes(content(RANKS))
    calling = Message(Role.ASSISTANT, "abc", (Call("c", "ab", "{}"),))
    conversation = Conversation((calling, Message(Role.USER, "aa")), (Action("ab", "", "{}"),))

    counted = await Tokenizers(str(tmp_path)).count(O200K, conversation, "openai/gpt-4o")

    # Two turns, a call and an action, the answer; "abc", "c", "ab", "{}", "aa", "ab", "{}".
    assert counted == 2 * 4 + 2 * FRAME_TOKENS + 3 + 1 + 1 + 1 + 2 + 1 + 1 + 2


@pytest.mark.parametrize(
    ("folder", "encoding", "conversation"),
    [
        ("", O200K, said("a")),
        (".", "", said("a")),
        (".", CL100K, said("a")),
        (".", O200K, said("a" * bytepairs.CONVERSATION_BYTES_MAX, "a")),
        (".", O200K, Conversation((Message(Role.USER, "a", images=(Image("image/png", b""),)),))),
    ],
    ids=["no folder", "no encoding", "no file", "too long", "a picture"],
)
async def test_what_cannot_be_told_is_not_told(
    tmp_path: Path, folder: str, encoding: str, conversation: Conversation
) -> None:
    (tmp_path / f"{O200K}.tiktoken").write_bytes(content(RANKS))
    tokenizers = Tokenizers(folder and str(tmp_path))

    assert await tokenizers.count(encoding, conversation, "openai/gpt-4o") is None


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\xff",
        b"YQ== 1 2\n",
        b"YQ 1\n",
        b"YQ== one\n",
        content(RANKS)[9:],
        b" " * 2**24 + b" ",
    ],
)
async def test_a_file_that_tiktoken_did_not_write_is_named(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / f"{O200K}.tiktoken").write_bytes(broken)

    with pytest.raises(ModelUnusable, match=f"{O200K}.tiktoken is no file of tiktoken"):
        await Tokenizers(str(tmp_path)).count(O200K, said("a"), "openai/gpt-4o")


def test_a_file_is_read_as_it_is_written() -> None:
    assert parse_ranks(content(RANKS)) == RANKS


@pytest.mark.parametrize(
    ("model", "count"), [("gpt-4o", 8), ("gpt-4", None), ("text-embedding-3-small", None)]
)
async def test_a_model_of_openai_is_counted_with_its_file(
    tmp_path: Path, model: str, count: int | None
) -> None:
    (tmp_path / f"{O200K}.tiktoken").write_bytes(content(RANKS))
    provider = OpenAiProvider(
        ProviderSettings("openai", "openai", options={"tiktoken": str(tmp_path)})
    )

    counted = await provider.opened(model, None, OPENAI[model]).count_tokens(said("abc"))
    await provider.close()

    assert counted == count
