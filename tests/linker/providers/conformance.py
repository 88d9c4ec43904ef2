"""What every provider of remote models does, whatever it speaks."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import pytest_asyncio

from linker.conversation import (
    Call,
    Choice,
    Conversation,
    FinishReason,
    Image,
    Message,
    Role,
    Sampling,
    Tokens,
    WrittenCall,
)
from linker.errors import ModelNotFound, ModelRefused, ModelUnusable
from linker.ports import OpenModel
from tests.fakes.actor import ARGUMENTS, Said
from tests.fakes.upstream import Fault
from tests.linker.orders import action, prompt
from tests.linker.providers.stage import CANARY, Stage, Staged
from tests.linker.providers.talking import Talking

PICTURE = Image("image/png", b"\x89PNG\r\n\x1a\n")
ANSWER_SCHEMA = (
    '{"type": "object", "properties": {"coin": {"type": "string"}, "fell": {"type": "boolean"}}, '
    '"required": ["coin", "fell"], "additionalProperties": false}'
)


class Conformance(Talking, Staged):
    """A class of tests that inherits from this runs its `subject` through the suite.

    Every request is checked against the schema that the provider publishes. What goes wrong is in
    `Failures`, and what models of this machine do too in `Talking`.
    """

    @pytest_asyncio.fixture
    async def model(self, stage: Stage) -> OpenModel:
        # The pieces of the first answer arrive one by one: those that are there are one delta.
        stage.upstream.faults.append(Fault(gap_seconds=0.001))
        return await stage.model()

    @property
    def takes_seed(self) -> bool:
        return self.subject.takes_seed

    @property
    def takes_stops(self) -> bool:
        return self.subject.takes_stops

    # --- Models ----------------------------------------------------------------------------------

    async def test_the_facts_tell_what_an_agent_needs(self, stage: Stage) -> None:
        facts = (await stage.model()).facts
        assert facts.context_tokens > 4_096
        assert facts.takes_actions
        assert facts.constrains_output is self.subject.constrains
        assert facts.takes_images is self.subject.takes_images

    @pytest.mark.parametrize("name", ["nobody", "", "..", "../models", "a/../../b", "a?b=c", "a#b"])
    async def test_a_model_that_is_not_there_is_not_found(self, stage: Stage, name: str) -> None:
        with pytest.raises(ModelNotFound):
            await stage.provider.open(name, stage.key)

    async def test_the_provider_is_asked_for_a_model_once(self, stage: Stage) -> None:
        await stage.model()
        asked = len(stage.upstream.seen)
        await stage.model()
        assert len(stage.upstream.seen) == asked

    # --- What is asked ---------------------------------------------------------------------------

    async def test_the_model_reads_the_conversation(self, stage: Stage) -> None:
        messages = (
            Message(Role.SYSTEM, "Be brief."),
            Message(Role.USER, "What moved?"),
            Message(Role.ASSISTANT, "", (Call("c-1", "board.post", ARGUMENTS),)),
            Message(Role.ACTION, '{"post": 1}', call_id="c-1"),
            Message(Role.USER, "And now?"),
        )
        asked = replace(prompt(), choice=Choice.AUTO)
        await stage.finish(replace(asked, conversation=Conversation(messages, (action(),))))
        assert stage.actor.prompts[0].conversation == Conversation(messages, (action(),))

    async def test_several_calls_of_a_turn_and_their_results_are_read(self, stage: Stage) -> None:
        names = ("board.post", "board.read_all", "a-b.c..z9")
        calls = tuple(Call(f"c-{n}", name, ARGUMENTS) for n, name in enumerate(names))
        results = tuple(
            Message(Role.ACTION, f'{{"post": {n}}}', call_id=f"c-{n}") for n in range(len(names))
        )
        messages = (Message(Role.USER, "Go."), Message(Role.ASSISTANT, "So:", calls), *results)
        offered = tuple(action(name=name) for name in names)
        asked = replace(prompt(), choice=Choice.AUTO)
        await stage.finish(replace(asked, conversation=Conversation(messages, offered)))
        assert stage.actor.prompts[0].conversation == Conversation(messages, offered)

    async def test_the_limit_arrives(self, stage: Stage) -> None:
        await stage.finish(prompt(tokens_max=77))
        assert stage.actor.prompts[0].sampling.tokens_max == 77

    async def test_the_seed_and_the_penalties_arrive_where_they_are_taken(
        self, stage: Stage
    ) -> None:
        sampling = Sampling(9, seed=5, frequency_penalty=0.5, presence_penalty=-0.5)
        await stage.finish(replace(prompt(), sampling=sampling))
        seen = stage.actor.prompts[0].sampling
        assert seen.seed == (5 if self.subject.takes_seed else 0)
        penalties = (0.5, -0.5) if self.subject.takes_penalties else (0.0, 0.0)
        assert (seen.frequency_penalty, seen.presence_penalty) == penalties

    @pytest.mark.parametrize("choice", list(Choice))
    async def test_the_choice_arrives(self, stage: Stage, choice: Choice) -> None:
        await stage.finish(prompt(action(), choice=choice))
        assert stage.actor.prompts[0].choice is choice

    async def test_the_key_is_shown_as_the_provider_wants_it(self, stage: Stage) -> None:
        await stage.finish(prompt())
        shown = {seen.headers.get(self.subject.key_header) for seen in stage.upstream.seen}
        assert shown == {f"{self.subject.key_prefix}{CANARY}"}

    async def test_images_are_read_or_refused(self, stage: Stage) -> None:
        messages = (Message(Role.USER, "What is this?", images=(PICTURE, PICTURE)),)
        asked = replace(prompt(), conversation=Conversation(messages))
        if not self.subject.takes_images:
            with pytest.raises(ModelRefused):
                await stage.finish(asked)
            return
        await stage.finish(asked)
        assert stage.actor.prompts[0].conversation.messages == messages

    # --- What is answered ------------------------------------------------------------------------

    async def test_usage_is_what_the_provider_says(self, stage: Stage) -> None:
        used = Tokens(input=30, output=7, cached_input=20)
        stage.says(Said("One two.", tokens=used))
        assert (await stage.finish(prompt())).tokens == used

    async def test_reasoning_and_what_was_kept_are_told_apart(self, stage: Stage) -> None:
        used = Tokens(
            input=30,
            output=7,
            cached_input=20,
            cache_write=10 if self.subject.cache_write else 0,
            reasoning=5 if self.subject.splits_reasoning else 0,
        )
        stage.says(Said("One two.", reasoning="Let me see.", tokens=used))
        finished = await stage.finish(prompt())
        assert (finished.text, finished.tokens) == ("One two.", used)
        thoughts = "Letmesee." if self.subject.tells_thoughts else ""
        assert finished.reasoning.replace(" ", "") == thoughts

    async def test_what_was_filtered_says_so(self, stage: Stage) -> None:
        stage.says(Said("I will", reason=FinishReason.FILTERED, tokens=Tokens(3, 2)))
        finished = await stage.finish(prompt())
        assert finished.reason is FinishReason.FILTERED

    async def test_an_answer_keeps_to_a_schema(self, stage: Stage) -> None:
        asked = replace(prompt(), answer_schema=ANSWER_SCHEMA)
        if not self.subject.constrains:
            return
        finished = await stage.finish(asked)
        assert finished.text == '{"coin": "two", "fell": true}'
        assert stage.actor.prompts[0].answer_schema == ANSWER_SCHEMA

    async def test_letters_of_all_scripts_arrive_whole(self, stage: Stage) -> None:
        text = 'Grüße, 世界, 👩‍🚀 \x7f "quoted" \\ \n end'
        stage.says(Said(text, tokens=Tokens(1, 1)))
        assert (await stage.finish(prompt(text=text))).text == text
        assert stage.actor.prompts[0].conversation.messages[-1].text == text

    # --- Calls -----------------------------------------------------------------------------------

    async def test_one_call_is_asked_for_where_that_can_be_said(self, stage: Stage) -> None:
        await stage.finish(prompt(action(), choice=Choice.REQUIRED))
        assert stage.actor.prompts[0].calls_max == 1 or not self.subject.limits_calls

    async def test_several_calls_are_made_where_they_may(self, stage: Stage) -> None:
        asked = prompt(action(), action(name="board.read"), choice=Choice.REQUIRED)
        finished = await stage.finish(replace(asked, calls_max=3))
        assert [call.action for call in finished.calls] == ["board.post", "board.read"]
        assert stage.actor.prompts[0].calls_max > 1

    async def test_of_more_calls_than_may_be_only_the_first_are_taken(self, stage: Stage) -> None:
        calls = tuple(WrittenCall("board.post", ARGUMENTS) for _ in range(3))
        stage.says(Said(calls=calls, reason=FinishReason.ACTION, tokens=Tokens(1, 1)))
        asked = replace(prompt(action(), choice=Choice.AUTO), calls_max=2)
        assert len((await stage.finish(asked)).calls) == 2

    async def test_a_named_action_is_called(self, stage: Stage) -> None:
        asked = prompt(action(name="board.read"), action(), choice=Choice.REQUIRED)
        finished = await stage.finish(replace(asked, action="board.post"))
        assert [call.action for call in finished.calls] == ["board.post"]
        assert stage.actor.prompts[0].action == "board.post"

    async def test_text_and_a_call_come_together(self, stage: Stage) -> None:
        calls = (WrittenCall("board.post", ARGUMENTS),)
        stage.says(Said("I post.", calls, reason=FinishReason.ACTION, tokens=Tokens(1, 1)))
        finished = await stage.finish(prompt(action(), choice=Choice.AUTO))
        assert (finished.text, len(finished.calls)) == ("I post.", 1)

    async def test_a_call_without_arguments_has_an_empty_object(self, stage: Stage) -> None:
        stage.says(
            Said(
                calls=(WrittenCall("board.read", "{}"),),
                reason=FinishReason.ACTION,
                tokens=Tokens(1, 1),
            )
        )
        finished = await stage.finish(prompt(action(name="board.read"), choice=Choice.AUTO))
        assert same_json(finished.calls[0].arguments, "{}")

    # --- Embeddings and counts -------------------------------------------------------------------

    async def test_embeddings_are_unit_vectors_in_the_order_of_the_texts(
        self, stage: Stage
    ) -> None:
        if not self.subject.embeds:
            with pytest.raises(ModelUnusable):
                await (await stage.model()).embed(["one"])
            return
        model = await stage.provider.open(self.subject.embeds, stage.key)
        embedded = await model.embed(["one", "one and two", "three"])
        assert {len(vector) for vector in embedded.vectors} == {model.facts.embedding_dimensions}
        for vector in embedded.vectors:
            assert math.isclose(math.hypot(*vector), 1.0, abs_tol=1e-6)
        # The fake makes the first value larger the longer the text is.
        firsts = [vector[0] for vector in embedded.vectors]
        assert firsts[0] < firsts[2] < firsts[1]
        if self.subject.counts_embeddings:
            assert embedded.tokens == Tokens(embedding=5)
        assert embedded.tokens.embedding > 0

    async def test_no_model_that_talks_orders_documents(self, stage: Stage) -> None:
        with pytest.raises(ModelUnusable):
            await (await stage.model()).rerank("coin", ["one", "two"])

    async def test_tokens_are_counted_or_nobody_says_so(self, stage: Stage) -> None:
        model = await stage.model()
        counted = await model.count_tokens(prompt(action()).conversation)
        assert counted is None or counted > 3


def same_json(one: str, other: str) -> bool:
    """Tell whether two texts are the same JSON."""
    return bool(json.loads(one) == json.loads(other))
