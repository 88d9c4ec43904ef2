"""What is limited and spent, in rows: budgets, their steps, and what every run spent when."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Row,
    Table,
    and_,
    delete,
    func,
    literal,
    select,
)
from sqlalchemy import text as sql

from .account import Account
from .accounts import Accounts, Past, SpendingKey
from .budgets import Budget, BudgetKey, Origin, Standing, Tally
from .bulk import Bulk, bulk_of
from .chain import DEFAULT_TENANT
from .errors import AccountNotFound
from .ledger import HoldState
from .tables import HOLD, TABLES, TENANCY, Value, Values, gas_column, text_column
from .windows import Period, quarter

BUDGET = Table(
    "budget",
    TABLES,
    text_column("account", key=True),
    text_column("origin", key=True),
    text_column("id", key=True),
    text_column("period"),
    gas_column("gas_limit"),
    text_column("run"),
    text_column("item"),
    text_column("time_zone"),
    gas_column("window_seconds"),
    Column("soft", Boolean, nullable=False),
    text_column("since"),
    text_column("warned"),
)
# Gas of each step of a budget's window.
BUDGET_STEP = Table(
    "budget_step",
    TABLES,
    text_column("account", key=True),
    text_column("origin", key=True),
    text_column("id", key=True),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    gas_column("gas"),
)
# Gas that holds of a quarter of an hour have charged or hold, for the budgets that are set later.
SPENDING = Table(
    "spending",
    TABLES,
    text_column("account", key=True),
    Column("quarter", BigInteger, primary_key=True, autoincrement=False),
    text_column("run", key=True),
    text_column("item", key=True),
    gas_column("gas"),
)


def read_accounts(connection: Connection, names: Sequence[str]) -> dict[str, Account]:
    """Return accounts with what is limited and spent, also of unknown ones."""
    steps: defaultdict[BudgetKey, dict[int, int]] = defaultdict(dict)
    for row in connection.execute(select(BUDGET_STEP).where(BUDGET_STEP.c.account.in_(names))):
        steps[row.account, row.origin, row.id][row.step] = row.gas
    tallies: dict[str, list[Tally]] = {name: [] for name in names}
    for row in connection.execute(select(BUDGET).where(BUDGET.c.account.in_(names))):
        tallies[row.account].append(_tally_of(row, steps[row.account, row.origin, row.id]))
    return {name: Account(name, tallies[name]) for name in names}


def read_standing(connection: Connection, account: str, now: datetime) -> Standing:
    """Return how far the budgets of an account are used up, or raise `AccountNotFound`."""
    query = select(TENANCY.c.tenant).where(TENANCY.c.account == account)
    tenant = connection.execute(query).scalar() or DEFAULT_TENANT
    accounts = read_accounts(connection, [account, tenant])
    found = accounts[account]
    if not found and not _has_spent(connection, account):
        raise AccountNotFound(account)
    return found.standing(now, accounts[tenant] if found.is_agent else None)


def _has_spent(connection: Connection, account: str) -> bool:
    found = select(literal(1)).where(SPENDING.c.account == account).limit(1)
    return connection.execute(found).first() is not None


def past_of(connection: Connection) -> Past:
    """Return how to read what was spent before a budget was set."""

    def past(budget: Budget, start: int) -> Iterator[tuple[str, int, int]]:
        query = select(SPENDING.c.item, SPENDING.c.quarter, func.sum(SPENDING.c.gas))
        query = query.where(SPENDING.c.account == budget.account, SPENDING.c.quarter >= start)
        if budget.run:
            query = query.where(SPENDING.c.run == budget.run)
        grouped = query.group_by(SPENDING.c.item, SPENDING.c.quarter)
        for item, quarter_start, gas in connection.execute(grouped):
            # Sums of PostgreSQL are decimals.
            yield item, quarter_start, int(gas)

    return past


def write_accounts(connection: Connection, accounts: Accounts, bulk: Bulk) -> None:
    """Write what a batch has changed."""
    changes = accounts.changes
    tallies: list[Tally] = []
    for key in changes.budgets:
        tally = accounts[key[0]].tally(key)
        if tally is None:
            connection.execute(delete(BUDGET).where(_is(BUDGET, key)))
            connection.execute(delete(BUDGET_STEP).where(_is(BUDGET_STEP, key)))
        else:
            tallies.append(tally)
    bulk.upsert(connection, BUDGET, [_tally_values(tally) for tally in tallies])
    steps = changes.steps
    for key in changes.rewritten:
        connection.execute(delete(BUDGET_STEP).where(_is(BUDGET_STEP, key)))
        tally = accounts[key[0]].tally(key)
        steps |= {(key, step): None for step in (tally.gas_by_step if tally else ())}
    bulk.upsert(connection, BUDGET_STEP, list(_step_values(accounts, steps)))
    bulk.add(connection, SPENDING, [(*key, gas) for key, gas in changes.spendings.items() if gas])


def _step_values(accounts: Accounts, steps: Iterable[tuple[BudgetKey, int]]) -> Iterator[Values]:
    for key, step in steps:
        tally = accounts[key[0]].tally(key)
        # It may be lifted, or the step forgotten, since.
        gas = tally.gas_by_step.get(step) if tally else None
        if gas is not None:
            yield (*key, step, gas)


def _is(table: Table, key: BudgetKey) -> ColumnElement[bool]:
    account, origin, id_ = key
    return and_(table.c.account == account, table.c.origin == origin, table.c.id == id_)


def _tally_values(tally: Tally) -> Values:
    one = tally.budget
    return (
        *one.key,
        one.period.value,
        one.gas_limit,
        one.run,
        one.item,
        one.time_zone,
        one.window_seconds,
        one.soft,
        tally.since.isoformat(),
        json.dumps(list(tally.warned.items())),
    )


def _tally_of(row: Row[tuple[Value, ...]], gas_by_step: dict[int, int]) -> Tally:
    budget = Budget(
        account=row.account,
        origin=Origin(row.origin),
        id=row.id,
        period=Period(row.period),
        gas_limit=row.gas_limit,
        run=row.run,
        item=row.item,
        time_zone=row.time_zone,
        window_seconds=row.window_seconds,
        soft=bool(row.soft),
    )
    since, warned = datetime.fromisoformat(row.since), dict(json.loads(row.warned))
    return Tally(budget, since=since, gas_by_step=gas_by_step, warned=warned)


def migrate_budgets(connection: Connection) -> None:
    """Make the budgets and the spending of this version from those of the ones before.

    What was spent is summed up from the holds; everybody was in one tenant, which nobody knew.
    """
    limits = connection.execute(sql("SELECT account, origin, period, gas_limit FROM budget")).all()
    for table in ("budget", "spending"):
        connection.execute(sql(f"DROP TABLE {table}"))
    TABLES.create_all(connection, tables=[BUDGET, BUDGET_STEP, SPENDING])
    spendings = _spendings(connection)
    accounts = Accounts()
    for name, origin, period, gas_limit in limits:
        budget = Budget(name, Origin(origin), Period(period), gas_limit)
        tally = Tally(budget, since=datetime.fromtimestamp(0, UTC))
        accounts.setdefault(name, Account(name)).put(tally)
        accounts.changes.budgets[budget.key] = None
        accounts.changes.rewritten[budget.key] = None
    for (name, quarter_start, run, item), gas in spendings.items():
        for tally in accounts[name].applying(run, item) if name in accounts else ():
            tally.add_past(quarter_start, gas)
    accounts.changes.spendings = spendings
    write_accounts(connection, accounts, bulk_of(connection.engine))


def _spendings(connection: Connection) -> defaultdict[SpendingKey, int]:
    found: defaultdict[SpendingKey, int] = defaultdict(int)
    final = [HoldState.SETTLED.value, HoldState.RELEASED.value]
    for row in connection.execute(
        select(
            HOLD.c.account,
            HOLD.c.run,
            HOLD.c.item,
            HOLD.c.create_time,
            HOLD.c.state.in_(final).label("is_final"),
            HOLD.c.gas,
            (HOLD.c.charged_gas - HOLD.c.refunded_gas).label("left"),
        )
    ):
        start = quarter(datetime.fromisoformat(row.create_time))
        gas = row.left if row.is_final else row.gas
        found[row.account, start, row.run, row.item] += gas
        found[DEFAULT_TENANT, start, "", row.item] += gas
    return found
