"""OpenAI, Azure OpenAI and servers that are compatible, through the suite."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from openai import AsyncStream

from linker.conversation import Logprobs, Sampling, TokenLogprob
from linker.errors import ModelNotFound, ModelUnusable
from linker.providers.events import Arriving
from linker.providers.openai import OpenAiProvider
from linker.providers.openai_servers import show
from linker.settings import ModelSettings
from tests.fakes.openai_chat import AzureOpenAi, OpenAiChat
from tests.fakes.openai_responses import OpenAiResponses
from tests.fakes.upstream import Fault
from tests.linker.orders import finish, prompt
from tests.linker.providers.conformance import Conformance
from tests.linker.providers.failures import Failures
from tests.linker.providers.stage import CANARY, Stage, Staged, Subject

TOO_LONG = Fault(
    400,
    "context_length_exceeded",
    "This model's maximum context length is 128000 tokens. However, your messages resulted in "
    "300000 tokens. Please reduce the length of the messages.",
)


class TestOpenAiChat(Conformance, Failures):
    """OpenAI's chat completions."""

    subject = Subject(
        OpenAiProvider,
        lambda: OpenAiChat(("gpt-4o", "text-embedding-3-small")),
        kind="openai",
        model="gpt-4o",
        too_long=TOO_LONG,
        prefix="/v1",
        embeds="text-embedding-3-small",
    )


class OverPackage(OpenAiProvider):
    """The same, but all requests are made by OpenAI's package."""

    @asynccontextmanager
    async def _asked(
        self, secret: str, path: str, body: Mapping[str, object]
    ) -> AsyncIterator[AsyncIterator[list[bytes]]]:
        async with await self.client.post(
            f"/{path}",
            body=body,
            cast_to=object,
            stream=True,
            stream_cls=AsyncStream[object],
            options={"headers": show(self.settings, secret)},
        ) as chunks:
            yield ([json.dumps(chunk).encode()] async for chunk in chunks)

    def post(self, model: str, secret: str, path: str, body: Mapping[str, object]) -> Arriving:
        assert model == body["model"]
        return self._asked(secret, path, body)


class TestOpenAiChatOverPackage(Conformance, Failures):
    """The package does whatever is said here, as our own requests do."""

    subject = replace(TestOpenAiChat.subject, build=OverPackage)


class TestCompatible(Conformance, Failures):
    """A server like vLLM, without a key, whose models have slashes."""

    subject = Subject(
        OpenAiProvider,
        lambda: OpenAiChat(("owner/model-7b", "embedder"), dimensions=8),
        kind="openai-compatible",
        model="owner/model-7b",
        too_long=TOO_LONG,
        prefix="/v1",
        options={"constrains_output": "true"},
        settings=ModelSettings(context_tokens=32_768),
        takes_images=False,
        needs_key=False,
    )


class TestResponses(Conformance, Failures):
    """OpenAI's Responses."""

    subject = Subject(
        OpenAiProvider,
        lambda: OpenAiResponses(("gpt-4o",)),
        kind="openai",
        model="gpt-4o",
        too_long=TOO_LONG,
        prefix="/v1",
        options={"api": "responses"},
        takes_seed=False,
        takes_penalties=False,
        takes_stops=False,
    )


class TestResponsesOverPackage(Conformance, Failures):
    """The package does whatever is said here, as our own requests do."""

    subject = replace(TestResponses.subject, build=OverPackage)


class TestAzure(Conformance, Failures):
    """Azure OpenAI at its interface v1: deployments, asked for with an empty conversation."""

    subject = Subject(
        OpenAiProvider,
        lambda: AzureOpenAi(("gpt-4o",)),
        kind="azure-openai",
        model="gpt-4o",
        too_long=TOO_LONG,
        key_header="api-key",
        key_prefix="",
    )


