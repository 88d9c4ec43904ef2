"""What the vault counts is what a plain list of all uses would give, and no more is kept."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidField
from keymanager.errors import UseDenied
from keymanager.journal import Asker
from keymanager.policy.rule import WINDOW_SECONDS_MAX, Question
from keymanager.sealing import RandomBytes
from keymanager.secret import DEFAULT_TENANT, Kind
from keymanager.tally import Tally
from keymanager.uses.keys import LoadedKey
from keymanager.uses.operation import Facts
from keymanager.using import Use
from tests.keymanager.policy import oracle
from tests.keymanager.policy.oracle import Document, verdict_and_rule, written
from tests.keymanager.vaults import OPERATOR, Bench

SEEDS = 16
STEPS = 120
SECRETS = ("secrets/a", "secrets/b")
AGENTS = ("agents/a", "agents/b")
RULE = {"verdict": "allow", "callers": "*", "secrets": "*", "operations": "*", "purposes": "*"}


@dataclass(frozen=True)
class Spend:
    """A use of some value; one that fails is refused after it was decided."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.ED25519})
    name: ClassVar[str] = "spend"

    value: int
    fails: bool = False

    def facts(self) -> Facts:
        return {"value": self.value}

    def perform(self, key: LoadedKey, *, now: object, random_bytes: RandomBytes) -> int:
        if self.fails:
            raise InvalidField("value", "does not go")
        return self.value


async def open_bench(document: Document) -> Bench:
    bench = Bench()
    for name in SECRETS:
        await bench.put(name)
    await bench.vault.put_policy(written(document), by=OPERATOR)
    return bench


def policy_of(*limits: Document, name: str = "rule") -> Document:
    return {"format": "actionvm.policy/v1", "rules": [{"name": name, **RULE, "limits": limits}]}


def random_limits(dice: random.Random) -> Document:
    def limit() -> Document:
        made: dict[str, Any] = {"per": dice.choice(["second", "minute", 90, "hour"])}
        made |= dice.choice([{"uses": dice.randint(1, 6)}, {"sum": "value", "at_most": 15}])
        if each := dice.choice(["", "agent", "secret", {"fact": "value"}]):
            made["each"] = each
        return made

    rules = [
        {
            **RULE,
            "name": f"rule-{number}",
            "when": {"value": {"at_most": dice.choice([1, 5, 9])}},
            "limits": [limit() for _ in range(dice.randint(1, 3))],
        }
        for number in range(3)
    ]
    return {"format": "actionvm.policy/v1", "rules": rules}


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_the_vault_counts_as_a_list_of_all_uses_does(seed: int) -> None:
    dice = random.Random(seed)
    document = random_limits(dice)
    bench = await open_bench(document)
    uses: list[oracle.Use] = []
    outcomes = set[str]()
    # What was forgotten does not come back with a clock that is put back.
    is_put_back = seed % 2 == 1
    for _ in range(STEPS):
        seconds = dice.choice([0, 0, 0.4, 1, 7, 45, 1_800])
        backwards = dice.choice([1, 1, -0.5]) if is_put_back else 1
        bench.clock.advance(timedelta(seconds=seconds * backwards))
        name, agent = dice.choice(SECRETS), dice.choice(AGENTS)
        fails = dice.random() < 0.1
        spends = [Spend(dice.choice([0, 1, 5, 7]), fails) for _ in range(dice.choice([1, 1, 3]))]

        wanted, pending = "", list[oracle.Use]()
        for spend in spends:
            question = question_of(bench, name, agent, spend)
            verdict, rule = verdict_and_rule(document, question, uses + pending)
            pending.append((rule, question.time, question))
            wanted = "USE_DENIED" if verdict == "deny" else wanted or "OK"
            if verdict == "deny":
                break
        found = await outcome_of(bench, name, agent, spends)
        assert found == ("INVALID_FIELD" if fails and wanted == "OK" else wanted)
        outcomes.add(found)
        if found == "OK":
            uses += pending
        if dice.random() < 0.1:
            bench.open()
        if dice.random() < 0.3 and not is_put_back:
            await bench.vault.tend()
    assert outcomes == {"OK", "USE_DENIED", "INVALID_FIELD"}


