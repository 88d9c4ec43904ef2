"""One assembly: parse, resolve, link, quote, ingest, sign, in this order.

Nothing is written before the whole manifest is known to be right, so a failure leaves nothing half
done; and every step may be repeated, so a crash costs only the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import Enum, auto

from chassis.canonical import sha256_hex
from chassis.clock import Clock
from chassis.draft import Draft, FieldPath
from chassis.fields import ACCOUNT_NAME
from chassis.problems import Flaw, Problem
from chassis.source import read_draft

from .agents import account_of, find_agents
from .bundle import PAYLOAD_BYTES_MAX, Bundle, serialise
from .compiling import ACTIONS, Compilation
from .errors import InvalidManifest
from .manifest import Manifest
from .part import seconds_of
from .ports import Document, Link, ModelWish, Peers, Refusal
from .problems import Code
from .quoting import Quote, models
from .references import (
    MODEL,
    Known,
    check_references,
    collections,
    named_secrets,
    uses,
)
from .steps import STEPS
from .store import BundleStore
from .structure import check_structure
from .template import Scalar, render

CACHE: FieldPath = ("spec", "model", "cache")
# How often somebody who waits for a link hears of it.
PROGRESS_SECONDS = 5


@dataclass(frozen=True)
class Source:
    """A manifest as it came, the files that it may refer to, and parameters of a template."""

    file: str
    content: bytes
    files: Mapping[str, bytes]
    parameters: Mapping[str, Scalar]


class Stage(Enum):
    """What an assembly is doing."""

    PARSE = auto()
    RESOLVE = auto()
    COMPILE = auto()
    LINK = auto()
    INGEST = auto()
    QUOTE = auto()
    SIGN = auto()


@dataclass(frozen=True)
class Progress:
    """A stage begins; `detail` says it in words."""

    stage: Stage
    detail: str


@dataclass(frozen=True)
class Assembly:
    """The end of an assembly; `step_gas_max` is the most gas that one step can cost."""

    bundle: Bundle
    warnings: tuple[Problem, ...]
    step_gas_max: int


class Assembler:
    """Makes bundles of manifests, and keeps them."""

    def __init__(self, peers: Peers, store: BundleStore, clock: Clock) -> None:
        self._peers = peers
        self._store = store
        self._clock = clock

    async def validate(self, source: Source) -> list[Problem]:
        """Return what is wrong with a manifest, as far as that shows without linking."""
        draft, _ = await asyncio.to_thread(_examine, source)
        if draft.is_readable:
            async with aclosing(self._resolve(draft, source)) as steps:
                async for _ in steps:
                    pass
        return draft.problems

    async def assemble(self, source: Source) -> AsyncIterator[Progress | Assembly]:
        """Yield the stages as they begin, then the assembly; raise `InvalidManifest`."""
        yield Progress(Stage.PARSE, f"reading {source.file}")
        draft, manifest = await asyncio.to_thread(_examine, source)
        if not draft.is_readable:
            raise InvalidManifest(tuple(draft.problems))
        known: Known | None = None
        link: Link | None = None
        for part in (self._resolve(draft, source), self._link(draft)):
            async with aclosing(part) as steps:
                async for step in steps:
                    if isinstance(step, Progress):
                        yield step
                    elif isinstance(step, Known):
                        known = step
                    else:
                        link = step
        if manifest is None or known is None or link is None or draft.has_errors:
            raise InvalidManifest(tuple(draft.problems))
        payload = serialise(
            manifest, link, known=known.actions, code=known.code, files=source.files
        )
        _check_size(draft, payload)
        _require_right(draft)
        yield Progress(Stage.QUOTE, "pricing one step")
        quote = Quote(draft, manifest, self._peers.quotes)
        step_gas_max = await quote.step(link, known.code)
        _require_right(draft)
        yield Progress(Stage.INGEST, "storing documents")
        await self._ingest(draft, source.files)
        _require_right(draft)
        yield Progress(Stage.SIGN, "signing the bundle")
        bundle = await self._sign(manifest, payload)
        yield Assembly(bundle, tuple(draft.problems), step_gas_max)

    async def _resolve(
        self, draft: Draft, source: Source
    ) -> AsyncGenerator[Progress | Known, None]:
        """Check what a draft refers to; ask only those who know something that it names."""
        yield Progress(Stage.RESOLVE, "finding actions, secrets and documents")
        peers = self._peers
        wanted = [draft.text((*path, "use")) for path in uses(draft)]
        agents = await asyncio.to_thread(find_agents, self._store, wanted)
        lacks_agent = any(account_of(use) and use not in agents for use in wanted)
        actions = await peers.catalogue.actions() if wanted else ()
        secrets = [name for name in named_secrets(draft) if await peers.secrets.exists(name)]
        segments = await peers.documents.segments() if any(collections(draft)) else {}
        known = Known(
            catalogue={action.name: action for action in actions},
            agents=agents,
            agent_accounts=await asyncio.to_thread(self._store.agents) if lacks_agent else (),
            secrets=frozenset(secrets),
            segments=segments,
            files=source.files,
            code={},
        )
        compilation = Compilation(draft, peers.compiler, files=source.files, known=known.uses)
        for path in compilation.paths:
            yield Progress(Stage.COMPILE, f"compiling {draft.text((*path, 'source'))}")
            done = await compilation.compile(path)
            if done:
                detail = f"{done.action.name} loads in {done.fuel} instructions"
                yield Progress(Stage.COMPILE, detail)
        known = replace(known, code=compilation.compiled)
        await asyncio.to_thread(check_references, draft, known)
        yield known

    async def _link(self, draft: Draft) -> AsyncGenerator[Progress | Link, None]:
        """Link the models of a draft, although other parts may be wrong: all is reported at once.

        A link is waited for: weights are read from a slow disk, and providers take their time.
        """
        names = ", ".join(filter(None, (draft.text(path) for path in models(draft))))
        yield Progress(Stage.LINK, f"linking {names or 'no model'}")
        wish = _wish(draft)
        if wish is None:
            return
        linking = asyncio.ensure_future(self._peers.models.link(wish))
        try:
            seconds = 0
            while not (await asyncio.wait([linking], timeout=PROGRESS_SECONDS))[0]:
                seconds += PROGRESS_SECONDS
                yield Progress(Stage.LINK, f"linking {names} for {seconds} seconds")
            link = await linking
        finally:
            linking.cancel()
        if isinstance(link, Refusal):
            fix = _LINK_FIXES.get(link.code, "Use another model, or ask less of it.")
            draft.report(MODEL, link.code, link.message, fix=fix)
            return
        yield link

    async def _ingest(self, draft: Draft, files: Mapping[str, bytes]) -> None:
        for path, segment in collections(draft):
            collection = draft.text((*path, "collection"))
            for document_path in draft.items((*path, "documents")):
                document = draft.text(document_path)
                name = f"collections/{collection}/documents/{document}"
                text = files[document].decode()
                refusal = await self._peers.documents.put(Document(name, text, segment))
                if refusal is not None:
                    draft.report(document_path, refusal.code, refusal.message)

    async def _sign(self, manifest: Manifest, payload: bytes) -> Bundle:
        bundle = Bundle(
            account=f"agents/{manifest.metadata.name}",
            version=manifest.metadata.version,
            payload=payload,
            signature=await self._peers.signer.sign(sha256_hex(payload)),
        )
        await asyncio.to_thread(self._store.put, bundle, self._clock.now())
        return bundle


def _examine(source: Source) -> tuple[Draft, Manifest | None]:
    """Read a manifest; the second is None if something is wrong with it."""
    draft = read_draft(source.file, source.content)
    if not draft.is_readable:
        return draft, None
    if draft.is_empty:
        fix = "Start with `apiVersion: actionvm/v1`, `kind: Agent`, `metadata` and `spec`."
        draft.report((), Code.MANIFEST_EMPTY, "holds nothing", fix=fix)
        return draft, None
    render(draft, source.parameters)
    return draft, check_structure(draft)


def _check_size(draft: Draft, payload: bytes) -> None:
    if len(payload) > PAYLOAD_BYTES_MAX:
        message = f"makes a bundle of {len(payload)} bytes; at most {PAYLOAD_BYTES_MAX} are allowed"
        fix = "Move what is large into documents, or use fewer actions."
        draft.report((), Code.BUNDLE_TOO_LARGE, message, fix=fix)


def _require_right(draft: Draft) -> None:
    if draft.has_errors:
        raise InvalidManifest(tuple(draft.problems))


def _wish(draft: Draft) -> ModelWish | None:
    """Return what a draft asks of its models; None if it does not say enough for that."""
    targets = []
    for path in models(draft):
        credential_path = (*path[:-1], "credential")
        credential = draft.text(credential_path)
        if not draft.text(path) or (credential_path in draft.spots and not credential):
            return None
        targets.append((draft.text(path), f"secrets/{credential}" if credential else ""))
    account = f"agents/{draft.text(('metadata', 'name'))}"
    tokens, cache = draft.get(("spec", "model", "tokens_max")), draft.text(CACHE)
    (model, credential), *fallbacks = targets
    return ModelWish(
        model=model,
        credential=credential,
        needs_actions=bool(draft.items(ACTIONS)),
        context_tokens_min=tokens if isinstance(tokens, int) else 0,
        account=account if ACCOUNT_NAME.fullmatch(account) else "",
        fallbacks=tuple(fallbacks),
        cache_seconds=seconds_of(cache) if cache else 0,
        needs_answer_schema=any(draft.get((*path, "output")) for path in draft.items(STEPS)),
    )


# What to do about a link that was refused for another reason than the model.
_LINK_FIXES: dict[Code | Flaw, str] = {
    Code.CREDENTIAL_REFUSED: "Put the right key: `actionvm secrets rotate`, or allow its release.",
    Code.PROVIDER_UNAVAILABLE: "Try again later, or use another model.",
    Code.PRICE_NOT_FOUND: "Add a price: `actionvm gas prices update FILE`.",
}
