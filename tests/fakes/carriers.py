"""Chat completions behind SageMaker, Azure ML and the router of Hugging Face."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from huggingface_hub import ChatCompletionInput, ChatCompletionStreamOutput

from linker.conversation import Prompt
from tests.fakes.actor import Said
from tests.fakes.aws import STREAM_HEADERS, check_signature, frame, refusal, shifted
from tests.fakes.openai_chat import OpenAiChat
from tests.fakes.upstream import Fault, Reply, Seen

JSON_HEADERS = {"content-type": "application/json"}


def with_model(seen: Seen, model: str) -> Seen:
    """Return a request as a server of OpenAI would see it."""
    return dataclasses.replace(seen, body=json.dumps({**seen.json, "model": model}).encode())


class SageMaker:
    """An endpoint with a container that speaks like OpenAI's servers."""

    def __init__(self, endpoint: str, secret: str) -> None:
        self.endpoint = endpoint
        self.secret = secret
        self._chat = OpenAiChat()

    def is_generation(self, seen: Seen) -> bool:
        return bool(seen.json["messages"])

    def read(self, seen: Seen) -> Prompt:
        check_signature(seen, "sagemaker", self.secret)
        assert seen.path == f"/endpoints/{self.endpoint}/invocations-response-stream"
        return self._chat.read(with_model(seen, self.endpoint))

    def say(self, seen: Seen, said: Said) -> Reply:
        pieces = self._chat.say(with_model(seen, self.endpoint), said).pieces
        frames = tuple(frame("PayloadPart", piece) for piece in shifted(pieces))
        headers = {**STREAM_HEADERS, "x-amzn-sagemaker-content-type": "text/event-stream"}
        return Reply(frames, headers=headers)

    def refuse(self, fault: Fault) -> Reply:
        if not fault.code:
            return refusal(fault.status, "TestException", {"Message": fault.text})
        inner = self._chat.refuse(fault).pieces[0].decode()
        return model_error(fault.status, inner)

    def serve(self, seen: Seen) -> Reply:
        """Answer a chat without messages."""
        check_signature(seen, "sagemaker", self.secret)
        name = seen.path.removeprefix("/endpoints/").removesuffix("/invocations")
        if name == self.endpoint:
            return model_error(400, '{"object": "error", "message": "messages are empty"}')
        message = f"Endpoint {name} of account 123456789012 not found."
        return refusal(400, "ValidationError", {"Message": message})


def model_error(status: int, said: str) -> Reply:
    """Return an error of a container, as SageMaker passes it on."""
    body: dict[str, Any] = {
        "ErrorCode": "CLIENT_ERROR_FROM_MODEL",
        "LogStreamArn": "arn:aws:logs:…",
        "Message": f"Received client error ({status}) from primary. See https://…",
        "OriginalMessage": said,
        "OriginalStatusCode": status,
    }
    return refusal(424, "ModelError", body)


class AzureMl:
    """An endpoint with one deployment, whose container speaks like OpenAI's servers."""

    def __init__(self, deployment: str) -> None:
        self.deployment = deployment
        self._chat = OpenAiChat()

    def is_generation(self, seen: Seen) -> bool:
        return bool(seen.json["messages"])

    def read(self, seen: Seen) -> Prompt:
        assert (seen.method, seen.path) == ("POST", "/score")
        assert seen.headers["azureml-model-deployment"] == self.deployment
        assert "model" not in seen.json
        return self._chat.read(with_model(seen, self.deployment))

    def say(self, seen: Seen, said: Said) -> Reply:
        return self._chat.say(with_model(seen, self.deployment), said)

    def refuse(self, fault: Fault) -> Reply:
        inner = self._chat.refuse(fault)
        if not fault.code:
            return inner
        return dataclasses.replace(inner, status=424, headers=model_error_headers(fault.status))

    def serve(self, seen: Seen) -> Reply:
        """Answer a chat without messages."""
        if seen.headers.get("azureml-model-deployment", self.deployment) != self.deployment:
            return Reply((b'{"message": "no such deployment"}',), 404, JSON_HEADERS)
        return Reply((b'{"message": "it failed"}',), 424, model_error_headers(500))


def model_error_headers(status: int) -> dict[str, str]:
    """Return how Azure says what the container had to say."""
    return {
        **JSON_HEADERS,
        "ms-azureml-model-error-statuscode": str(status),
        "ms-azureml-model-error-reason": "model_error",
    }


class Router(OpenAiChat):
    """The router, which tells what each provider of a model can do."""

    offers: tuple[dict[str, Any], ...] = (
        {"provider": "one", "context_length": 131_072},
        {"provider": "two", "context_length": 32_768},
        {"provider": "slow", "context_length": 1_024, "status": "staging"},
    )
    modalities: tuple[str, ...] = ("text", "image")

    def read(self, seen: Seen) -> Prompt:
        known = {field.name for field in dataclasses.fields(ChatCompletionInput)}
        # Of the interface of OpenAI, which the router speaks; it passes it on.
        beyond = {"parallel_tool_calls", "top_k", "min_p"}
        assert not seen.json.keys() - known - beyond
        ChatCompletionInput.parse_obj_as_instance(seen.json)
        return super().read(seen)

    def say(self, seen: Seen, said: Said) -> Reply:
        reply = super().say(seen, said)
        for piece in reply.pieces[:-1]:
            ChatCompletionStreamOutput.parse_obj_as_instance(json.loads(piece[6:]))
        return reply

    def _model(self, name: str) -> dict[str, Any]:
        default = {"status": "live", "supports_tools": True, "supports_structured_output": True}
        offers = [{**default, **offer} for offer in self.offers]
        architecture = {"input_modalities": list(self.modalities), "output_modalities": ["text"]}
        return {**super()._model(name), "architecture": architecture, "providers": offers}
