"""A file of the first release opens, and its charges are in the ledger."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from chassis.database import SchemaTooNew
from gas.chain import DEFAULT_TENANT
from gas.database import open_ledger_database
from gas.entries import Fee, first_break
from gas.ledger import HoldState
from gas.market.operations import MakeBill
from gas.operations import Held, Reserve, Settle
from gas.tables import VERSION
from tests.gas.ledgers import (
    ACCOUNT,
    HandSetClock,
    Ledger,
    budget,
    open_ledger,
    reservation,
    run_name,
)
from tests.gas.postgres import Postgres

# What the first release made, and wrote of one account with a hold in each state.
FIRST_RELEASE = """
CREATE TABLE budget (account VARCHAR NOT NULL, origin VARCHAR NOT NULL, period VARCHAR NOT NULL,
    gas_limit INTEGER NOT NULL, PRIMARY KEY (account, origin));
CREATE TABLE spending (account VARCHAR NOT NULL, hour VARCHAR NOT NULL, gas INTEGER NOT NULL,
    PRIMARY KEY (account, hour));
CREATE TABLE run (name VARCHAR NOT NULL, account VARCHAR NOT NULL, closed BOOLEAN NOT NULL,
    PRIMARY KEY (name));
CREATE TABLE hold (name VARCHAR NOT NULL, request_id VARCHAR NOT NULL, account VARCHAR NOT NULL,
    run VARCHAR NOT NULL, item VARCHAR NOT NULL, usages VARCHAR NOT NULL,
    price_version VARCHAR NOT NULL, gas_per_thousand VARCHAR NOT NULL, gas INTEGER NOT NULL,
    create_time VARCHAR NOT NULL, state VARCHAR NOT NULL, line INTEGER NOT NULL,
    charged_usages VARCHAR NOT NULL, charged_gas INTEGER NOT NULL, PRIMARY KEY (name),
    UNIQUE (request_id));
CREATE INDEX ix_hold_run ON hold (run);
CREATE TABLE consumption (account VARCHAR NOT NULL, item VARCHAR NOT NULL, usages VARCHAR NOT NULL,
    gas INTEGER NOT NULL, charge_count INTEGER NOT NULL, PRIMARY KEY (account, item));
PRAGMA user_version=1;
INSERT INTO budget VALUES ('agents/market-brief', 'operator', 'day', 100);
INSERT INTO spending VALUES ('agents/market-brief', '2026-03-31T22:00:00+00:00', 17);
INSERT INTO run VALUES ('{run}', 'agents/market-brief', 0);
INSERT INTO consumption VALUES ('agents/market-brief', 'model local/babbler',
    '[["METER_INPUT_TOKENS", 7]]', 7, 1);
"""
HOLD = """
INSERT INTO hold VALUES (?, ?, 'agents/market-brief', ?, 'model local/babbler',
    '[["METER_INPUT_TOKENS", 10]]', 'abc', '{"METER_INPUT_TOKENS": 1000}', 10,
    '2026-03-31T22:30:00+00:00', ?, ?, ?, ?)
"""
# What the second one had besides, of a ledger without charges.
SECOND_RELEASE = """
ALTER TABLE run ADD COLUMN line_count BIGINT NOT NULL DEFAULT 0;
ALTER TABLE hold ADD COLUMN expire_time TEXT NOT NULL DEFAULT '';
ALTER TABLE hold ADD COLUMN refunded_gas BIGINT NOT NULL DEFAULT 0;
CREATE TABLE entry (sequence INTEGER NOT NULL, kind TEXT NOT NULL, account TEXT NOT NULL,
    payee TEXT NOT NULL, gas BIGINT NOT NULL, hold TEXT NOT NULL, line BIGINT NOT NULL,
    item TEXT NOT NULL, usages TEXT NOT NULL, price_version TEXT NOT NULL, cause TEXT NOT NULL,
    create_time TEXT NOT NULL, chain_hash BLOB NOT NULL, PRIMARY KEY (sequence));
CREATE INDEX ix_entry_account ON entry (account, sequence);
CREATE TABLE refund (request_id TEXT NOT NULL, hold TEXT NOT NULL, gas BIGINT NOT NULL,
    cause TEXT NOT NULL, PRIMARY KEY (request_id));
CREATE TABLE fence (epoch BIGINT NOT NULL, PRIMARY KEY (epoch));
INSERT INTO fence VALUES (3);
UPDATE hold SET expire_time = '2026-03-31T23:30:00+00:00';
DELETE FROM hold WHERE name = 'holds/settled';
PRAGMA user_version=2;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "gas.db"
    connection = sqlite3.connect(found)
    connection.executescript(FIRST_RELEASE.replace("{run}", run_name(1)))
    for name, state, line, usages, gas in (
        ("open", "open", 0, "[]", 0),
        ("settled", "settled", 1, '[["METER_INPUT_TOKENS", 7]]', 7),
        ("released", "released", 0, "[]", 0),
    ):
        connection.execute(HOLD, (f"holds/{name}", name, run_name(1), state, line, usages, gas))
    connection.commit()
    connection.close()
    return found


