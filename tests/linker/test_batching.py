"""What is computed together, forced or guessed is what would be answered without all that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from linker.conversation import Choice, Prompt
from linker.providers.settings import EngineSettings
from linker.providers.statistics import Statistics
from linker.providers.weights import Weights
from tests.linker.engines import SETTINGS, ask, running
from tests.linker.orders import action, prompt, said

pytestmark = pytest.mark.native


def errands(*, temperature: float, tokens_max: int) -> list[Prompt]:
    """Return texts, calls, and what the model decides, which begin alike and go on differently."""
    return [
        prompt(
            action(),
            choice=choice,
            text=f"Post that coin {number} rose, {'rose and ' * number}rose on Friday.",
            temperature=temperature,
            seed=number,
            tokens_max=tokens_max,
        )
        for number in range(4)
        for choice in (Choice.NONE, Choice.AUTO, Choice.REQUIRED)
    ]


async def answers(
    weights: Weights, prompts: Sequence[Prompt], settings: EngineSettings = SETTINGS
) -> tuple[list[object], Statistics]:
    """Return what is answered when all of it is asked at once."""
    async with running(weights, settings) as engine:
        return [said(finished) for finished in await ask(engine, *prompts)], engine.statistics


@pytest.fixture(params=["greedy", "dice"])
def case(
    request: pytest.FixtureRequest, weights: Weights, random_network: Weights
) -> tuple[Weights, list[Prompt]]:
    """Return a model and what it is asked: dice would show the last bit of a real attention."""
    if request.param == "dice":
        return weights, errands(temperature=1.0, tokens_max=80)
    return random_network, errands(temperature=0.0, tokens_max=80)


async def test_what_is_asked_at_once_is_answered_as_if_alone(
    case: tuple[Weights, list[Prompt]],
) -> None:
    model, prompts = case
    together, _ = await answers(model, prompts)
    assert together == [(await answers(model, [asked]))[0][0] for asked in prompts]


async def test_guesses_change_no_token(case: tuple[Weights, list[Prompt]]) -> None:
    """The same dice give the same tokens, so they come up exactly as often as without guesses."""
    model, prompts = case
    without = replace(SETTINGS, guess_tokens_max=0, forces=False)
    plain, slow = await answers(model, prompts, without)
    guessed, fast = await answers(
        model, prompts, replace(SETTINGS, forces=False, guess_right_min=0.0)
    )
    assert guessed == plain
    assert 0 < fast.accepted < fast.guessed
    assert slow.guessed == 0


async def test_forced_tokens_are_those_that_would_be_chosen(random_network: Weights) -> None:
    prompts = errands(temperature=0, tokens_max=80)
    prompts = [asked for asked in prompts if asked.choice is Choice.REQUIRED]
    without = replace(SETTINGS, forces=False, guess_tokens_max=0)
    plain, slow = await answers(random_network, prompts, without)
    forced, fast = await answers(random_network, prompts, replace(without, forces=True))
    assert forced == plain
    assert slow.forced == 0 < fast.forced
    assert fast.steps < slow.steps


async def test_a_likelihood_is_told_for_each_token_of_the_text(random_network: Weights) -> None:
    asked = prompt(temperature=0, tokens_max=20)
    asked = replace(asked, sampling=replace(asked.sampling, logprobs=3))
    async with running(random_network) as engine:
        (finished,) = await ask(engine, asked)
    assert len(finished.logprobs) == 20
    for place in finished.logprobs:
        logprobs = [token.logprob for token in place.likeliest]
        assert logprobs == sorted(logprobs, reverse=True)
        assert sum(math.exp(logprob) for logprob in logprobs) <= 1
        # It wanted an end of turn, or something else that is no text.
        assert place.chosen.logprob <= logprobs[0] < 0
