"""Gemini, through the suite."""

from __future__ import annotations

import json

import pytest

from linker.conversation import FinishReason
from linker.errors import CredentialRefused, ProviderUnavailable, RateLimited
from linker.providers.gemini import GeminiProvider
from tests.fakes.gemini import Gemini
from tests.fakes.upstream import Fault
from tests.linker.orders import prompt
from tests.linker.providers.conformance import Conformance
from tests.linker.providers.failures import Failures
from tests.linker.providers.stage import Stage, Subject


def broken(garbage: bytes) -> bytes:
    """Return garbage that the package does not take for an empty answer."""
    return garbage.replace(b"[1]", b'{"candidates": [3]}')


class TestGemini(Conformance, Failures):
    """The Gemini API."""

    subject = Subject(
        GeminiProvider,
        lambda: Gemini(("gemini-2.5-flash", "gemini-embedding-001")),
        kind="gemini",
        model="gemini-2.5-flash",
        too_long=Fault(
            400,
            text="The input token count (300000) exceeds the maximum number of tokens allowed "
            "(1048576).",
        ),
        embeds="gemini-embedding-001",
        counts_embeddings=False,
        limits_calls=False,
        cache_write=False,
        key_header="x-goog-api-key",
        key_prefix="",
        garbage=broken,
    )

    async def test_a_prompt_that_is_blocked_is_filtered(self, stage: Stage) -> None:
        chunk = {"promptFeedback": {"blockReason": "SAFETY"}}
        garbage = f"data: {json.dumps(chunk)}\n\n".encode()
        stage.upstream.faults.append(Fault(garbage=garbage, ends_early=True))
        assert (await stage.finish(prompt())).reason is FinishReason.FILTERED

    async def test_a_call_that_is_none_is_a_mistake_that_may_not_come_again(
        self, stage: Stage
    ) -> None:
        chunk = {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]}
        error = await stage.fail(Fault(garbage=f"data: {json.dumps(chunk)}\n\n".encode()))
        assert type(error) is ProviderUnavailable

    async def test_a_key_that_is_none_is_a_bad_request_here(self, stage: Stage) -> None:
        error = await stage.fail(Fault(400, "API_KEY_INVALID", "API key not valid"))
        assert type(error) is CredentialRefused

    async def test_when_to_come_back_is_in_the_body(self, stage: Stage) -> None:
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]
        stage.upstream.refuse = lambda fault: stage.actor.dialect.refuse(fault).with_body(
            {"error": {"code": 429, "message": "no", "status": "X", "details": details}}
        )
        error = await stage.fail(Fault(429))
        assert isinstance(error, RateLimited)
        assert error.retry_after_seconds == pytest.approx(34)
