"""The peer of the ledger on PostgreSQL: a transaction for each operation, and a row lock."""

from __future__ import annotations

import asyncio
import time

import psycopg
import uvloop

CONNECTIONS = 16
GAS_HELD, GAS_CHARGED = 1_012, 602

TABLES = """
CREATE TABLE account (name TEXT PRIMARY KEY, gas_limit BIGINT, gas_spent BIGINT);
CREATE TABLE hold (name TEXT PRIMARY KEY, gas BIGINT, charged BIGINT);
CREATE TABLE entry (sequence BIGSERIAL PRIMARY KEY, debit TEXT, credit TEXT, gas BIGINT);
INSERT INTO account VALUES ('agents/a', 1000000000000000, 0);
"""
TAKE = """
UPDATE account SET gas_spent = gas_spent + %(gas)s
WHERE name = 'agents/a' AND gas_spent + %(gas)s <= gas_limit
"""
HOLD = "INSERT INTO hold VALUES (%(name)s, %(gas)s, NULL) ON CONFLICT DO NOTHING"
CHARGE = "UPDATE hold SET charged = %(gas)s WHERE name = %(name)s AND charged IS NULL"
ENTER = "INSERT INTO entry (debit, credit, gas) VALUES ('agents/a', 'providers/local', %(gas)s)"


def measure(url: str, pairs: int) -> float:
    """Return pairs per second of connections that hold from one account and settle."""
    address = url.replace("+psycopg", "")
    with psycopg.connect(address) as connection:
        connection.execute(TABLES)
    rate = uvloop.run(_measure(address, pairs))
    with psycopg.connect(address) as connection:
        row = connection.execute("SELECT gas_spent FROM account").fetchone()
        assert row == (pairs * GAS_CHARGED,), row
    return rate


async def _measure(address: str, pairs: int) -> float:
    numbers = iter(range(pairs))
    connections = [await psycopg.AsyncConnection.connect(address) for _ in range(CONNECTIONS)]

    async def spend(connection: psycopg.AsyncConnection) -> None:
        for number in numbers:
            held = {"name": f"holds/{number}", "gas": GAS_HELD}
            charged = {"name": f"holds/{number}", "gas": GAS_CHARGED}
            async with connection.transaction():
                await connection.execute(HOLD, held)
                await connection.execute(TAKE, held)
            async with connection.transaction():
                await connection.execute(CHARGE, charged)
                await connection.execute(ENTER, charged)
                await connection.execute(TAKE, {"gas": GAS_CHARGED - GAS_HELD})

    start = time.perf_counter()
    await asyncio.gather(*map(spend, connections))
    elapsed = time.perf_counter() - start
    for connection in connections:
        await connection.close()
    return pairs / elapsed
