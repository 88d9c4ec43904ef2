"""Models of Amazon Bedrock, over its Converse interface, which is one for all of them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from urllib.parse import quote

import httpx2

from chassis.canonical import Json

from ..conversation import Conversation, Delta, Finished, Prompt
from ..errors import CredentialRefused, ModelNotFound
from ..links import ListedModel, ModelFacts
from ..ports import Key
from ..settings import ModelSettings, ProviderSettings
from . import bedrock_converse
from .aws import AwsService, check, failure_of, frames_of, parse_key, secret_part
from .connections import pool
from .known import Known, find_known, told_of
from .talking import OnlyTalks
from .wire import Answer, FailureTold, check_images, secret_of, translated

# Before the names of models that answer in any region of a part of the world.
_WHERE = re.compile(r"^(us|us-gov|eu|apac|jp|au|ca|global)\.")
_PROBE: Mapping[str, Json] = {
    "input": {"converse": {"messages": [{"role": "user", "content": [{"text": "a"}]}]}}
}


class BedrockProvider:
    """Bedrock. Its keys are those of AWS, or its own, which are bearer tokens.

    Options: `region`, unless the key has one; `constrains_output` is `true` if the models that are
    used keep to schemas.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        self.settings = settings
        self._service = AwsService("bedrock-runtime", "bedrock", settings)
        self._http = pool(settings)
        self._opened: set[str] = set()

    async def models(self) -> Sequence[ListedModel]:
        """Return none: they are not told without a key."""
        return []

    async def open(self, model: str, key: Key | None = None) -> BedrockModel:
        """Return a model, which Bedrock was asked for once."""
        name = f"{self.settings.name}/{model}"
        if not model.strip("./"):
            raise ModelNotFound(name)
        if key is None:
            raise CredentialRefused(name, "it needs a key and none is named; name its secret")
        if model not in self._opened:
            await self._look_up(name, model, key)
            self._opened.add(model)
        known = find_known(bedrock_converse.BEDROCK, _WHERE.sub("", model))
        known = told_of(self.settings, model, known)
        return BedrockModel(name, self, model, key, known)

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

    async def _look_up(self, name: str, model: str, key: Key) -> None:
        """Count a token, which costs none, and shows whether model and key are there.

        Not every model can be counted for, nor every key count; these show with the first call.
        """
        secret = await secret_of(key)
        with translated(name, failure_of, secret=secret_part(secret)):
            try:
                async with self.post(name, _path(model, "count-tokens"), _PROBE, secret):
                    pass
            except FailureTold as told:
                cannot = told.failure.status == httpx2.codes.BAD_REQUEST
                if not cannot and "CountTokens" not in told.failure.text:
                    raise


class BedrockModel(OnlyTalks):
    """A model of Bedrock."""

    def __init__(
        self, name: str, provider: BedrockProvider, model: str, key: Key, known: Known
    ) -> None:
        self.name = name
        self._provider = provider
        self._model = model
        self._key = key
        self._known = known

    @property
    def facts(self) -> ModelFacts:
        """Return what is known of the model."""
        settings = self._provider.settings.models.get(self._model, ModelSettings())
        return ModelFacts(
            context_tokens=self._known.context_tokens,
            takes_actions=settings.takes_actions is not False,
            constrains_output=self._known.constrains,
            takes_images=self._known.takes_images,
        )

    async def count_tokens(self, conversation: Conversation) -> int | None:
        """Return None: it would take a call to AWS before each call to AWS."""
        return None

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Yield deltas and the end; see `OpenModel`."""
        check_images(self.name, prompt, takes_images=self._known.takes_images)
        path = _path(self._model, "converse-stream")
        body = bedrock_converse.body_of(prompt, self._known)
        secret = await secret_of(self._key)
        answer = Answer(prompt)
        with translated(
            self.name,
            failure_of,
            secret=secret_part(secret),
            prompt=prompt,
            context_tokens=self._known.context_tokens,
        ):
            async with self._provider.post(self.name, path, body, secret) as response:
                yield answer.start()
                async for frame in frames_of(response.aiter_bytes()):
                    if (delta := bedrock_converse.read(answer, frame)) is not None:
                        yield delta
        yield answer.finish(self.name)


def _path(model: str, operation: str) -> str:
    return f"model/{quote(model, safe='')}/{operation}"
