"""What must hold whatever happens: invariants, kept apart from the scenarios."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from actionvm.gas.v1 import budgets_pb2, gas_pb2
from actionvm.runtime.v1 import runtime_pb2

from .board import SimulatedBoard
from .world import World

SUCCEEDED = runtime_pb2.Run.STATE_SUCCEEDED

Journal = Sequence[runtime_pb2.WatchRunResponse]


def check_world(world: World) -> None:
    """Require that no task died of a bug, and nobody answered INTERNAL."""
    assert world.bugs == []


def check_journal(journal: Journal) -> None:
    """Require sequences without gaps, one end at the end, and one result for a call."""
    kinds = [event.WhichOneof("event") for event in journal]
    results = Counter(event.acted.call_id for event in journal if event.HasField("acted"))

    assert [event.sequence for event in journal] == list(range(1, len(journal) + 1))
    assert kinds[0] == "started"
    assert kinds.count("finished") == 1
    assert kinds[-1] == "finished"
    assert all(count == 1 for count in results.values())


def check_replay(replayed: Sequence[runtime_pb2.ReplayRunResponse], journal: Journal) -> None:
    """Require that a run, executed again from its journal, goes the same way to its end."""
    assert [event.difference for event in replayed if not event.same] == []
    assert [event.sequence for event in replayed] == [event.sequence for event in journal]


def check_receipt(journal: Journal) -> None:
    """Require a receipt that is signed, adds up, and has everything that the journal has."""
    receipt = journal[-1].finished.receipt
    journaled = sum(e.generated.gas for e in journal if e.HasField("generated"))
    journaled += sum(e.acted.gas for e in journal if e.HasField("acted"))

    assert receipt.signature.value
    assert receipt.total_gas == sum(charge.gas for charge in receipt.charges)
    # A generation that was charged and then lost with its process is on the bill only.
    assert receipt.total_gas >= journaled


def check_spending(budgets: gas_pb2.GetBudgetResponse, journals: Sequence[Journal]) -> None:
    """Require that nothing is held after the end, nor spent without a receipt."""
    billed = sum(journal[-1].finished.receipt.total_gas for journal in journals)
    for budget in budgets.budgets:
        assert budget.gas_spent == billed
        assert budget.gas_spent <= budget.gas_limit


def check_calls(runs: Sequence[runtime_pb2.Run], journals: Mapping[str, Journal]) -> None:
    """Require one run for each call of an agent, none besides, and its end before the result."""
    called = Counter[str]()
    for name, journal in journals.items():
        results = {e.acted.call_id: e for e in journal if e.HasField("acted")}
        for event in journal:
            if event.HasField("sent") and event.sent.run:
                called[event.sent.run] += 1
                end, acted = journals[event.sent.run][-1], results[event.sent.call_id]
                assert end.create_time.ToDatetime() <= acted.create_time.ToDatetime()
                assert (end.finished.state == SUCCEEDED) != acted.acted.failed
                assert end.finished.receipt.total_gas == acted.acted.gas
                assert journals[event.sent.run][0].started.parent == name

    assert called == Counter(run.name for run in runs if run.parent)


def check_bills(journals: Mapping[str, Journal]) -> None:
    """Require that a receipt has each run that was called, with exactly what that one cost."""
    called: dict[str, dict[str, int]] = {name: {} for name in journals}
    for name, journal in journals.items():
        parent, receipt = journal[0].started.parent, journal[-1].finished.receipt
        # A run that was refused before its first charge is on nobody's bill.
        if parent and receipt.charges:
            agent = receipt.account.removeprefix("agents/")
            called[parent][f"agent {agent}/{name.removeprefix('runs/')}"] = receipt.total_gas

    for name, journal in journals.items():
        charges = journal[-1].finished.receipt.charges
        assert called[name] == {c.item: c.gas for c in charges if c.item.startswith("agent ")}


def check_ledger(entries: Sequence[gas_pb2.Entry], journals: Mapping[str, Journal]) -> None:
    """Require that what was paid is what was received, by those who began, and by nobody else."""
    balances, began = Counter[str](), Counter[str]()
    for entry in entries:
        balances[entry.debit_account] -= entry.gas
        balances[entry.credit_account] += entry.gas
    for journal in journals.values():
        receipt = journal[-1].finished.receipt
        began[receipt.account] += 0 if journal[0].started.parent else receipt.total_gas

    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    assert all(balances[account] == -gas for account, gas in began.items())
    received = {name: gas for name, gas in balances.items() if not name.startswith("agents/")}
    assert sum(received.values()) == sum(began.values())


def check_counts(drifts: Sequence[budgets_pb2.TokenDrift], journal: Journal) -> None:
    """Require that the input of each generation was counted before, as the provider counted it."""
    generated = sum(event.HasField("generated") for event in journal)
    (drift,) = drifts
    # A generation that was charged and then lost with its process counts as well.
    assert drift.charge_count >= generated
    assert drift.counter == budgets_pb2.TokenCount.COUNTER_TOKENIZER
    assert (drift.counted_amount, drift.drift_permille_max) == (drift.provider_amount, 0)


def check_posts(board: SimulatedBoard, journals: Sequence[Journal]) -> None:
    """Require a post for each call that succeeded, and none besides."""
    succeeded = sum(
        event.HasField("acted")
        and event.acted.action.endswith("board.post")
        and not event.acted.failed
        for journal in journals
        for event in journal
    )

    assert board.post_count == succeeded
