"""SageMaker and Azure ML, through the suite, and what is special about the way there."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from chassis.errors import ServiceError
from linker.conversation import Finished, FinishReason, Tokens, WrittenCall
from linker.errors import (
    ContextExceeded,
    CredentialRefused,
    ModelNotFound,
    ModelRefused,
    ModelUnusable,
    ProviderUnavailable,
)
from linker.providers.azureml import AzureMlProvider
from linker.providers.sagemaker import SageMakerProvider
from linker.settings import ModelSettings
from tests.fakes.aws import REGION, STREAM_HEADERS, frame, key_of, refusal
from tests.fakes.carriers import AzureMl, SageMaker, model_error, model_error_headers
from tests.fakes.upstream import Fault, Reply
from tests.linker.orders import prompt
from tests.linker.providers.conformance import Conformance
from tests.linker.providers.failures import Failures
from tests.linker.providers.stage import CANARY, CanaryKey, Stage, Staged, Subject
from tests.linker.providers.test_openai import TOO_LONG

KNOWN = ModelSettings(context_tokens=32_768, takes_images=True)
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "lmi",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "So:",
                "tool_calls": [
                    {
                        "id": "c",
                        "type": "function",
                        "function": {"name": "boardPost", "arguments": "{}"},
                    }
                ],
            },
        }
    ],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
}
FINISHED = Finished(FinishReason.ACTION, "So:", (WrittenCall("board.post", "{}"),), Tokens(7, 2))

SAGEMAKER = Subject(
    SageMakerProvider,
    lambda: SageMaker("llama", CANARY),
    kind="sagemaker",
    model="llama",
    too_long=TOO_LONG,
    options={"region": REGION, "constrains_output": "true"},
    settings=KNOWN,
    key=key_of(CANARY),
    garbage=lambda garbage: frame("PayloadPart", garbage),
)
AZURE = Subject(
    AzureMlProvider,
    lambda: AzureMl("blue"),
    kind="azure-ml",
    model="blue",
    too_long=TOO_LONG,
    prefix="/score",
    options={"constrains_output": "true"},
    settings=KNOWN,
)


class TestSageMaker(Conformance, Failures):
    """SageMaker; its fake takes only what is signed."""

    subject = SAGEMAKER

    async def test_the_key_is_shown_as_the_provider_wants_it(self, stage: Stage) -> None:
        await stage.finish(prompt())
        assert CANARY not in repr([(seen.headers, seen.body) for seen in stage.upstream.seen])


class TestAzureMl(Conformance, Failures):
    """Azure ML."""

    subject = AZURE


def answering(stage: Stage, *pieces: bytes, **headers: str) -> Stage:
    """Let the model answer with these bytes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    stage.actor.dialect.say = lambda *_: Reply(pieces, headers=named)  # type: ignore[method-assign]  # a fake that says this
    return stage


class TestWaysOfSageMaker(Staged):
    """What containers and SageMaker itself may do."""

    subject = SAGEMAKER

    async def test_lines_of_json_are_events_too(self, stage: Stage) -> None:
        chunk = {**COMPLETION, "object": "chat.completion.chunk"}
        first = {"index": 0, "delta": {"content": "So"}, "finish_reason": None}
        last = {"index": 0, "delta": {"content": ":"}, "finish_reason": "stop"}
        lines = b"".join(
            json.dumps({**chunk, "choices": [c]}).encode() + b"\n" for c in (first, last)
        )
        frames = [frame("PayloadPart", lines[at : at + 11]) for at in range(0, len(lines), 11)]
        kind = {"x_amzn_sagemaker_content_type": "application/jsonlines"}
        answering(stage, *frames, content_type=STREAM_HEADERS["content-type"], **kind)
        finished = await stage.finish(prompt())
        assert (finished.text, finished.tokens) == ("So:", Tokens(7, 2))

    async def test_a_whole_answer_in_frames_is_an_answer(self, stage: Stage) -> None:
        said = json.dumps(COMPLETION).encode()
        frames = [frame("PayloadPart", said[:50]), frame("PayloadPart", said[50:])]
        kind = {"x_amzn_sagemaker_content_type": "application/json"}
        answering(stage, *frames, content_type=STREAM_HEADERS["content-type"], **kind)
        assert await stage.finish(prompt()) == FINISHED

    @pytest.mark.parametrize("name", ["ModelStreamError", "InternalStreamFailure"])
    async def test_an_exception_in_a_stream_has_its_reason(self, stage: Stage, name: str) -> None:
        ended = frame(name, b'{"Message": "it broke"}', kind="exception")
        answering(stage, ended, content_type=STREAM_HEADERS["content-type"])
        with pytest.raises(ProviderUnavailable, match="it broke"):
            await stage.finish(prompt())

    @pytest.mark.parametrize(
        "pieces",
        [
            (b"\xff" * 64,),
            (frame("PayloadPart", b"{" + b'"a":{' * 100_000 + b"\n"),),
            (frame("PayloadPart", b"data: {}\n\n")[:-1],),
            (),
        ],
        ids=["bits", "deep", "cut", "nothing"],
    )
    async def test_frames_that_are_broken_are_told(
        self, stage: Stage, pieces: tuple[bytes, ...]
    ) -> None:
        answering(stage, *pieces, content_type=STREAM_HEADERS["content-type"])
        with pytest.raises(ProviderUnavailable):
            await stage.finish(prompt())

    async def test_a_component_of_an_endpoint_is_named_in_a_header(self, stage: Stage) -> None:
        known = {"llama/chat": KNOWN}
        provider = SageMakerProvider(replace(stage.settings, models=known))
        await provider.open("llama/chat", stage.key)
        (seen,) = stage.upstream.seen
        assert seen.path == "/endpoints/llama/invocations"
        assert seen.headers["x-amzn-sagemaker-inference-component"] == "chat"
        assert "x-amzn-sagemaker-inference-component" in seen.headers["authorization"]
        await provider.close()

    async def test_a_model_needs_settings(self, stage: Stage) -> None:
        provider = SageMakerProvider(replace(stage.settings, models={}))
        with pytest.raises(ModelUnusable, match="context_tokens"):
            await provider.open("llama", stage.key)
        await provider.close()

    async def test_without_a_region_there_is_a_way_out(self, stage: Stage) -> None:
        provider = SageMakerProvider(replace(stage.settings, options={}))
        with pytest.raises(ModelUnusable, match=r"options: \{region"):
            await provider.open("llama", stage.key)
        assert not stage.upstream.seen
        await provider.close()

    async def test_a_key_of_another_form_is_refused(self, stage: Stage) -> None:
        with pytest.raises(CredentialRefused, match="access_key_id") as caught:
            await stage.provider.open("llama", CanaryKey(CANARY))
        assert CANARY not in str(caught.value)

    @pytest.mark.parametrize(
        ("reply", "error"),
        [
            (refusal(403, "AccessDeniedException", {"Message": "no"}), CredentialRefused),
            (refusal(400, "ValidationError", {"message": "E not found."}), ModelNotFound),
            (refusal(503, "ServiceUnavailable", {"Message": "no"}), ProviderUnavailable),
            (Reply((b"<html>",), 502), ProviderUnavailable),
        ],
        ids=str,
    )
    async def test_what_cannot_be_asked_is_not_opened(
        self, stage: Stage, reply: Reply, error: type[ServiceError]
    ) -> None:
        stage.actor.dialect.serve = lambda _: reply  # type: ignore[assignment, method-assign]  # a fake that says this
        with pytest.raises(error):
            await stage.model()

    @pytest.mark.parametrize("status", [400, 422, 500])
    async def test_a_container_that_refuses_nothing_is_there(
        self, stage: Stage, status: int
    ) -> None:
        refused = model_error(status, "what is this?")
        stage.actor.dialect.serve = lambda _: refused  # type: ignore[assignment, method-assign]  # a fake that says this
        assert (await stage.model()).facts.context_tokens == 32_768


