"""Bedrock, through the suite, and what is special about keys and streams of AWS."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chassis.canonical import Json
from chassis.errors import ServiceError
from linker.conversation import Call, Choice, Conversation, Message, Prompt, Role
from linker.errors import (
    ContextExceeded,
    CredentialRefused,
    ModelNotFound,
    ModelUnusable,
    ProviderUnavailable,
    RateLimited,
)
from linker.providers.bedrock import BedrockProvider
from linker.settings import ModelSettings
from tests.fakes.aws import (
    REGION,
    STREAM_HEADERS,
    check_signature,
    event,
    frame,
    key_of,
    refusal,
)
from tests.fakes.bedrock import Bedrock
from tests.fakes.upstream import Fault, Reply, Seen
from tests.linker.orders import action, prompt
from tests.linker.providers.conformance import Conformance
from tests.linker.providers.failures import Failures
from tests.linker.providers.stage import CANARY, CanaryKey, Stage, Staged, Subject

MODEL = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"

SUBJECT = Subject(
    BedrockProvider,
    lambda: Bedrock(MODEL),
    kind="bedrock",
    model=MODEL,
    too_long=Fault(400, "ValidationException", "The input of 300000 tokens is too long for it."),
    options={"region": REGION, "constrains_output": "true"},
    takes_seed=False,
    takes_penalties=False,
    splits_reasoning=False,
    limits_calls=False,
    garbage=lambda garbage: frame("contentBlockDelta", garbage),
)


class TestBedrock(Conformance, Failures):
    """With a key of its own, which is a bearer token."""

    subject = SUBJECT


class Signed(Bedrock):
    """Takes only requests that were signed."""

    def read(self, seen: Seen) -> Prompt:
        check_signature(seen, "bedrock", CANARY)
        return super().read(seen)

    def serve(self, seen: Seen) -> Reply:
        check_signature(seen, "bedrock", CANARY)
        return super().serve(seen)


class TestKeysOfAws(Staged):
    """With a key of AWS, which signs."""

    subject = replace(SUBJECT, dialect=lambda: Signed(MODEL), key=key_of(CANARY))

    async def test_a_request_is_signed_and_the_key_does_not_travel(self, stage: Stage) -> None:
        await stage.finish(prompt())
        assert CANARY not in repr(stage.upstream.seen)

    async def test_the_secret_part_of_a_key_is_taken_out_of_what_is_said(
        self, stage: Stage
    ) -> None:
        error = await stage.fail(Fault(400, text=f"the key {CANARY} will not do"))
        assert CANARY not in str(error)
        assert "will not do" in str(error)

    async def test_the_token_of_a_session_is_signed(self, stage: Stage) -> None:
        key = CanaryKey(key_of(CANARY, session_token="of-a-session"))
        await stage.provider.open(MODEL, key)
        (seen,) = stage.upstream.seen
        assert seen.headers["x-amz-security-token"] == "of-a-session"
        assert "x-amz-security-token" in seen.headers["authorization"]

    async def test_the_region_of_a_key_is_the_one(self, stage: Stage) -> None:
        settings = replace(stage.settings, options={})
        provider = BedrockProvider(settings)
        with pytest.raises(ModelUnusable, match=r"options: \{region"):
            await provider.open(MODEL, stage.key)
        assert (await provider.open(MODEL, CanaryKey(key_of(CANARY, region=REGION)))).facts
        await provider.close()

    @pytest.mark.parametrize("value", ["{", "{}", f'{{"access_key_id": "{CANARY}"}}', "{}\n{}"])
    async def test_a_key_of_another_form_is_refused_and_not_repeated(
        self, stage: Stage, value: str
    ) -> None:
        with pytest.raises(CredentialRefused, match="access_key_id") as caught:
            await stage.provider.open(MODEL, CanaryKey(value))
        assert CANARY not in str(caught.value)


class TestStreams(Staged):
    """What the frames of a stream can be like."""

    subject = SUBJECT

    async def answer(self, stage: Stage, *pieces: bytes) -> str:
        stage.actor.dialect.say = lambda *_: Reply(pieces, headers=STREAM_HEADERS)  # type: ignore[method-assign]  # a fake that says this
        return (await stage.finish(prompt())).text

    @pytest.mark.parametrize("size", [1, 7, 1_000_000])
    async def test_an_answer_is_the_same_however_its_frames_are_cut(
        self, stage: Stage, size: int
    ) -> None:
        whole = text("Hel") + text("lo") + ENDED
        cut = (whole[at : at + size] for at in range(0, len(whole), size))
        assert await self.answer(stage, *cut) == "Hello"

    @pytest.mark.parametrize(
        ("last", "error"),
        [
            (b"throttlingException", RateLimited),
            (b"modelStreamErrorException", ProviderUnavailable),
            (b"internalServerException", ProviderUnavailable),
            (b"serviceUnavailableException", ProviderUnavailable),
            (b"unheardOf", ProviderUnavailable),
        ],
    )
    async def test_an_exception_in_a_stream_has_its_reason(
        self, stage: Stage, last: bytes, error: type[ServiceError]
    ) -> None:
        ended = frame(last.decode(), b'{"message": "oh"}', kind="exception")
        with pytest.raises(error):
            await self.answer(stage, text("a"), ended)

    @pytest.mark.parametrize(
        "broken",
        [
            lambda whole: whole[:-3],
            lambda whole: whole[:-1] + b"\0",
            lambda _: b"\xff" * 64,
            lambda _: b"data: {}\n\n" * 10,
            lambda _: event("messageStop", {"stopReason": "unheard"}),
            lambda _: event("metadata", {}),
            lambda _: event("metadata", {"usage": {"inputTokens": "7", "outputTokens": 2}}),
            lambda _: event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": 5}}),
            lambda _: frame("contentBlockDelta", b"[" * 100_000),
        ],
        ids=range(9),
    )
    async def test_frames_that_are_broken_are_told(self, stage: Stage, broken: object) -> None:
        assert callable(broken)
        with pytest.raises(ProviderUnavailable):
            await self.answer(stage, text("a"), broken(text("b")))


def text(piece: str) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}})


USAGE: Json = {"inputTokens": 7, "outputTokens": 2, "totalTokens": 9}
ENDED = event("messageStop", {"stopReason": "end_turn"}) + event("metadata", {"usage": USAGE})


class TestSpecial(Staged):
    """What else is special about Bedrock."""

    subject = SUBJECT

    async def test_an_action_that_must_not_be_called_is_told_in_words(self, stage: Stage) -> None:
        messages = (
            Message(Role.USER, "Go."),
            Message(Role.ASSISTANT, "", (Call("c-0", "board.post", '{"text":"a","stars":1}'),)),
            Message(Role.ACTION, "done", call_id="c-0"),
        )
        asked = prompt(action(), choice=Choice.NONE)
        await stage.finish(replace(asked, conversation=Conversation(messages, (action(),))))
        (read,) = stage.actor.prompts
        assert read.conversation.actions == ()
        assert [turn.role for turn in read.conversation.messages] == [
            *(Role.USER, Role.ASSISTANT, Role.USER)
        ]
        assert "board.post" in read.conversation.messages[1].text

    @pytest.mark.parametrize(
        ("code", "status", "said", "error"),
        [
            ("ThrottlingException", 400, "slow down", RateLimited),
            ("ServiceQuotaExceededException", 400, "too much", RateLimited),
            ("ModelErrorException", 424, "it broke", ProviderUnavailable),
            ("ModelTimeoutException", 408, "slow", ProviderUnavailable),
            ("ValidationException", 400, "model identifier is invalid", ModelNotFound),
            ("ValidationException", 400, "Input is too long", ContextExceeded),
        ],
    )
    async def test_codes_tell_more_than_numbers(
        self, stage: Stage, code: str, status: int, said: str, error: type[ServiceError]
    ) -> None:
        assert type(await stage.fail(Fault(status, code, said))) is error

    @pytest.mark.parametrize(
        ("status", "code", "said"),
        [
            (400, "ValidationException", "The model does not support counting tokens."),
            (403, "AccessDeniedException", "not authorized to perform: bedrock:CountTokens"),
        ],
    )
    async def test_a_model_that_is_not_counted_for_opens(
        self, stage: Stage, status: int, code: str, said: str
    ) -> None:
        refused = refusal(status, code, {"message": said})
        stage.actor.dialect.serve = lambda _: refused  # type: ignore[assignment, method-assign]  # a fake that says this
        assert (await stage.model()).facts.context_tokens == 200_000

    async def test_a_model_that_nobody_knows_needs_settings(self, stage: Stage) -> None:
        stage.actor.dialect = Bedrock("own.model")
        with pytest.raises(ModelUnusable, match="context_tokens"):
            await stage.provider.open("own.model", stage.key)
        known = {"own.model": ModelSettings(context_tokens=9_000)}
        provider = BedrockProvider(replace(stage.settings, models=known))
        assert (await provider.open("own.model", stage.key)).facts.context_tokens == 9_000
        await provider.close()

    async def test_an_error_that_is_no_json_is_cut_short(self, stage: Stage) -> None:
        error = await stage.fail(Fault(500, text="x" * 1_000_000))
        assert len(str(error)) < 1_000
