"""Hugging Face, through the suite: the router, and endpoints of one's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from linker.errors import ModelNotFound, ModelUnusable
from linker.providers.huggingface import HuggingFaceProvider
from linker.settings import ModelSettings
from tests.fakes.carriers import Router
from tests.fakes.openai_chat import OpenAiChat
from tests.linker.orders import prompt
from tests.linker.providers.conformance import Conformance
from tests.linker.providers.failures import Failures
from tests.linker.providers.stage import Stage, Staged, Subject
from tests.linker.providers.test_openai import TOO_LONG

MODEL = "owner/model-7b"
ROUTER = Subject(
    HuggingFaceProvider,
    lambda: Router((MODEL,)),
    kind="huggingface",
    model=MODEL,
    too_long=TOO_LONG,
    prefix="/v1",
)


class TestRouter(Conformance, Failures):
    """The router."""

    subject = ROUTER


class TestEndpoint(Staged):
    """An endpoint of one's own, which is a server like any other."""

    subject = replace(
        ROUTER,
        dialect=lambda: OpenAiChat((MODEL,)),
        settings=ModelSettings(context_tokens=32_768),
    )

    async def test_it_answers(self, stage: Stage) -> None:
        assert (await stage.finish(prompt())).text
        assert not (await stage.model()).facts.constrains_output

    async def test_a_model_that_it_does_not_have_is_not_found(self, stage: Stage) -> None:
        with pytest.raises(ModelNotFound):
            await stage.provider.open("owner/other", stage.key)


class TestOffers(Staged):
    """What the router tells of the providers of a model."""

    subject = ROUTER

    @pytest.mark.parametrize(
        ("name", "context_tokens"),
        [
            (MODEL, 32_768),
            (f"{MODEL}:fastest", 32_768),
            (f"{MODEL}:one", 131_072),
            (f"{MODEL}:two", 32_768),
        ],
    )
    async def test_a_model_can_what_all_who_may_answer_can(
        self, stage: Stage, name: str, context_tokens: int
    ) -> None:
        facts = (await stage.provider.open(name, stage.key)).facts
        assert facts.context_tokens == context_tokens

    @pytest.mark.parametrize("name", [f"{MODEL}:slow", f"{MODEL}:nobody"])
    async def test_a_provider_that_does_not_serve_is_not_found(
        self, stage: Stage, name: str
    ) -> None:
        with pytest.raises(ModelNotFound):
            await stage.provider.open(name, stage.key)

    async def test_a_model_without_tools_takes_no_actions(self, stage: Stage) -> None:
        dialect = Router((MODEL,))
        dialect.offers = ({"context_length": 9, "supports_tools": False},)
        dialect.modalities = ("text",)
        stage.actor.dialect = dialect
        facts = (await stage.model()).facts
        assert (facts.takes_actions, facts.takes_images) == (False, False)

    async def test_a_length_that_nobody_tells_is_asked_for(self, stage: Stage) -> None:
        dialect = Router((MODEL,))
        dialect.offers = ({"provider": "one"},)
        stage.actor.dialect = dialect
        with pytest.raises(ModelUnusable, match="context_tokens"):
            await stage.model()
