"""Code of actions: what it asks for goes the way of every call, and a crash repeats none of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from chassis.canonical import Json
from runtime import executing
from runtime.conductor import Conductor
from runtime.connectors.asking import asking_action
from runtime.errors import BundleInvalid, ForkRefused
from runtime.facts import (
    ActionDecided,
    ActionFinished,
    ApprovalDecided,
    CodeExecuted,
    Decision,
    HostCalled,
    RunFinished,
    State,
    Usage,
)
from runtime.ports import Generation, Prompt
from sandbox.errors import SandboxUnavailable
from sandbox.launch import start_worker
from sandbox.outcome import Outcome
from sandbox.pool import Pool
from sandbox.ports import Asked, Code, Executable, Host, Order
from tests.fakes.runtime_ports import answer, calls
from tests.fakes.sandboxes import ScriptedSandbox
from tests.runtime.worlds import POST, RUN, SEARCH, World, code_action, with_actions

GRANT = {**POST, "limits": {"per_run": 2}}
ASK = {
    **SEARCH,
    "name": "llm.ask",
    "program": "catalogue:llm.ask",
    "parameters_schema": dict(asking_action().descriptor.parameters_schema),
    "limits": {"per_run": 0},
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
async def walled(world: World) -> AsyncIterator[World]:
    """Return a world whose sandbox is the real one."""
    pool = Pool(start_worker, workers=1)
    world.sandbox = pool
    yield world
    await pool.close()


def acting(body: str) -> str:
    lines = "\n    ".join(dedent(body).strip().splitlines())
    return f"from actionvm_sdk import *\n\n@action\ndef act(ctx):\n    {lines}\n"


def once(prompt: Prompt) -> Generation:
    """Call `act`, then answer with its result."""
    if any(message.call_id for message in prompt.messages):
        return answer(prompt.messages[-1].text)
    return calls(("act", "{}"))


async def played(world: World, action: dict[str, Any], *, dry_run: bool = False) -> str:
    """Return what the model is told of a call of `act`, after the run has succeeded."""
    world.model.answers = once
    await world.create(with_actions(action), dry_run=dry_run)
    run = await world.play()
    assert run.state == State.SUCCEEDED, run.failure
    return run.answer


async def found(world: World, kind: type) -> list[Any]:
    return [event for event in await world.events() if isinstance(event, kind)]


def texts(world: World) -> list[str]:
    """Return what is on the board."""
    return [post["text"] for post in world.board.posts.values()]


async def twice(_order: Order, host: Host) -> Json:
    """Post two texts, one after the other."""
    posted = []
    for text in ("one", "two"):
        (told,) = await host.ask([Asked("board.post", {"text": text})])
        posted.append(told.value or told.reason)
    return [len(posted), *(bool(one) for one in posted)]


# --- In the real sandbox -------------------------------------------------------------------------


async def test_code_acts_through_its_grants(walled: World) -> None:
    body = 'return ctx.service("board").post(text="hello")["posted"]'
    assert await played(walled, code_action(acting(body), GRANT)) == "true"
    (asked,) = await found(walled, HostCalled)
    (call,) = asked.calls
    assert (call.id, call.action) == ("step-1-1.1", "act/board.post")
    assert texts(walled) == ["hello"]


async def test_what_code_uses_is_on_the_bill(walled: World) -> None:
    await played(walled, code_action(acting('ctx.service("board").post(text="hello")'), GRANT))
    (executed,) = await found(walled, CodeExecuted)
    (finished,) = await found(walled, RunFinished)
    lines = {charge.item: charge.usages for charge in finished.outcome and finished.receipt.charges}
    thousands = -(-executed.fuel // 1_000)
    assert lines["code act"] == (Usage("sandbox_fuel", thousands), Usage("host_calls", 1))
    assert "action board.post" in lines


@pytest.mark.parametrize(
    ("action", "rule"),
    [
        (code_action(acting("")), "not an action"),
        (code_action(acting(""), GRANT, capabilities=()), "not an action"),
        (code_action(acting(""), {**GRANT, "approval": "deny"}), "approval: deny"),
    ],
)
async def test_what_is_not_declared_and_granted_is_denied(
    walled: World, action: dict[str, Any], rule: str
) -> None:
    source = acting(
        """
        try:
            ctx.service("board").post(text="hello")
        except Denied as error:
            return error.reason
        """
    )
    files = {"act.py": source}
    action = {**action, "program": f"code:{Code('act.py', files).sha256}"}
    action["code"] = {**action["code"], "files": files}
    assert await played(walled, action) == '"DENIED"'
    decided = (await found(walled, ActionDecided))[-1]
    assert decided.decision == Decision.DENY
    assert rule in decided.rule
    assert not walled.board.posts


async def test_the_operator_may_forbid_what_the_owner_has_granted(walled: World) -> None:
    walled.code_may = frozenset({"web.get"})
    body = 'ctx.service("board").post(text="hello")'
    told = await played(walled, code_action(acting(body), GRANT))
    assert "the operator of this runtime does not let code use board.post" in told
    assert not walled.board.posts


async def test_code_asks_the_model_of_its_agent(walled: World) -> None:
    def model(prompt: Prompt) -> Generation:
        if prompt.messages[0].text == "Say a word.":
            assert prompt.model.tokens_max == 7
            return answer("word")
        return once(prompt)

    walled.model.answers = model
    body = 'return ctx.llm("Say a word.", tokens_max=7).upper()'
    await walled.create(with_actions(code_action(acting(body), ASK)))
    assert (await walled.play()).answer == '"WORD"'


async def test_the_model_is_told_what_code_did_wrong(walled: World) -> None:
    told = json.loads(await played(walled, code_action(acting("return {}['price']"))))
    assert told == {"error": "CODE_FAILED", "message": "KeyError: 'price' (act.py:5)"}
    (executed,) = await found(walled, CodeExecuted)
    (acted,) = await found(walled, ActionFinished)
    assert executed.reason == acted.reason == "CODE_FAILED"


async def test_code_that_never_ends_is_stopped(walled: World) -> None:
    told = await played(walled, code_action(acting("while True: pass")))
    assert "FUEL_EXHAUSTED" in told
    (finished,) = await found(walled, RunFinished)
    assert finished.receipt.charges[-1].usages == (Usage("sandbox_fuel", 2_000_000),)


@pytest.mark.parametrize(
    "body",
    [
        'ctx._host = None\nimport json\nreturn "\\ud800"',
        'ctx.log("\\ud800")\nreturn ctx.gather(Call("board.post", {"text": "\\ud800"}))',
        'return ctx.gather(Call("board.post", {"text": float("nan")}))',
        'return ctx.gather(Call("board.post", {"a" * 9999: [[[[[]]]]]}))',
    ],
)
async def test_hostile_values_stop_the_call_and_not_the_run(walled: World, body: str) -> None:
    told = json.loads(await played(walled, code_action(acting(body), GRANT)))
    assert told["error"] in {"CODE_FAILED", "TRAPPED"}
    assert not walled.board.posts


async def test_a_replay_executes_the_code_again(walled: World) -> None:
    body = """
        import random, time
        ctx.log(random.random(), time.time())
        ctx.service("board").post(text="hello")
        return [random.random(), ctx.now().isoformat()]
        """
    await played(walled, code_action(acting(body), GRANT))
    posts = len(walled.board.posts)
    conductor = Conductor(walled.stage())
    differences = [one.difference async for one in conductor.replay(RUN)]
    assert set(differences) == {""}
    assert len(walled.board.posts) == posts


# --- Around any sandbox --------------------------------------------------------------------------


async def test_a_model_cannot_use_what_code_was_granted(world: World) -> None:
    world.sandbox = ScriptedSandbox(twice)
    world.model.answers = lambda prompt: (
        calls(("act/board.post", '{"text": "hello"}'))
        if len(prompt.messages) == 2
        else answer(prompt.messages[-1].text)
    )
    await world.create(with_actions(code_action("", GRANT)))
    assert "not an action of this agent" in (await world.play()).answer
    assert not world.board.posts


async def test_grants_have_limits_of_their_own(world: World) -> None:
    world.sandbox = ScriptedSandbox(twice)
    await played(world, code_action("", {**GRANT, "limits": {"per_run": 1}}))
    reasons = [one.reason for one in await found(world, ActionFinished)]
    assert reasons == ["", "DENIED", ""]
    assert len(world.board.posts) == 1


async def test_a_person_decides_about_what_code_asks_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executing, "SUSPEND_SECONDS", 0.0)
    world.sandbox = sandbox = ScriptedSandbox(twice)
    world.model.answers = once
    await world.create(with_actions(code_action("", {**GRANT, "approval": "ask"})))
    conductor = Conductor(world.stage())
    await conductor.start()
    for _ in range(2):
        await world.until(RUN, lambda run: run.approval)
        (waiting,) = await world.journal.waiting(10)
        asked = waiting.awaited
        decided = ApprovalDecided(asked.call.id, asked.arguments_sha256, allows=True, who="ann")
        await conductor.post(RUN, decided, request_id=asked.call.id)
        await world.until_result(asked.call.id)
    await world.until_ended()
    await conductor.stop()
    assert (await world.run()).answer == "[2,true,true]"
    assert texts(world) == ["one", "two"]
    # It did not stay in the sandbox while a person thought.
    assert sandbox.count > 2


async def test_a_dry_run_executes_code_and_describes_what_it_would_do(world: World) -> None:
    world.sandbox = ScriptedSandbox(twice)
    assert await played(world, code_action("", GRANT), dry_run=True) == "[2,true,true]"
    described = [one.result for one in await found(world, ActionFinished)][:2]
    assert all(json.loads(one)["dry_run"] for one in described)
    assert not world.board.posts


async def test_code_that_asks_for_something_else_after_a_crash_is_stopped(world: World) -> None:
    texts = iter(["one", "other"])

    async def fickle(_order: Order, host: Host) -> Json:
        (told,) = await host.ask([Asked("board.post", {"text": next(texts)})])
        return told.value

    world.sandbox = ScriptedSandbox(fickle)
    world.model.answers = once
    world.board.fail_next(*[503] * 100)
    await world.create(with_actions(code_action("", GRANT)))
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.until_kind("HostCalled")
    await conductor.stop()
    world.board.stop_failing()
    assert "CODE_DIVERGED" in (await world.play()).answer


async def test_a_sandbox_that_does_not_start_is_waited_for(world: World) -> None:
    class Late(ScriptedSandbox):
        async def execute(self, code: Executable, order: Order, host: Host) -> Outcome:
            if self.count == 0:
                self.count += 1
                raise SandboxUnavailable("not yet")
            return await super().execute(code, order, host)

    world.sandbox = Late(twice)
    assert await played(world, code_action("", GRANT)) == "[2,true,true]"


async def test_a_runtime_without_a_sandbox_opens_no_code(world: World) -> None:
    sealed = world.seal(with_actions(code_action("", GRANT)))
    with pytest.raises(BundleInvalid, match="executes none"):
        await world.stage().open(sealed)


async def test_a_run_is_not_forked_while_code_waits(world: World) -> None:
    world.sandbox = ScriptedSandbox(twice)
    await played(world, code_action("", GRANT))
    records = await world.journal.events(RUN)
    asked = next(one.sequence for one in records if isinstance(one.event, HostCalled))
    conductor = Conductor(world.stage())
    for sequence in (asked, asked + 1):
        with pytest.raises(ForkRefused):
            await conductor.fork(
                RUN, sequence=sequence, request_id="fork", fork=RUN.replace("0001", "0009")
            )
