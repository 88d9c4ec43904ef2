"""What code can do: the suite that every sandbox passes."""

from __future__ import annotations

import asyncio

import pytest

from sandbox.outcome import Frame, Reason
from sandbox.pool import Pool
from sandbox.ports import Answer, Asked, Suspended
from tests.sandbox.worlds import RecordingHost, acting, code, execute

SCORE = code(
    '''
    @action(capabilities=["web.get"])
    def score(ctx: Context, topic: str, limit: int = 5) -> dict[str, int]:
        """Score a topic."""
        return {"score": len(topic) * limit}
    '''
)


async def test_an_action_returns_what_its_function_returns(pool: Pool) -> None:
    outcome = await execute(pool, SCORE, action="score", arguments={"topic": "eth", "limit": 2})
    assert (outcome.value, outcome.reason) == ({"score": 6}, None)
    assert 0 < outcome.fuel < 10_000_000


async def test_the_same_execution_takes_the_same_fuel(pool: Pool) -> None:
    arguments = {"topic": "eth"}
    outcomes = [await execute(pool, SCORE, action="score", arguments=arguments) for _ in range(10)]
    assert len({outcome.fuel for outcome in outcomes}) == 1


async def test_code_gets_the_answers_of_its_host(pool: Pool) -> None:
    host = RecordingHost(lambda asked: Answer({"id": asked.arguments["text"]}))
    what = acting('return ctx.service("board").post(text="hi")["id"]')
    outcome = await execute(pool, what, host=host)
    assert outcome.value == "hi"
    assert host.asked == [Asked("board.post", {"text": "hi"})]


async def test_what_is_asked_at_once_is_answered_in_order(pool: Pool) -> None:
    host = RecordingHost(lambda asked: Answer(asked.arguments["n"]))
    what = acting('return ctx.gather(*(Call("a.b", {"n": n}) for n in range(5)))')
    outcome = await execute(pool, what, host=host)
    assert outcome.value == [0, 1, 2, 3, 4]
    assert len(host.asked) == 5


async def test_a_refusal_is_an_exception_that_code_can_catch(pool: Pool) -> None:
    host = RecordingHost(lambda _: Answer(reason="DENIED", message="not granted"))
    what = acting(
        """
        try:
            ctx.call("board.post", text="hi")
        except Denied as error:
            return [error.reason, error.message]
        """
    )
    assert (await execute(pool, what, host=host)).value == ["DENIED", "not granted"]


async def test_an_exception_shows_the_lines_of_the_author_only(pool: Pool) -> None:
    what = acting(
        """
        prices = {"eth": 1}
        return prices["btc"] + 1
        """
    )
    outcome = await execute(pool, what)
    assert (outcome.reason, outcome.message) == (Reason.CODE_FAILED, "KeyError: 'btc'")
    assert outcome.frames == (Frame("act.py", 8, 12, "act"),)


async def test_what_is_printed_and_logged_is_kept(pool: Pool) -> None:
    outcome = await execute(pool, acting('print("a", 1)\nctx.log("b", 2)'))
    assert outcome.logs == ("a 1", "b 2")


async def test_time_moves_with_the_answers_only(pool: Pool) -> None:
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
    assert (await execute(pool, what, host=host)).value == [start, start, start, start + 1]


async def test_dice_follow_the_seed(pool: Pool) -> None:
    what = acting(
        """
        import random, secrets, uuid
        return [random.random(), secrets.token_hex(8), str(uuid.uuid4())]
        """
    )
    first, again, other = [(await execute(pool, what, seed=seed)).value for seed in (1, 1, 2)]
    assert first == again
    assert isinstance(first, list)
    assert isinstance(other, list)
    assert not set(first) & set(other)


async def test_packages_come_along(pool: Pool) -> None:
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
    assert (await execute(pool, what)).value == 3


async def test_an_async_function_may_await_nothing_but_its_host(pool: Pool) -> None:
    what = code("@action\nasync def act(ctx: Context) -> int:\n    return 1\n")
    assert (await execute(pool, what)).value == 1


async def test_what_one_call_changes_no_other_sees(pool: Pool) -> None:
    poison = acting(
        """
        import json
        for name in list(vars(json)):
            setattr(json, name, None)
        """
    )
    assert (await execute(pool, poison)).reason == Reason.TRAPPED
    assert (await execute(pool, acting("return len([1])"))).value == 1


async def test_code_describes_itself(pool: Pool) -> None:
    (described,) = (await pool.examine(SCORE)).actions
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
        ("import socket\n", "import", 5, "socket"),
        ("x = 1\nfrom os.path import join\n", "import", 6, "os.path"),
        ("1 / 0\n", "failed", 5, "ZeroDivisionError"),
    ],
)
async def test_what_is_wrong_is_said_with_its_line(
    pool: Pool, body: str, kind: str, line: int, message: str
) -> None:
    (flaw,) = (await pool.examine(code(body))).flaws
    assert (flaw.kind, flaw.file, flaw.line) == (kind, "act.py", line)
    assert message in flaw.message


async def test_a_host_may_have_an_execution_dropped(pool: Pool) -> None:
    class Slow(RecordingHost):
        async def ask(self, calls: object) -> list[Answer]:
            raise Suspended

    with pytest.raises(Suspended):
        await execute(pool, acting('ctx.call("a.b")'), host=Slow())
    assert (await execute(pool, acting("return 1"))).value == 1


async def test_executions_that_nobody_waits_for_end(pool: Pool) -> None:
    asked = asyncio.Event()

    class Silent(RecordingHost):
        async def ask(self, calls: object) -> list[Answer]:
            asked.set()
            await asyncio.Event().wait()
            return []

    task = asyncio.create_task(execute(pool, acting('ctx.call("a.b")'), host=Silent()))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    outcomes = await asyncio.gather(*(execute(pool, acting("return 1")) for _ in range(40)))
    assert {outcome.value for outcome in outcomes} == {1}
