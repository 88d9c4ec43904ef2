"""Anthropic, through the suite."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from linker.errors import ProviderUnavailable, RateLimited
from linker.providers.anthropic import AnthropicProvider
from tests.fakes.anthropic import AnthropicMessages
from tests.fakes.upstream import Fault
from tests.linker.orders import action, prompt
from tests.linker.providers.conformance import Conformance
from tests.linker.providers.failures import Failures
from tests.linker.providers.stage import Stage, Staged, Subject


def event(garbage: bytes) -> bytes:
    """Return garbage with a name: what has none is passed over."""
    return b"event: content_block_delta\n" + garbage


class TestAnthropic(Conformance, Failures):
    """Anthropic's Messages."""

    subject = Subject(
        AnthropicProvider,
        AnthropicMessages,
        kind="anthropic",
        model="claude-opus-4-6",
        too_long=Fault(400, text="prompt is too long: 300000 tokens > 200000 maximum"),
        options={"count_tokens": "true"},
        takes_seed=False,
        takes_penalties=False,
        key_header="x-api-key",
        key_prefix="",
        garbage=event,
    )

    async def test_actions_are_counted(self, stage: Stage) -> None:
        model = await stage.model()
        alone = await model.count_tokens(prompt().conversation)
        both = await model.count_tokens(prompt(action()).conversation)
        assert alone is not None
        assert both is not None
        assert alone < both

    @pytest.mark.parametrize(
        ("kind", "error"),
        [("overloaded_error", ProviderUnavailable), ("rate_limit_error", RateLimited)],
    )
    async def test_an_error_in_an_answer_has_its_reason(
        self, stage: Stage, kind: str, error: type[Exception]
    ) -> None:
        body = json.dumps({"type": "error", "error": {"type": kind, "message": "Overloaded"}})
        broken = await stage.fail(Fault(garbage=f"event: error\ndata: {body}\n\n".encode()))
        assert type(broken) is error

    async def test_a_temperature_is_sent_only_to_models_that_take_one(self, stage: Stage) -> None:
        stage.actor.dialect = AnthropicMessages(("claude-opus-4-6", "claude-opus-5"))
        for name in ("claude-opus-4-6", "claude-opus-5"):
            model = await stage.provider.open(name, stage.key)
            async for _ in model.generate(prompt(temperature=1.7)):
                pass
        bodies = [s.json for s in stage.upstream.seen if stage.upstream.is_generation(s)]
        assert [body.get("temperature") for body in bodies] == [1.0, None]


class TestOptions(Staged):
    """The same with its cache on, and counts off."""

    subject = replace(TestAnthropic.subject, options={"prompt_cache": "true"})

    async def test_the_provider_is_asked_to_keep_what_it_reads(self, stage: Stage) -> None:
        await stage.finish(prompt())
        assert stage.upstream.seen[-1].json["cache_control"] == {"type": "ephemeral"}

    async def test_nobody_is_asked_for_a_count(self, stage: Stage) -> None:
        assert await (await stage.model()).count_tokens(prompt().conversation) is None
