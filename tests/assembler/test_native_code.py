"""Code that needs native wheels assembles where the operator lets it out of WebAssembly."""

from __future__ import annotations

import pytest

from assembler.problems import Code
from chassis.problems import Problem
from sandbox import ports
from sandbox.launch import surveyed
from sandbox.sandboxes import opened
from tests.fakes.assembler_peers import FakePeers
from tests.sandbox.worlds import HEAD

from .test_agents import agent
from .workbench import Workbench

SOURCE = HEAD + "import numpy\n\n@action\ndef act(ctx: Context) -> int:\n    return 1\n"
CODE = ports.Code("act.py", {"act.py": SOURCE})


async def problems(*approved: str) -> list[Problem]:
    async with opened(1, native=frozenset(approved)) as sandbox:
        bench = Workbench(FakePeers(compiler=sandbox))
        text = agent("actor", "{source: act.py}")
        return await bench.validate(text, files={"act.py": SOURCE.encode()})


async def test_who_may_let_code_out_is_told_its_digest() -> None:
    (problem,) = await problems()
    assert problem.code == Code.IMPORT_NOT_FOUND
    assert CODE.sha256 in problem.fix


@pytest.mark.skipif(not surveyed().is_strong, reason="the jail is not strong: actionvm doctor")
async def test_approved_code_has_what_is_installed() -> None:
    assert await problems(CODE.sha256) == []