def question_of(bench: Bench, name: str, agent: str, spend: Spend) -> Question:
    return Question(
        caller="runtime",
        agent=agent,
        secret=name,
        tenant=DEFAULT_TENANT,
        kind="ed25519",
        operation="spend",
        purpose="request",
        facts=spend.facts(),
        time=bench.clock.now(),
    )


async def outcome_of(bench: Bench, name: str, agent: str, spends: list[Spend]) -> str:
    by = Asker("runtime", agent, "request")
    try:
        await bench.vault.use_all(name, spends, method="SignBatch", by=by)
    except (UseDenied, InvalidField) as error:
        return error.reason
    return "OK"


# --- What is kept --------------------------------------------------------------------------------


async def spend(bench: Bench, count: int = 1) -> str:
    return await outcome_of(bench, SECRETS[0], AGENTS[0], [Spend(1)] * count)


def kept(bench: Bench) -> tuple[int, int]:
    """Return how many uses are on the disk and in memory."""
    ((rows,),) = bench.execute("SELECT count(*) FROM use_count")
    assert isinstance(rows, int)
    return rows, sum(map(len, bench.store.memory.tallies.values()))


async def test_a_use_is_forgotten_when_it_is_in_no_window_of_its_rule(bench: Bench) -> None:
    await spend(bench, 3)
    bench.clock.advance(timedelta(seconds=60) - timedelta(microseconds=1))
    await bench.vault.tend()
    assert (kept(bench), await spend(bench)) == ((1, 1), "USE_DENIED")
    bench.clock.advance(timedelta(microseconds=1))
    await bench.vault.tend()
    assert (kept(bench), await spend(bench)) == ((0, 0), "OK")


async def test_uses_that_are_decided_together_count_for_each_other(bench: Bench) -> None:
    by = Asker("runtime", AGENTS[0], "request")
    asked = [Use(by, "Sign", SECRETS[0], (Spend(1),)) for _ in range(8)]
    outcomes = bench.store.apply(asked)
    assert [isinstance(one, UseDenied) for one in outcomes] == [False] * 3 + [True] * 5


async def test_uses_of_a_rule_that_is_gone_are_kept_for_its_return(bench: Bench) -> None:
    await spend(bench, 3)
    await bench.vault.put_policy(written(policy_of(PER_MINUTE, name="other")), by=OPERATOR)
    bench.clock.advance(timedelta(seconds=59))
    await bench.vault.tend()
    await bench.vault.put_policy(written(policy_of(PER_MINUTE)), by=OPERATOR)
    assert await spend(bench) == "USE_DENIED"
    await bench.vault.put_policy(written(policy_of(PER_MINUTE, name="other")), by=OPERATOR)
    bench.clock.advance(timedelta(seconds=WINDOW_SECONDS_MAX))
    await bench.vault.tend()
    assert kept(bench) == (0, 0)


async def test_uses_with_one_record_are_one_row(bench: Bench) -> None:
    await spend(bench, 3)
    assert kept(bench) == (1, 1)
    assert await spend(bench) == "USE_DENIED"


PER_MINUTE: Document = {"uses": 3, "per": "minute"}


@pytest.fixture
async def bench() -> Bench:
    return await open_bench(policy_of(PER_MINUTE, {"uses": 3, "per": "second"}))


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 10**30)), max_size=30),
    st.integers(-1, 21),
    st.integers(-1, 21),
)
def test_a_tally_sums_what_is_later(added: list[tuple[int, int]], until: int, after: int) -> None:
    tally = Tally()
    for row, (time, amount) in enumerate(added):
        tally.add(time, amount, row)
    gone = tally.rows_until(until, 5)
    tally.forget(len(gone))
    left = [one for row, one in enumerate(added) if row not in gone]
    assert all(added[row][0] <= until for row in gone)
    assert tally.total_after(after) == sum(amount for time, amount in left if time > after)