@pytest.fixture
def store(path: Path) -> Ledger:
    return open_ledger(path)


def test_what_was_charged_is_an_entry(store: Ledger) -> None:
    (entry,) = store.store.entries(0, limit=10)

    assert (entry.hold, entry.gas_charged, entry.create_time) == (
        "holds/settled",
        7,
        HandSetClock().now(),
    )
    assert first_break([entry]) is None


@pytest.mark.parametrize("state", [HoldState.OPEN, HoldState.SETTLED, HoldState.RELEASED])
def test_every_hold_is_found_by_its_request(store: Ledger, state: HoldState) -> None:
    assert store.reserve(reservation(state.value, 10)).state is state


def test_the_budget_and_the_receipt_go_on(store: Ledger) -> None:
    store.settle("holds/open", reservation("open", 3).usages)

    assert store.budgets(ACCOUNT)[0].gas_spent == 10
    assert [charge.gas for charge in store.receipt(run_name(1)).charges] == [7, 3]


def test_a_migrated_file_opens_again(path: Path) -> None:
    open_ledger(path)

    assert len(open_ledger(path).store.entries(0, limit=10)) == 1


def test_a_file_of_a_later_release_is_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={VERSION + 1}")
    connection.close()

    with pytest.raises(SchemaTooNew):
        open_ledger_database(path, "")


def test_all_agents_of_before_were_in_one_tenant(store: Ledger) -> None:
    store.set_budget(budget(100, account=DEFAULT_TENANT))

    assert store.budgets(DEFAULT_TENANT)[0].gas_spent == 17


def test_what_a_hold_of_before_gives_back_can_be_spent_again(store: Ledger) -> None:
    store.refund("f", "holds/settled", 7)
    store.release("holds/open")

    assert store.budgets(ACCOUNT)[0].gas_spent == 0


def test_a_new_budget_counts_what_was_held_before(store: Ledger) -> None:
    parts = {"model *": 17, "action *": 0}

    found = {
        item: store.set_budget(replace(budget(100), id="part", item=item)).gas_spent
        for item in parts
    }

    assert found == parts


def test_a_file_of_the_second_release_goes_on(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(SECOND_RELEASE)
    connection.close()

    store = open_ledger(path)

    assert store.budgets(ACCOUNT) == [replace(budget(100), gas_spent=10)]
    store.release("holds/open")
    assert store.budgets(ACCOUNT)[0].gas_spent == 0


def test_a_ledger_of_the_third_release_takes_fees(engine: Engine) -> None:
    store = open_ledger(engine=engine)
    store.set_budget(budget(100))
    store.settle(store.reserve(reservation("r", 10)).name, reservation("r", 10).usages)
    store.close_run(run_name(1), ACCOUNT)
    _take_back_to_third_release(engine)

    again = _open_again(engine)
    store = open_ledger(engine=again)
    store.apply(MakeBill(run_name(1), ""))
    charged, paid = store.store.entries(0, limit=9)
    again.dispose()

    assert (charged.fee, paid.fee) == (None, Fee(run_name(1), 1, "USD"))
    assert first_break([charged, paid]) is None


def _take_back_to_third_release(engine: Engine) -> None:
    is_file = engine.dialect.name == "sqlite"
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE entry DROP COLUMN fee"))
        version = "PRAGMA user_version=3" if is_file else "UPDATE schema_version SET version = 3"
        connection.execute(text(version))


def _open_again(engine: Engine) -> Engine:
    url, path = engine.url, Path(engine.url.database or "")
    is_file = engine.dialect.name == "sqlite"
    return open_ledger_database(path, "" if is_file else url.render_as_string(hide_password=False))


def test_holds_leave_room_for_their_end_on_postgres(postgres: Postgres) -> None:
    engine, size = open_ledger_database(Path(), postgres.fresh_database()), 400
    store = open_ledger(engine=engine)
    store.set_budget(budget(10**6))
    asked = [Reserve(reservation(f"r{number}", 1)) for number in range(size)]
    held = [one.hold for one in store.store.apply(asked) if isinstance(one, Held)]
    before = _pages(engine)
    store.store.apply([Settle(hold.name, reservation("r", 1).usages) for hold in held])

    stayed = [name for name, page in _pages(engine).items() if page == before[name]]
    engine.dispose()

    # Of full pages, all but the last would have moved.
    assert len(stayed) > size // 2


def _pages(engine: Engine) -> dict[str, str]:
    """Return in which page each hold is."""
    with engine.begin() as connection:
        rows = connection.execute(text("SELECT name, ctid::text FROM hold")).all()
    return {name: place.partition(",")[0] for name, place in rows}
