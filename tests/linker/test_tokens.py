"""What nobody can count is bounded: no tokenizer that joins bytes makes more of it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linker.conversation import Action, Call, Conversation, Message, Role
from linker.providers.local import LocalProvider
from linker.tokens import FRAME_TOKENS, Counter, count_at_most

TURNS = st.tuples(
    *[st.text(max_size=200) | st.sampled_from(["", " " * 80, "\0", "\u1e9e" * 40])] * 3
)


def test_a_conversation_has_at_most_a_token_for_each_byte_and_its_frames() -> None:
    calling = Message(Role.ASSISTANT, "Gö", (Call("c1", "board.post", "{}"),))
    result = Message(Role.ACTION, "1", call_id="c1")
    action = Action("board.post", "Posts.", "{}")
    count = count_at_most(Conversation((calling, result), (action,)))
    assert count.counter is Counter.UPPER_BOUND
    # "Gö", the call, the result with its call, the action; frames of all of them and of the whole.
    assert count.amount == 3 + 14 + 3 + 18 + 5 * FRAME_TOKENS


@pytest.mark.native
@given(texts=TURNS)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_real_tokenizer_stays_within_the_bound(
    local: LocalProvider, texts: tuple[str, str, str]
) -> None:
    turns = zip((Role.SYSTEM, Role.USER, Role.ASSISTANT), texts, strict=True)
    conversation = Conversation(tuple(Message(role, text) for role, text in turns))

    async def count() -> int:
        counted = await (await local.open("babbler")).count_tokens(conversation)
        assert counted is not None
        return counted

    assert asyncio.run(count()) <= count_at_most(conversation).amount
