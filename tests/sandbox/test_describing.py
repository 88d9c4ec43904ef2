"""What the actions of a file say of themselves, in the sandbox."""

from __future__ import annotations

from chassis.canonical import Json
from sandbox.pool import Pool
from tests.sandbox.worlds import code, execute


async def test_each_action_that_json_cannot_describe_is_said_with_its_line(pool: Pool) -> None:
    what = code(
        """
        @action
        def one(ctx, x: bytes): ...

        @action
        def two(ctx) -> int: ...

        @action
        def three(ctx, x: int = "many"): ...
        """
    )

    flaws = (await pool.examine(what)).flaws

    assert [(one.kind, one.file, one.line) for one in flaws] == [
        ("schema", "act.py", 6),
        ("schema", "act.py", 12),
    ]
    assert [one.message for one in flaws] == [
        "x is bytes, which JSON does not have",
        "x has a default that is not of its type",
    ]


async def test_two_actions_of_one_name_are_refused(pool: Pool) -> None:
    what = code(
        """
        @action(name="act")
        def one(ctx): ...

        @action
        def act(ctx): ...
        """
    )

    (flaw,) = (await pool.examine(what)).flaws

    assert (flaw.message, flaw.line) == ("act is the name of two actions", 9)


async def test_an_action_with_two_names_is_one(pool: Pool) -> None:
    what = code("@action\ndef act(ctx) -> int:\n    return 1\n\nsame = act\n")

    (described,) = (await pool.examine(what)).actions

    assert described.name == "act"
    assert (await execute(pool, what)).value == 1


async def test_types_of_an_action_are_those_of_python(pool: Pool) -> None:
    what = code(
        """
        from dataclasses import dataclass
        from enum import Enum
        from typing import NotRequired, TypedDict

        class Kind(Enum):
            BUY = "buy"

        @dataclass
        class Order:
            kind: Kind
            amount: float | None = None

        class Basket(TypedDict):
            orders: list[Order]
            note: NotRequired[str]

        type Name = str

        @action
        def act(ctx: Context, basket: Basket, name: Name) -> list[Any]:
            first, second = basket["orders"]
            return [first.kind is Kind.BUY, first == Order(Kind.BUY, 1.0), second, name]
        """
    )
    orders: list[Json] = [{"kind": "buy", "amount": 1}, {"kind": "buy"}]

    outcome = await execute(pool, what, arguments={"basket": {"orders": orders}, "name": "a"})

    assert outcome.value == [True, True, {"kind": "buy", "amount": None}, "a"], outcome.message


async def test_a_type_that_contains_itself_is_refused_at_once(pool: Pool) -> None:
    what = code(
        """
        type Tree = dict[str, Tree] | None

        @action
        def act(ctx: Context, tree: Tree): ...
        """
    )

    (flaw,) = (await pool.examine(what)).flaws

    assert "contains itself" in flaw.message
