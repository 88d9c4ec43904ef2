"""A component of WebAssembly assembles like code in Python, and the runtime executes it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from assembler.problems import Code
from chassis.problems import Flaw
from runtime.bundles import read_program
from sandbox.ports import Answer, Asked, Component, Order, Sandbox
from sandbox.sandboxes import opened
from tests.fakes.assembler_peers import FakePeers
from tests.sandbox.components import component
from tests.sandbox.test_components import ASKING
from tests.sandbox.worlds import RecordingHost

from .test_agents import agent
from .workbench import Workbench

GRANTS = (
    "grants: [{use: board.post, credential: board-key, settings: {url: 'http://127.0.0.1:7480'}}]"
)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with opened(workers=1) as sandbox:
        yield sandbox


async def test_a_component_goes_through_a_bundle_and_acts(sandbox: Sandbox) -> None:
    bench = Workbench(FakePeers(compiler=sandbox))
    text = agent("actor", f"{{source: act.wasm, {GRANTS}}}")
    made = await bench.assemble(text, files={"act.wasm": ASKING.wasm})

    action = read_program(made.bundle.payload).action("act")
    assert action is not None
    assert action.code is not None
    assert action.code.executable == Component(ASKING.wasm, "act.wasm")
    host = RecordingHost(lambda _: Answer({"id": 3}))
    outcome = await sandbox.execute(action.code.executable, Order("act", {}, seed=1), host)
    assert outcome.value == [{"value": {"id": 3}, "reason": "", "message": ""}]
    assert host.asked == [Asked("board.post", {"text": "hi"})]


SOCKETS = '(import "wasi:sockets/tcp@0.2.0" (instance))'


@pytest.mark.parametrize(
    ("wasm", "packages", "code", "words"),
    [
        (b"", "", Code.CODE_MALFORMED, "empty"),
        (b"# Python", "", Code.CODE_FAILED, "no component"),
        (b"\0" * (512 * 1024 + 1), "", Code.CODE_TOO_LARGE, "524289 bytes"),
        (component("", head=SOCKETS).wasm, "", Code.IMPORT_NOT_FOUND, "wasi:sockets/tcp"),
        (ASKING.wasm, ", packages: [textkit]", Flaw.CONTRADICTION, "Python"),
    ],
)
async def test_what_is_wrong_with_a_component_is_said(
    sandbox: Sandbox, wasm: bytes, packages: str, code: str, words: str
) -> None:
    bench = Workbench(FakePeers(compiler=sandbox))
    text = agent("actor", f"{{source: act.wasm, {GRANTS}{packages}}}")
    found = await bench.validate(text, files={"act.wasm": wasm})
    assert [(one.code, words in one.message) for one in found] == [(code, True)]
