"""A valid manifest becomes one bundle, always the same; an invalid one leaves no trace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.assembly import Assembly, Progress, Stage
from assembler.errors import BundleNotFound, InvalidManifest
from assembler.ports import ModelWish, Refusal
from assembler.problems import Code
from chassis.canonical import canonical_json
from chassis.errors import PeerUnavailable
from chassis.problems import Severity
from tests.fakes.assembler_peers import Failing
from tests.simulation.loop import VirtualTimeLoop

from .broken import TEXTS, Broken
from .broken_fields import FIELDS
from .broken_references import REFERENCES
from .workbench import MANIFEST, Workbench, changed

MINIMAL = """\
apiVersion: actionvm/v1
kind: Agent
metadata: {name: echo, version: 0.1.0}
spec:
  model: {use: local/babbler}
  instructions: Say it again.
  budget: {gas: 1, per: total}
"""


async def test_an_assembly_says_what_it_does_and_ends_with_a_bundle() -> None:
    events = await Workbench().events(MANIFEST)

    assert [event.stage for event in events[:-1] if isinstance(event, Progress)] == [
        Stage.PARSE,
        Stage.RESOLVE,
        Stage.LINK,
        Stage.QUOTE,
        Stage.INGEST,
        Stage.SIGN,
    ]
    assert isinstance(events[-1], Assembly)


@pytest.mark.parametrize(("name", "text"), [("market_brief", MANIFEST), ("minimal", MINIMAL)])
async def test_a_bundle_is_as_agreed(
    name: str, text: str, assert_golden: Callable[[str, str], None]
) -> None:
    bundle = (await Workbench().assemble(text)).bundle
    readable = json.dumps(json.loads(bundle.payload), indent=2, ensure_ascii=False)

    assert_golden(f"assembler_{name}.txt", f"{text}\n--- {bundle.name}\n\n{readable}\n")


async def test_a_payload_is_canonical() -> None:
    payload = (await Workbench().assemble(MANIFEST)).bundle.payload

    assert canonical_json(json.loads(payload)) == payload


async def test_the_same_manifest_gives_the_same_bundle_in_another_layout() -> None:
    block = (await Workbench().assemble(MINIMAL)).bundle
    as_json = MINIMAL.replace("kind: Agent", "'kind':    \"Agent\"  # the same")

    assert (await Workbench().assemble(as_json)).bundle == block


async def test_a_changed_document_gives_another_bundle() -> None:
    workbench = Workbench()
    first = await workbench.assemble(MANIFEST)
    second = await workbench.assemble(MANIFEST, files={"knowledge/week.md": b"BTC fell by 2%."})

    assert first.bundle.name != second.bundle.name


async def test_the_signature_is_over_the_digest() -> None:
    bundle = (await Workbench().assemble(MANIFEST)).bundle
    key = Ed25519PublicKey.from_public_bytes(bundle.signature.public_key)

    key.verify(bundle.signature.value, b"actionvm/bundle/v1\n" + bundle.sha256.encode())


async def test_the_bundle_is_kept() -> None:
    workbench = Workbench()
    bundle = (await workbench.assemble(MANIFEST)).bundle

    assert workbench.store.get(bundle.name) == bundle


async def test_documents_are_stored_in_their_collection() -> None:
    workbench = Workbench()
    await workbench.assemble(MANIFEST)

    (document,) = workbench.peers.documents.stored.values()
    assert (document.name, document.segment) == (
        "collections/market/documents/knowledge/week.md",
        "private",
    )


async def test_assembling_again_changes_nothing() -> None:
    workbench = Workbench()
    first = await workbench.assemble(MANIFEST)
    second = await workbench.assemble(MANIFEST)

    assert first == second
    assert len(workbench.store.list(before=None, limit=10)) == 1


async def test_the_linker_is_told_what_the_agent_needs() -> None:
    workbench = Workbench()
    workbench.peers.secrets.names.add("secrets/openai")
    await workbench.assemble(changed("seed: 1", "seed: 1, credential: openai"))

    assert workbench.peers.models.wishes == [
        ModelWish(
            "local/babbler",
            "secrets/openai",
            needs_actions=True,
            context_tokens_min=160,
            account="agents/market-brief",
        )
    ]


FALLBACKS = "fallbacks: [{use: local/babbler-2, credential: spare}, {use: far/off}]"


async def test_fallbacks_and_the_cache_are_asked_for_and_in_the_bundle() -> None:
    workbench = Workbench()
    workbench.peers.secrets.names.add("secrets/spare")
    made = await workbench.assemble(changed("seed: 1", f"seed: 1, cache: 2h, {FALLBACKS}"))
    (wish,) = workbench.peers.models.wishes
    model = json.loads(made.bundle.payload)["model"]

    assert wish.fallbacks == (("local/babbler-2", "secrets/spare"), ("far/off", ""))
    assert wish.cache_seconds == model["cache_seconds"] == 7_200
    assert model["fallbacks"] == [
        {"name": "local/babbler-2", "credential": "secrets/spare"},
        {"name": "far/off", "credential": ""},
    ]


async def test_a_bundle_without_fallbacks_says_nothing_of_them() -> None:
    made = await Workbench().assemble(MANIFEST)
    assert not {"fallbacks", "cache_seconds"} & json.loads(made.bundle.payload)["model"].keys()


async def test_the_secret_of_a_fallback_must_be_there() -> None:
    with pytest.raises(InvalidManifest) as refused:
        await Workbench().assemble(changed("seed: 1", f"seed: 1, {FALLBACKS}"))
    assert [(one.code, one.field) for one in refused.value.problems] == [
        (Code.SECRET_NOT_FOUND, "spec.model.fallbacks[0].credential")
    ]


async def test_the_dearest_model_prices_a_step() -> None:
    workbench = Workbench()
    workbench.peers.quotes.gas_per_unit["model far/off"] = 3
    made = await workbench.assemble(changed("seed: 1", "seed: 1, fallbacks: [{use: far/off}]"))
    assert made.step_gas_max == 3 * (2_048 + 160) + 1


def test_who_waits_for_a_link_hears_of_it() -> None:
    workbench = Workbench()
    workbench.peers.models.seconds = 12.0
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        events = runner.run(workbench.events(MANIFEST))
    said = [event.detail for event in events[:-1] if isinstance(event, Progress)]
    assert said[2:5] == [
        "linking local/babbler",
        "linking local/babbler for 5 seconds",
        "linking local/babbler for 10 seconds",
    ]


async def test_a_step_costs_a_full_context_a_full_answer_and_one_action() -> None:
    assembly = await Workbench().assemble(MANIFEST)

    assert assembly.step_gas_max == 2_048 + 160 + 1


async def test_a_budget_below_one_step_is_a_warning() -> None:
    assembly = await Workbench().assemble(changed("gas: 50000", "gas: 2000"))

    assert [(p.severity, p.code, p.line) for p in assembly.warnings] == [
        (Severity.WARNING, Code.BUDGET_TIGHT, 21)
    ]


async def test_a_limit_of_the_run_below_one_step_is_a_warning() -> None:
    assembly = await Workbench().assemble(changed("steps: 8", "steps: 8, gas: 2000"))

    assert [(p.severity, p.code, p.line) for p in assembly.warnings] == [
        (Severity.WARNING, Code.BUDGET_TIGHT, 22)
    ]


async def test_a_time_zone_and_a_limit_of_the_run_are_in_the_bundle() -> None:
    text = changed("per: day", "per: day, timezone: Europe/Berlin")
    text = text.replace("steps: 8", "steps: 8, gas: 9000")
    content = json.loads((await Workbench().assemble(text)).bundle.payload)

    assert content["budget"] == {"gas": 50_000, "period": "day", "time_zone": "Europe/Berlin"}
    assert content["limits"]["gas"] == 9_000


async def test_an_existing_collection_needs_no_documents() -> None:
    text = changed(
        "private: [{collection: market, documents: [knowledge/week.md]}]",
        "public: [{collection: news}]",
    )
    bundle = (await Workbench().assemble(text)).bundle

    assert json.loads(bundle.payload)["knowledge"] == [
        {"collection": "collections/news", "segment": "public", "documents": []}
    ]


async def _assert_no_trace(workbench: Workbench, text: str | bytes, code: str) -> None:
    with pytest.raises(InvalidManifest) as raised:
        await workbench.assemble(text)
    assert code in [problem.code for problem in raised.value.problems]
    assert workbench.peers.documents.stored == {}
    assert workbench.store.list(before=None, limit=1) == []


@pytest.mark.parametrize("broken", [*TEXTS, *FIELDS, *REFERENCES], ids=lambda broken: broken.name)
async def test_a_broken_manifest_leaves_no_trace(broken: Broken) -> None:
    # Files that are no documents count as missing here.
    code = broken.code
    code = Code.DOCUMENT_NOT_FOUND if code is Code.DOCUMENT_INVALID else code

    await _assert_no_trace(Workbench(), broken.content, code)


@pytest.mark.parametrize("item", ["model local/babbler", "action board.post"])
async def test_a_missing_price_leaves_no_trace(item: str) -> None:
    workbench = Workbench()
    workbench.peers.quotes.unpriced.add(item)

    await _assert_no_trace(workbench, MANIFEST, Code.PRICE_NOT_FOUND)


async def test_a_bundle_over_its_limit_leaves_no_trace() -> None:
    text = changed('"${{ parameters.board_url }}"', f"http://{'b' * 1024 * 1024}")

    await _assert_no_trace(Workbench(), text, Code.BUNDLE_TOO_LARGE)


async def test_a_document_that_knowledge_refuses_keeps_the_bundle_out() -> None:
    workbench = Workbench()
    workbench.peers.documents.refusal = Refusal(Code.SEGMENT_MISMATCH, "it is public by now")

    await _assert_no_trace(workbench, MANIFEST, Code.SEGMENT_MISMATCH)


@pytest.mark.parametrize(
    "peer", ["catalogue", "models", "secrets", "documents", "quotes", "signer"]
)
async def test_a_peer_that_is_down_leaves_no_bundle_and_the_next_try_works(peer: str) -> None:
    workbench = Workbench()
    failing = getattr(workbench.peers, peer)
    assert isinstance(failing, Failing)
    failing.fail_next(PeerUnavailable(peer))
    with pytest.raises(PeerUnavailable):
        await workbench.assemble(MANIFEST)

    assert workbench.store.list(before=None, limit=1) == []
    assert await workbench.assemble(MANIFEST)


async def test_validation_links_nothing_and_stores_nothing() -> None:
    workbench = Workbench()
    await workbench.validate(MANIFEST)

    assert workbench.peers.models.wishes == []
    assert workbench.peers.documents.stored == {}


async def test_a_bundle_that_was_never_assembled_is_not_found() -> None:
    with pytest.raises(BundleNotFound):
        Workbench().store.get(f"bundles/{'0' * 64}")


_LINES = MANIFEST.splitlines(keepends=True)
_SNIPPETS = st.sampled_from(
    [
        *("\n", " ", "  ", "\t", "{", "}", "[", "]", ":", ",", "-", "'", '"', "#", "|", ">", "\\"),
        *("&a ", "*a", "!!str ", "<<: ", "---", "%YAML", "\0", "\ufeff", "é"),
        *("null", "true", "yes", "0", "-1", "1e999", "${{ parameters.board_url }}", "${{"),
        *(
            "fallbacks: [a/b]",
            "source: a.py",
            "approval: ask",
            "mcp:x",
            "agent:x",
            "../x",
            "documents",
        ),
        *_LINES,
    ]
)


@st.composite
def _mutations(draw: st.DrawFn) -> str:
    """Draw a manifest in which a few stretches were removed, replaced or put in."""
    text = MANIFEST
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.sampled_from([0, 0, 1, 2, 5, 20]))
        text = text[:start] + draw(_SNIPPETS | st.text(max_size=3)) + text[end:]
    return text


@settings(max_examples=500, derandomize=True)
@given(_mutations())
async def test_a_mutated_manifest_assembles_or_says_what_is_wrong(text: str) -> None:
    workbench = Workbench()
    content = text.encode(errors="replace")
    try:
        bundle = (await workbench.assemble(content)).bundle
    except InvalidManifest as error:
        assert error.problems
        assert all(problem.message for problem in error.problems)
        assert workbench.store.list(before=None, limit=1) == []
        assert workbench.peers.documents.stored == {}
    else:
        assert await workbench.validate(content) == []
        assert workbench.store.get(bundle.name) == bundle


_FIELDS = ["kind", "parameters", "metadata", "spec", "model", "actions", "knowledge", "private"]
_FIELDS += ["budget", "limits", "use", "settings"]
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(max_examples=200, derandomize=True)
@given(st.sampled_from(_FIELDS), _VALUES)
async def test_any_value_in_any_field_assembles_or_says_what_is_wrong(
    field: str, value: object
) -> None:
    text = "".join(
        f"{line.partition(field)[0]}{field}: {json.dumps(value)}\n" if f"{field}:" in line else line
        for line in _LINES
    )
    try:
        await Workbench().assemble(text)
    except InvalidManifest as error:
        assert error.problems
