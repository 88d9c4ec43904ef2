"""What every model that talks does, whoever computes: ours, scripted ones and remote ones."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import jsonschema
import pytest

from linker.conversation import Choice, Delta, Finished, FinishReason
from linker.errors import ModelRefused
from linker.ports import OpenModel
from tests.linker.orders import POST_SCHEMA, action, collect, finish, prompt, said


class Talking:
    """A class of tests that inherits from this has a fixture `model`, and may take less."""

    @property
    def takes_seed(self) -> bool:
        """Tell whether the same seed gives the same answer, and another one another."""
        return True

    @property
    def takes_stops(self) -> bool:
        """Tell whether a text can be made to end."""
        return True

    async def test_the_deltas_of_a_text_are_the_text(self, model: OpenModel) -> None:
        *deltas, finished = await collect(model.generate(prompt()))
        assert isinstance(finished, Finished)
        texts = [delta.text for delta in deltas if isinstance(delta, Delta)]
        assert "".join(texts) == finished.text != ""
        assert sum(map(bool, texts)) > 1

    async def test_an_answer_that_is_done_says_stop(self, model: OpenModel) -> None:
        finished = await finish(model.generate(prompt()))
        assert (finished.reason, finished.calls) == (FinishReason.STOP, ())

    async def test_usage_only_grows(self, model: OpenModel) -> None:
        used = [event.tokens.output for event in await collect(model.generate(prompt()))]
        assert used == sorted(used)
        assert used[0] == 0 < used[-1]

    async def test_the_first_event_says_that_the_prompt_was_read(self, model: OpenModel) -> None:
        first, *_ = await collect(model.generate(prompt()))
        assert isinstance(first, Delta)
        assert (first.text, first.reasoning) == ("", "")
        assert first.tokens.read > 0

    async def test_tokens_max_cuts_the_text(self, model: OpenModel) -> None:
        finished = await finish(model.generate(prompt(tokens_max=3)))
        assert (finished.reason, finished.tokens.output) == (FinishReason.LENGTH, 3)

    async def test_a_stop_ends_the_text_and_is_not_in_it(self, model: OpenModel) -> None:
        whole = (await finish(model.generate(prompt()))).text
        stop = whole[5:9]
        asked = prompt(stops=("never there", stop))
        if not self.takes_stops:
            with pytest.raises(ModelRefused):
                await finish(model.generate(asked))
            return
        *deltas, finished = await collect(model.generate(asked))
        assert isinstance(finished, Finished)
        assert finished.text == whole[: whole.index(stop)]
        assert "".join(d.text for d in deltas if isinstance(d, Delta)) == finished.text
        assert finished.reason is FinishReason.STOP

    async def test_a_required_call_is_made_and_valid(self, model: OpenModel) -> None:
        finished = await finish(model.generate(prompt(action(), choice=Choice.REQUIRED)))
        (call,) = finished.calls
        assert (finished.reason, call.action) == (FinishReason.ACTION, "board.post")
        jsonschema.validate(json.loads(call.arguments), POST_SCHEMA)

    async def test_the_same_seed_gives_the_same_answer(self, model: OpenModel) -> None:
        first, second = [await finish(model.generate(prompt(seed=5))) for _ in range(2)]
        assert said(first) == said(second)

    async def test_another_seed_gives_another_answer(self, model: OpenModel) -> None:
        texts = {(await finish(model.generate(prompt(seed=seed)))).text for seed in range(4)}
        assert (len(texts) > 1) is self.takes_seed

    async def test_a_generation_that_is_closed_stops(self, model: OpenModel) -> None:
        async with aclosing(model.generate(prompt())) as events:
            first = await anext(events)
        assert first.tokens.output == 0
        with pytest.raises(StopAsyncIteration):
            await anext(events)

    async def test_generations_at_once_do_not_mix(self, model: OpenModel) -> None:
        alone = [await finish(model.generate(prompt(seed=seed))) for seed in range(4)]
        together = await asyncio.gather(
            *(finish(model.generate(prompt(seed=seed))) for seed in range(4))
        )
        assert [*map(said, together)] == [*map(said, alone)]
