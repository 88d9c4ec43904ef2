"""A key manager for contract tests: secrets of every kind, and what each reason needs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from chassis.server import Hosted
from keymanager.secret import Kind
from tests.grpc_fixtures import HostedFactory
from tests.keymanager.authorities import host as host_bench
from tests.keymanager.vaults import OPERATOR, Bench

# The public key of X25519 in RFC 7748, 6.1.
RECIPIENT = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
HostedBench: TypeAlias = Callable[[], Awaitable[Bench]]

AWS = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "s" * 40}
STRUCTURED = {
    "oauth": (
        Kind.OAUTH1,
        dict.fromkeys(("consumer_key", "consumer_secret", "token", "token_secret"), "x"),
    ),
    "login": (Kind.BASIC, {"username": "u", "password": "p"}),
    "aws": (Kind.AWS, AWS),
    "aws-home": (Kind.AWS, {**AWS, "region": "eu-west-1"}),
}

POLICY = """
format: actionvm.policy/v1
rules:
  - name: ask
    verdict: ask
    callers: ["*"]
    secrets: [secrets/guarded]
    operations: ["*"]
    purposes: ["*"]
  - name: all
    verdict: allow
    callers: ["*"]
    secrets: ["*"]
    operations: ["*"]
    purposes: ["*"]
  - name: never
    verdict: deny
    secrets: [secrets/forbidden]
  - name: banned
    verdict: deny
    agents: agents/banned
    # Of a key of services, who names no agent is not taken for this one.
    secrets: keys/knowledge
"""
BANNED = "agents/banned"


async def open_bench() -> Bench:
    """Return a vault with a secret of every kind, and some that must not be used."""
    bench = Bench()
    for name in ("board", "old", "disabled", "guarded", "forbidden", "several"):
        await bench.put(f"secrets/{name}")
    for name, kind in (("wallet", Kind.SECP256K1), ("es256", Kind.P256), ("mac", Kind.HMAC)):
        await bench.vault.put(name, f"secrets/{name}", kind, b"", generate=True, by=OPERATOR)
    for name, (kind, value) in STRUCTURED.items():
        await bench.put(f"secrets/{name}", json.dumps(value).encode(), kind)
    for name in ("bearer", "rotated", "gone"):
        await bench.put(f"secrets/{name}", b"value")
    await bench.vault.disable("secrets/disabled", by=OPERATOR)
    await bench.rotate("secrets/several")
    await bench.vault.put_policy(POLICY, by=OPERATOR)
    return bench


def host(bench_of: HostedBench = open_bench) -> HostedFactory:
    """Return what serves a bench over gRPC."""

    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        bench = await bench_of()
        yield host_bench(bench)

    return build