class TestOldAzure(Staged):
    """Azure OpenAI at its older interface, with a deployment of its own name."""

    subject = replace(
        TestAzure.subject,
        dialect=lambda: AzureOpenAi(("ours",)),
        model="ours",
        options={"api_version": "2024-10-21"},
        settings=ModelSettings(context_tokens=128_000),
    )

    async def test_a_deployment_is_in_the_path_and_its_version_in_the_query(
        self, stage: Stage
    ) -> None:
        assert (await stage.finish(prompt())).text
        asked = {(seen.path, seen.query) for seen in stage.upstream.seen}
        path = "/openai/deployments/ours/chat/completions"
        assert asked == {(path, "api-version=2024-10-21")}
        assert {seen.headers["api-key"] for seen in stage.upstream.seen} == {CANARY}

    async def test_a_deployment_that_is_not_there_is_not_found(self, stage: Stage) -> None:
        with pytest.raises(ModelNotFound):
            await stage.provider.open("theirs", stage.key)

    async def test_of_a_deployment_only_what_the_operator_says_is_known(self, stage: Stage) -> None:
        facts = (await stage.model()).facts
        assert (facts.context_tokens, facts.constrains_output) == (128_000, False)

    async def test_of_a_deployment_with_a_family_its_family_is_known(self, stage: Stage) -> None:
        options = {**stage.settings.options, "families": "theirs=gpt-4o ours=gpt-5"}
        provider = self.subject.build(replace(stage.settings, options=options, models={}))
        model = await provider.open("ours", stage.key)
        assert (model.facts.context_tokens, model.facts.takes_images) == (400_000, True)
        await finish(model.generate(prompt(temperature=0.5)))
        assert "temperature" not in stage.upstream.seen[-1].json
        await provider.close()


THOUGHTFUL = ("gpt-5", "gpt-9", "ft:gpt-4o-mini:us::1")


class TestFamilies(Staged):
    """Models that choose tokens for themselves, and those that came after us."""

    subject = replace(
        TestOpenAiChat.subject,
        dialect=lambda: OpenAiChat(THOUGHTFUL),
        model="gpt-9",
        settings=ModelSettings(context_tokens=1_000_000),
    )

    @pytest.mark.parametrize(("name", "samples"), [*zip(THOUGHTFUL, (0, 0, 1), strict=True)])
    async def test_only_models_that_let_it_are_told_how_to_choose(
        self, stage: Stage, name: str, samples: int
    ) -> None:
        model = await stage.provider.open(name, stage.key)
        await finish(model.generate(prompt(temperature=0.5)))
        names = {"temperature", "seed", "top_p", "logprobs", "frequency_penalty"}
        assert len(names & {*stage.upstream.seen[-1].json}) == 2 * samples

    async def test_how_long_a_context_is_is_not_guessed(self, stage: Stage) -> None:
        provider = self.subject.build(replace(stage.settings, models={}))
        with pytest.raises(ModelUnusable, match="context_tokens"):
            await provider.open("gpt-9", stage.key)
        await provider.close()


class TestLogprobs(Staged):
    """What could have stood in place of each token."""

    subject = TestOpenAiChat.subject

    async def test_likely_tokens_are_told(self, stage: Stage) -> None:
        token = {"token": "One", "logprob": -0.1, "bytes": None}
        likely = {"content": [{**token, "top_logprobs": [token]}], "refusal": None}
        choice = {"index": 0, "delta": {"content": "One"}, "logprobs": likely}
        chunk = json.dumps({"id": "1", "object": "chat.completion.chunk", "choices": [choice]})
        stage.upstream.faults.append(Fault(garbage=f"data: {chunk}\n\n".encode()))
        asked = replace(prompt(), sampling=Sampling(9, logprobs=2))
        finished = await stage.finish(asked)
        one = TokenLogprob("One", -0.1)
        assert finished.logprobs == (Logprobs(one, (one,)),)
        assert stage.actor.prompts[0].sampling.logprobs == 2
