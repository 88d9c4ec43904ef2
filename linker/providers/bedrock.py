"""Models of Amazon Bedrock, over its Converse interface, which is one for all of them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import quote

import httpx2

from chassis.canonical import Json

from ..conversation import Delta
from ..errors import ModelNotFound
from ..ports import Key, OpenModel
from ..settings import ProviderSettings
from . import bedrock_converse
from .aws import AwsService, check, failure_of, frames_of, parse_key, secret_part
from .connections import pool
from .known import Known, find_known, told_of
from .remote import RemoteModel, RemoteProvider
from .wire import Answer, FailureTold

# Before the names of models that answer in any region of a part of the world.
_WHERE = re.compile(r"^(us|us-gov|eu|apac|jp|au|ca|global)\.")
_PROBE: Mapping[str, Json] = {
    "input": {"converse": {"messages": [{"role": "user", "content": [{"text": "a"}]}]}}
}


class BedrockProvider(RemoteProvider):
    """Bedrock. Its keys are those of AWS, or its own, which are bearer tokens.

    Options: `region`, unless the key has one; `constrains_output` is `true` if the models that are
    used keep to schemas.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        super().__init__(settings, failure_of, secret_part)
        self._service = AwsService("bedrock-runtime", "bedrock", settings)
        self._http: httpx2.AsyncClient = pool(settings)

    async def open(self, model: str, key: Key | None = None) -> OpenModel:
        """Return a model; see `Provider`."""
        if not model.strip("./"):
            raise ModelNotFound(f"{self.settings.name}/{model}")
        return await super().open(model, key)

    async def look_up(self, model: str, secret: str) -> Known:
        """Count a token, which costs none, and shows whether model and key are there.

        Not every model can be counted for, nor every key count; these show with the first call.
        """
        name = f"{self.settings.name}/{model}"
        try:
            async with self.post(name, _path(model, "count-tokens"), _PROBE, secret):
                pass
        except FailureTold as told:
            cannot = told.failure.status == httpx2.codes.BAD_REQUEST
            if not cannot and "CountTokens" not in told.failure.text:
                raise
        known = find_known(bedrock_converse.BEDROCK, _WHERE.sub("", model))
        return told_of(self.settings, model, known)

    def opened(self, model: str, key: Key | None, known: Known) -> OpenModel:
        """Return a model that is there."""
        return BedrockModel(self, model, key, known)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @asynccontextmanager
    async def post(
        self, name: str, path: str, body: Mapping[str, Json], secret: str
    ) -> AsyncIterator[httpx2.Response]:
        """Send a request, and yield an answer that is a success."""
        content = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if secret.lstrip().startswith("{"):
            key = parse_key(name, secret)
            region = self._service.region(name, key.region)
            url = f"{self._service.url(region)}/{path}"
            headers = self._service.signed(key, region, url, headers, content)
        else:
            url = f"{self._service.url(self._service.region(name))}/{path}"
            headers["Authorization"] = f"Bearer {secret}"
        async with self._http.stream("POST", url, content=content, headers=headers) as response:
            await check(response)
            yield response


class BedrockModel(RemoteModel[BedrockProvider]):
    """A model of Bedrock. To count its tokens would take a call before each call."""

    async def _speak(self, answer: Answer, secret: str) -> AsyncGenerator[Delta, None]:
        path = _path(self._model, "converse-stream")
        body = bedrock_converse.body_of(answer.prompt, self._known)
        async with self._provider.post(self.name, path, body, secret) as response:
            yield answer.start()
            async for frame in frames_of(response.aiter_bytes()):
                if (delta := bedrock_converse.read(answer, frame)) is not None:
                    yield delta


def _path(model: str, operation: str) -> str:
    return f"model/{quote(model, safe='')}/{operation}"
