"""Models behind endpoints of Amazon SageMaker, in containers that take chat completions."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2

from ..errors import ModelNotFound
from ..ports import Key, OpenModel
from ..settings import ProviderSettings
from .aws import AwsKey, AwsService, Broken, failure_of_answer, frames_of, parse_key, secret_part
from .carried import CarriedProvider, Carrier, message_of
from .wire import Failure

# An endpoint, and with a slash a component of it.
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}(/[A-Za-z0-9][A-Za-z0-9-]{0,62})?")


class SageMakerProvider(CarriedProvider):
    """SageMaker in any region.

    Options: `region`, unless the key has one; `streams` is `false` for containers that answer
    whole; `constrains_output` is `true` for those that keep to schemas.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        self._service = AwsService("runtime.sagemaker", "sagemaker", settings)
        super().__init__(settings, _SageMaker(self._service))

    async def open(self, model: str, key: Key | None = None) -> OpenModel:
        """Return the model of an endpoint, or of `endpoint/component`."""
        name = f"{self.settings.name}/{model}"
        if not _MODEL.fullmatch(model):
            raise ModelNotFound(name)
        return await super().open(model, key and _OneLine(name, key, self._service))


class _OneLine:
    """A key as a header can hold it, on the way to where it signs."""

    def __init__(self, model: str, key: Key, service: AwsService) -> None:
        self._model = model
        self._key = key
        self._service = service

    async def value(self) -> str:
        key = parse_key(self._model, await self._key.value())
        # Whoever has to be told that there is none is told before anything is sent.
        return key.model_copy(
            update={"region": self._service.region(self._model, key.region)}
        ).model_dump_json()


class _SageMaker(Carrier):
    def __init__(self, service: AwsService) -> None:
        super().__init__(streams=service.settings.options.get("streams") != "false")
        self._service = service

    def address(self, secret: str, model: str, body: dict[str, Any]) -> httpx2.Request:
        key = AwsKey.model_validate_json(secret)
        endpoint, _, component = model.partition("/")
        way = "invocations-response-stream" if body.get("stream") else "invocations"
        url = f"{self._service.url(key.region)}/endpoints/{endpoint}/{way}"
        headers = {"Content-Type": "application/json"}
        if component:
            headers["X-Amzn-SageMaker-Inference-Component"] = component
        content = json.dumps(body).encode()
        signed = self._service.signed(key, key.region, url, headers, content)
        return httpx2.Request("POST", url, headers=signed, content=content)

    def unpack(self, response: httpx2.Response) -> tuple[str, AsyncIterator[bytes]]:
        kind, pieces = super().unpack(response)
        if kind != "application/vnd.amazon.eventstream":
            return kind, pieces
        return response.headers.get("x-amzn-sagemaker-content-type", ""), _parts(pieces)

    def understand(
        self, response: httpx2.Response, said: bytes, secret: str
    ) -> tuple[Failure, bool]:
        failure = failure_of_answer(response.status_code, response.headers, said)
        by_model = failure.code == "ModelError"
        if by_model:
            inner = json.loads(said)
            text = message_of(str(inner.get("OriginalMessage", "")).encode())
            status = inner.get("OriginalStatusCode") or httpx2.codes.BAD_GATEWAY
            failure = Failure(text or failure.text, int(status), failure.code)
        hidden = secret_part(secret)
        return replace(failure, text=failure.text.replace(hidden, "[key]")), by_model


async def _parts(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what a container says; its lines are cut anywhere."""
    try:
        async for frame in frames_of(pieces):
            if frame.is_error:
                error = {"message": message_of(frame.payload), "code": frame.name}
                yield b"\n" + json.dumps({"error": error}).encode() + b"\n"
                return
            yield frame.payload
    except Broken as error:
        raise httpx2.ReadError(str(error)) from error
