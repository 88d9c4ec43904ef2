"""Models that are recorded, and played again without a network, a key or a provider."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chassis.canonical import Json, canonical_json, sha256_hex

from ..answers import prompt_digest
from ..conversation import (
    Conversation,
    Delta,
    Finished,
    FinishReason,
    Logprobs,
    Prompt,
    TokenLogprob,
    Tokens,
    WrittenCall,
)
from ..embedding import Embedded, Ranked
from ..errors import ModelUnusable
from ..links import ListedModel, ModelFacts
from ..ports import Key, Lease, OpenModel, Provider

Recording = Mapping[str, Any]


class Recordings:
    """A folder of what models were asked, by digest, and what they said; keys are not in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def write(self, model: str, what: str, content: Json) -> None:
        """Keep what a model said; a file is whole, or not there."""
        await asyncio.to_thread(self._write, self._path(model, what), content)

    async def read(self, model: str, what: str) -> Recording:
        """Return what a model said. Raises `ModelUnusable`."""
        path = self._path(model, what)
        try:
            found: Recording = json.loads(await asyncio.to_thread(path.read_bytes))
        except FileNotFoundError:
            problem = f"{path} is not there; record it: LINKER_RECORDINGS_MODE=record"
            raise ModelUnusable(model, problem) from None
        return found

    def _path(self, model: str, what: str) -> Path:
        # A name of a model may hold what no file name may.
        provider, _, name = model.partition("/")
        return self._folder / provider / sha256_hex(name.encode())[:16] / f"{what}.json"

    def _write(self, path: Path, content: Json) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")
        part.replace(path)


class RecordingProvider:
    """A provider whose models are recorded while they are used."""

    def __init__(self, name: str, provider: Provider, recordings: Recordings) -> None:
        self._name = name
        self._provider = provider
        self._recordings = recordings

    async def models(self) -> Sequence[ListedModel]:
        """Return the models of the provider."""
        return await self._provider.models()

    async def open(self, model: str, key: Key | None = None) -> OpenModel:
        """Return a model of the provider."""
        name = f"{self._name}/{model}"
        opened = await self._provider.open(model, key)
        await self._recordings.write(name, "facts", asdict(opened.facts))
        return _RecordingModel(name, opened, self._recordings)

    async def close(self) -> None:
        """Close the provider."""
        await self._provider.close()


class _RecordingModel:
    def __init__(self, name: str, model: OpenModel, recordings: Recordings) -> None:
        self._name = name
        self._model = model
        self._recordings = recordings
        self.facts = model.facts

    async def count_tokens(self, conversation: Conversation) -> int | None:
        return await self._model.count_tokens(conversation)

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        events: list[Json] = []
        async with aclosing(self._model.generate(prompt)) as steps:
            async for step in steps:
                events.append(_event_to_json(step))
                if isinstance(step, Finished):
                    # Only what has an end can be played to its end.
                    content: Json = {"model": self._name, "events": events}
                    await self._recordings.write(self._name, prompt_digest(prompt), content)
                yield step

    async def embed(self, texts: Sequence[str]) -> Embedded:
        made = await self._model.embed(texts)
        await self._recordings.write(self._name, _texts_digest("embed", texts), asdict(made))
        return made

    async def rerank(self, query: str, documents: Sequence[str]) -> Ranked:
        made = await self._model.rerank(query, documents)
        what = _texts_digest("rerank", (query, *documents))
        await self._recordings.write(self._name, what, asdict(made))
        return made


class ReplayingProvider:
    """A provider that is not there: its models say what they said when they were recorded."""

    def __init__(self, name: str, recordings: Recordings) -> None:
        self._name = name
        self._recordings = recordings

    async def models(self) -> Sequence[ListedModel]:
        """Return none: nobody knows which there were."""
        return []

    async def open(self, model: str, key: Key | None = None) -> OpenModel:
        """Return a model that was recorded; it needs no key. Raises `ModelUnusable`."""
        name = f"{self._name}/{model}"
        facts = ModelFacts(**await self._recordings.read(name, "facts"))
        return _ReplayingModel(name, facts, self._recordings)

    async def close(self) -> None:
        """Do nothing: nothing is open."""


class _ReplayingModel:
    def __init__(self, name: str, facts: ModelFacts, recordings: Recordings) -> None:
        self.facts = facts
        self._name = name
        self._recordings = recordings

    async def count_tokens(self, conversation: Conversation) -> int | None:
        return None

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        recording = await self._recordings.read(self._name, prompt_digest(prompt))
        for event in recording["events"]:
            yield _event_of(event)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        found = await self._recordings.read(self._name, _texts_digest("embed", texts))
        vectors = tuple(tuple(vector) for vector in found["vectors"])
        return Embedded(vectors, Tokens(**found["tokens"]))

    async def rerank(self, query: str, documents: Sequence[str]) -> Ranked:
        what = _texts_digest("rerank", (query, *documents))
        found = await self._recordings.read(self._name, what)
        return Ranked(tuple(found["scores"]), Tokens(**found["tokens"]))


class NoKeys:
    """`Keys` where no key opens anything: what is played needs none."""

    async def release(self, secret: str, account: str) -> Lease:
        """Return an empty key that stays."""
        return Lease("leases/none", secret, 0, datetime.max.replace(tzinfo=UTC), "")

    async def renew(self, lease: Lease) -> Lease | None:
        """Return it again."""
        return lease

    async def revoke(self, lease: str) -> None:
        """Do nothing."""


def _texts_digest(kind: str, texts: Sequence[str]) -> str:
    return sha256_hex(canonical_json([kind, *texts]))


def _event_to_json(event: Delta | Finished) -> Json:
    if isinstance(event, Delta):
        return {"delta": asdict(event)}
    return {"finished": {**asdict(event), "reason": event.reason.value}}


def _event_of(event: Recording) -> Delta | Finished:
    if "delta" in event:
        delta = event["delta"]
        return Delta(**{**delta, "tokens": Tokens(**delta["tokens"])})
    end = event["finished"]
    logprobs = (
        Logprobs(
            TokenLogprob(**place["chosen"]),
            tuple(TokenLogprob(**token) for token in place["likeliest"]),
        )
        for place in end["logprobs"]
    )
    return Finished(
        reason=FinishReason(end["reason"]),
        text=end["text"],
        calls=tuple(WrittenCall(**call) for call in end["calls"]),
        tokens=Tokens(**end["tokens"]),
        reasoning=end["reasoning"],
        logprobs=tuple(logprobs),
    )
