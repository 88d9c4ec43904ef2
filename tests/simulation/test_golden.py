"""A run in a world where nothing breaks, as text: its journal and its receipt."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf import text_format

from actionvm.runtime.v1 import runtime_pb2
from linker.conversation import WrittenCall
from linker.providers.scripted import Line, by_turn

from .operator import Operator
from .system import System
from .test_system import FILES, MANIFEST
from .world import Faults, World, simulate

SCRIPT = by_turn(
    Line(calls=(WrittenCall("knowledge.search", '{"query":"ether"}'),)),
    Line(calls=(WrittenCall("board.post", '{"text":"Ether rose by four percent."}'),)),
    Line(text="I posted that ether rose."),
)


def _journal() -> list[runtime_pb2.WatchRunResponse]:
    found: list[runtime_pb2.WatchRunResponse] = []

    async def scenario(world: World) -> None:
        System(world, SCRIPT)
        operator = Operator(world)
        await operator.make_key("board-key")
        bundle = await operator.assemble(MANIFEST, FILES)
        run = await operator.start(bundle.name, "the-run")

        async def ignore(_: runtime_pb2.WatchRunResponse) -> None:
            pass

        found.extend(await operator.watch(run, ignore))

    simulate(0, scenario, Faults())
    return found


def test_the_journal_reads_like_the_golden_file(
    assert_golden: Callable[[str, str], None],
) -> None:
    journal = _journal()
    journal[-1].finished.ClearField("receipt")

    assert_golden("run_journal.txt", "\n".join(map(text_format.MessageToString, journal)))


def test_the_receipt_reads_like_the_golden_file(
    assert_golden: Callable[[str, str], None],
) -> None:
    receipt = _journal()[-1].finished.receipt

    assert_golden("run_receipt.txt", text_format.MessageToString(receipt))
