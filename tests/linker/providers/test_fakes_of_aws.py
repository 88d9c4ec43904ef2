"""The fakes of AWS say what the package of AWS understands, and take what it sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from linker.conversation import Prompt
from tests.fakes.actor import Actor
from tests.fakes.aws import ACCESS_KEY_ID, REGION, check_signature
from tests.fakes.bedrock import Bedrock
from tests.fakes.carriers import SageMaker
from tests.fakes.upstream import Fault, Seen

SECRET = "of-the-fake"
MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"
CHAT = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 99}


@contextmanager
def client_of(service: str, url: str) -> Iterator[Any]:
    client = boto3.client(
        service,
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET,
        config=Config(retries={"total_max_attempts": 1}),
    )
    try:
        yield client
    finally:
        client.close()


def invoke(url: str, messages: object) -> bytes:
    with client_of("sagemaker-runtime", url) as client:
        response = client.invoke_endpoint_with_response_stream(
            EndpointName="llama",
            ContentType="application/json",
            Body=json.dumps({**CHAT, "messages": messages}),
        )
        return b"".join(part["PayloadPart"]["Bytes"] for part in response["Body"])


async def test_frames_of_sagemaker_are_read() -> None:
    actor = Actor(SageMaker("llama", SECRET))
    async with actor.upstream().listening() as upstream:
        messages = [{"role": "user", "content": "What moved?"}]
        said = await asyncio.to_thread(invoke, upstream.url, messages)
    assert not upstream.problems
    assert said.startswith(b"data: {")
    assert said.endswith(b"data: [DONE]\n\n")


async def test_errors_of_a_container_are_read() -> None:
    actor = Actor(SageMaker("llama", SECRET))
    async with actor.upstream().listening() as upstream:
        upstream.faults.append(Fault(422, "any", "no such field"))
        with pytest.raises(ClientError) as caught:
            await asyncio.to_thread(invoke, upstream.url, [{"role": "user", "content": "a"}])
    said: dict[str, Any] = dict(caught.value.response)
    assert said["Error"]["Code"] == "ModelError"
    assert said["OriginalStatusCode"] == 422
    assert "no such field" in said["OriginalMessage"]


class Signed(Bedrock):
    """Takes only requests that were signed."""

    def read(self, seen: Seen) -> Prompt:
        check_signature(seen, "bedrock", SECRET)
        return super().read(seen)


async def test_frames_of_bedrock_are_read() -> None:
    def converse(url: str) -> list[dict[str, Any]]:
        with client_of("bedrock-runtime", url) as client:
            response = client.converse_stream(
                modelId=MODEL,
                messages=[{"role": "user", "content": [{"text": "What moved?"}]}],
                inferenceConfig={"maxTokens": 99},
            )
            return list(response["stream"])

    actor = Actor(Signed(MODEL))
    async with actor.upstream().listening() as upstream:
        events = await asyncio.to_thread(converse, upstream.url)
    assert not upstream.problems
    deltas = [
        event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event
    ]
    assert "".join(delta["text"] for delta in deltas).startswith("Coin 0 rose.")
    assert {"messageStop", "metadata"} <= {name for event in events for name in event}
