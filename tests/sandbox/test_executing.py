"""What code can do: the suite that every sandbox passes."""

from __future__ import annotations

import asyncio

import pytest

from sandbox.outcome import Frame, Reason
from sandbox.pool import Pool
from sandbox.ports import Answer, Asked, Sandbox, Suspended
from tests.sandbox.worlds import RecordingHost, acting, code, execute

SCORE = code(
    '''
    @action(capabilities=["web.get"])
    def score(ctx: Context, topic: str, limit: int = 5) -> dict[str, int]:
        """Score a topic."""
        return {"score": len(topic) * limit}
    '''
)


async def test_an_action_returns_what_its_function_returns(sandbox: Sandbox) -> None:
    outcome = await execute(sandbox, SCORE, action="score", arguments={"topic": "eth", "limit": 2})
    assert (outcome.value, outcome.reason) == ({"score": 6}, None)
    assert outcome.fuel > 0


async def test_the_same_execution_takes_the_same_fuel(pool: Pool) -> None:
    # Outside of WebAssembly, fuel is time.
    arguments = {"topic": "eth"}
    outcomes = [await execute(pool, SCORE, action="score", arguments=arguments) for _ in range(10)]
    assert len({outcome.fuel for outcome in outcomes}) == 1
    assert outcomes[0].fuel < 10_000_000


async def test_code_gets_the_answers_of_its_host(sandbox: Sandbox) -> None:
    host = RecordingHost(lambda asked: Answer({"id": asked.arguments["text"]}))
    what = acting('return ctx.service("board").post(text="hi")["id"]')
    outcome = await execute(sandbox, what, host=host)
    assert outcome.value == "hi"
    assert host.asked == [Asked("board.post", {"text": "hi"})]


async def test_what_is_asked_at_once_is_answered_in_order(sandbox: Sandbox) -> None:
    host = RecordingHost(lambda asked: Answer(asked.arguments["n"]))
    what = acting('return ctx.gather(*(Call("a.b", {"n": n}) for n in range(5)))')
    outcome = await execute(sandbox, what, host=host)
    assert outcome.value == [0, 1, 2, 3, 4]
    assert len(host.asked) == 5


async def test_a_refusal_is_an_exception_that_code_can_catch(sandbox: Sandbox) -> None:
    host = RecordingHost(lambda _: Answer(reason="DENIED", message="not granted"))
    what = acting(
        """
        try:
            ctx.call("board.post", text="hi")
        except Denied as error:
            return [error.reason, error.message]
        """
    )
    assert (await execute(sandbox, what, host=host)).value == ["DENIED", "not granted"]


async def test_an_exception_shows_the_lines_of_the_author_only(sandbox: Sandbox) -> None:
    what = acting(
        """
        prices = {"eth": 1}
        return prices["btc"] + 1
        """
    )
    outcome = await execute(sandbox, what)
    assert (outcome.reason, outcome.message) == (Reason.CODE_FAILED, "KeyError: 'btc'")
    assert outcome.frames == (Frame("act.py", 8, 12, "act"),)


async def test_what_is_printed_and_logged_is_kept(sandbox: Sandbox) -> None:
    outcome = await execute(sandbox, acting('print("a", 1)\nctx.log("b", 2)'))
    assert outcome.logs == ("a 1", "b 2")


async def test_time_moves_with_the_answers_only(sandbox: Sandbox) -> None:
    what = acting(
        """
        import time
        first = time.time(), ctx.now().timestamp()
        again = time.time()
        ctx.call("a.b")
        return [*first, again, time.time()]
        """
    )
    host = RecordingHost()
    start = host.now()
    assert (await execute(sandbox, what, host=host)).value == [start, start, start, start + 1]


async def test_dice_follow_the_seed(sandbox: Sandbox) -> None:
    what = acting(
        """
        import random, secrets, uuid
        return [random.random(), secrets.token_hex(8), str(uuid.uuid4())]
        """
    )
    first, again, other = [(await execute(sandbox, what, seed=seed)).value for seed in (1, 1, 2)]
    assert first == again
    assert isinstance(first, list)
    assert isinstance(other, list)
    assert not set(first) & set(other)


async def test_packages_come_along(sandbox: Sandbox) -> None:
    what = code(
        """
        from textkit.words import count

        @action
        def act(ctx: Context) -> int:
            return count("a b c")
        """,
        {
            "textkit/__init__.py": "",
            "textkit/words.py": "def count(text):\n    return len(text.split())\n",
        },
    )
    assert (await execute(sandbox, what)).value == 3


async def test_an_async_function_may_await_nothing_but_its_host(sandbox: Sandbox) -> None:
    what = code("@action\nasync def act(ctx: Context) -> int:\n    return 1\n")
    assert (await execute(sandbox, what)).value == 1


async def test_what_one_call_changes_no_other_sees(sandbox: Sandbox) -> None:
    poison = acting(
        """
        import json
        for name in list(vars(json)):
            setattr(json, name, None)
        """
    )
    assert (await execute(sandbox, poison)).reason == Reason.TRAPPED
    assert (await execute(sandbox, acting("return len([1])"))).value == 1


async def test_code_describes_itself(sandbox: Sandbox) -> None:
    (described,) = (await sandbox.examine(SCORE)).actions
    assert (described.name, described.description) == ("score", "Score a topic.")
    assert described.capabilities == ("web.get",)
    assert described.parameters_schema == {
        "type": "object",
        "properties": {"topic": {"type": "string"}, "limit": {"type": "integer", "default": 5}},
        "required": ["topic"],
        "additionalProperties": False,
    }
    assert described.output_schema["additionalProperties"] == {"type": "integer"}


@pytest.mark.parametrize(
    ("body", "kind", "line", "message"),
    [
        ("def act(ctx:\n", "syntax", 5, "was never closed"),
        ("import nowhere\n", "import", 5, "nowhere"),
        ("x = 1\nfrom nowhere.path import join\n", "import", 6, "nowhere.path"),
        ("1 / 0\n", "failed", 5, "ZeroDivisionError"),
    ],
)
async def test_what_is_wrong_is_said_with_its_line(
    sandbox: Sandbox, body: str, kind: str, line: int, message: str
) -> None:
    (flaw,) = (await sandbox.examine(code(body))).flaws
    assert (flaw.kind, flaw.file, flaw.line) == (kind, "act.py", line)
    assert message in flaw.message


@pytest.mark.parametrize("module", ["socket", "os.path"])
async def test_webassembly_has_few_modules(pool: Pool, module: str) -> None:
    (flaw,) = (await pool.examine(code(f"import {module}\n"))).flaws
    assert (flaw.kind, flaw.message) == ("import", module)


async def test_a_host_may_have_an_execution_dropped(sandbox: Sandbox) -> None:
    class Slow(RecordingHost):
        async def ask(self, calls: object) -> list[Answer]:
            raise Suspended

    with pytest.raises(Suspended):
        await execute(sandbox, acting('ctx.call("a.b")'), host=Slow())
    assert (await execute(sandbox, acting("return 1"))).value == 1


async def test_executions_that_nobody_waits_for_end(sandbox: Sandbox) -> None:
    asked = asyncio.Event()

    class Silent(RecordingHost):
        async def ask(self, calls: object) -> list[Answer]:
            asked.set()
            await asyncio.Event().wait()
            return []

    task = asyncio.create_task(execute(sandbox, acting('ctx.call("a.b")'), host=Silent()))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    outcomes = await asyncio.gather(*(execute(sandbox, acting("return 1")) for _ in range(40)))
    assert {outcome.value for outcome in outcomes} == {1}
