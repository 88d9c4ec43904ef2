"""What the linker is asked where an answer has to fit a schema."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.clients import LinkerClient
from runtime.conversation import ActionChoice
from runtime.ports import AnswerUnfit, RunFails
from tests.runtime.peers import Peers, Refusal, serving

from .test_clients import LINK, PROMPT


@pytest.mark.parametrize(("schema", "error"), [('{"type": "object"}', AnswerUnfit), ("", RunFails)])
async def test_an_answer_that_does_not_fit_its_schema_is_another_thing_than_a_refusal(
    schema: str, error: type[Exception]
) -> None:
    peers = Peers()
    peers.answers += [LINK, Refusal("INVALID_ARGUMENT", "SCHEMA_UNSUPPORTED")]
    prompt = replace(PROMPT, answer_schema=schema, choice=ActionChoice.NONE)
    async with serving(peers) as channel:
        with pytest.raises(error):
            _ = [part async for part in LinkerClient(channel).generate(prompt)]
    link, generate = peers.requests
    assert link.config.needs_answer_schema == bool(schema)
    assert generate.answer_schema == schema