class TestWhole(Staged):
    """Containers that do not stream."""

    subject = replace(SAGEMAKER, options={"region": REGION, "streams": "false"})

    async def test_an_answer_comes_whole(self, stage: Stage) -> None:
        answering(stage, json.dumps(COMPLETION).encode(), content_type="application/json")
        stage.actor.dialect.read = lambda _: prompt()  # type: ignore[assignment, method-assign]  # it was tested elsewhere
        assert await stage.finish(prompt()) == FINISHED
        assert stage.upstream.seen[-1].path == "/endpoints/llama/invocations"
        assert not {"stream", "stream_options"} & stage.upstream.seen[-1].json.keys()

    @pytest.mark.parametrize(
        "said",
        [b"[]", b"{}", b"{", b'{"choices": [{}]}', b"null", b'"a"', b"[" * 100_000],
        ids=range(7),
    )
    async def test_what_is_no_answer_is_told(self, stage: Stage, said: bytes) -> None:
        answering(stage, said, content_type="application/json")
        stage.actor.dialect.read = lambda _: prompt()  # type: ignore[assignment, method-assign]  # it was tested elsewhere
        with pytest.raises(ProviderUnavailable):
            await stage.finish(prompt())


class TestScoringScripts(Staged):
    """What the server of Azure's containers makes of a script."""

    subject = AZURE

    @pytest.mark.parametrize("twice", [False, True])
    async def test_a_script_that_returns_is_an_answer(self, stage: Stage, *, twice: bool) -> None:
        # A script that returns a text has it written as JSON once more.
        said = json.dumps(COMPLETION)
        answering(
            stage, (json.dumps(said) if twice else said).encode(), content_type="application/json"
        )
        assert await stage.finish(prompt()) == FINISHED

    async def test_an_endpoint_may_choose_the_deployment(self, stage: Stage) -> None:
        provider = AzureMlProvider(replace(stage.settings, models={"default": KNOWN}))
        await provider.open("default", stage.key)
        assert "azureml-model-deployment" not in stage.upstream.seen[0].headers
        await provider.close()

    async def test_what_the_container_said_is_read(self, stage: Stage) -> None:
        error = await stage.fail(Fault(422, "any", "no such field"))
        assert type(error) is ModelRefused
        assert "no such field" in str(error)

    async def test_a_container_that_broke_is_unavailable(self, stage: Stage) -> None:
        assert type(await stage.fail(Fault(500, "any", "oh"))) is ProviderUnavailable

    async def test_a_script_that_fails_without_azure_is_there(self, stage: Stage) -> None:
        headers = {"x-ms-run-function-failed": "True"}
        failed = Reply((b'{"message": "An unexpected error occurred"}',), 500, headers)
        stage.actor.dialect.serve = lambda _: failed  # type: ignore[assignment, method-assign]  # a fake that says this
        assert (await stage.model()).facts.takes_actions

    async def test_a_container_that_counts_is_believed(self, stage: Stage) -> None:
        error = await stage.fail(replace(TOO_LONG, code="any"))
        assert type(error) is ContextExceeded
        assert model_error_headers(400)["ms-azureml-model-error-statuscode"] == "400"
