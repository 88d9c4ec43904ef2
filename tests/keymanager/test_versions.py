"""Old versions work where they are named, and what they encrypted opens until they are shredded."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chassis.errors import InvalidField
from keymanager.errors import TooManyVersions, VersionNotFound
from keymanager.journal import Asker
from keymanager.lifecycle import VERSIONS_MAX
from keymanager.secret import Kind
from keymanager.upkeep import ENDED
from keymanager.uses.basic import BasicHeaders
from keymanager.uses.envelopes import Decrypt, Encrypt
from keymanager.uses.handover import Release
from keymanager.uses.operation import Headers
from tests.keymanager.vaults import OPERATOR, Bench

CONTEXT = "collections/brand"
RECIPIENT = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
KNOWLEDGE = Asker("knowledge", purpose="knowledge")
URL = "https://api.example.com/"


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.vault.put("r1", "secrets/d", Kind.DATA, b"", generate=True, by=OPERATOR)
    return made


async def _encrypt(bench: Bench) -> bytes:
    operation = Encrypt(CONTEXT, b"value")
    return await bench.vault.use("secrets/d", operation, method="Encrypt", by=KNOWLEDGE)


async def _decrypt(bench: Bench, ciphertext: bytes) -> bytes:
    operation = Decrypt(CONTEXT, ciphertext, RECIPIENT)
    return await bench.vault.use("secrets/d", operation, method="Decrypt", by=KNOWLEDGE)


async def test_what_a_data_key_encrypted_opens_after_rotations_without_a_grace(
    bench: Bench,
) -> None:
    first = await _encrypt(bench)
    for _ in range(2):
        await bench.rotate("secrets/d")
    bench.open()
    await bench.vault.tend()
    assert await _decrypt(bench, first)
    assert [one.number for one in bench.vault.describe("secrets/d").versions] == [1, 2, 3]


async def test_a_shredded_version_of_a_data_key_opens_nothing(bench: Bench) -> None:
    first = await _encrypt(bench)
    await bench.rotate("secrets/d")
    await bench.vault.shred_version("secrets/d", 1, by=OPERATOR)
    with pytest.raises(InvalidField):
        await _decrypt(bench, first)


async def test_a_data_key_ends_with_a_grace_that_was_given(bench: Bench) -> None:
    first = await _encrypt(bench)
    await bench.rotate("secrets/d", grace=timedelta(hours=1))
    assert await _decrypt(bench, first)
    bench.clock.advance(timedelta(hours=1))
    with pytest.raises(InvalidField):
        await _decrypt(bench, first)


def test_versions_that_ended_are_found_without_reading_all() -> None:
    bench = Bench()
    plan = bench.execute(f"EXPLAIN QUERY PLAN SELECT * FROM version {ENDED}", (1, 1))  # noqa: S608  # ours
    assert "ix_version_end" in str(plan)


async def test_a_secret_has_only_so_many_versions(bench: Bench) -> None:
    for _ in range(VERSIONS_MAX - 1):
        await bench.rotate("secrets/d")
    with pytest.raises(TooManyVersions):
        await bench.rotate("secrets/d")


async def test_the_version_before_of_a_login_works_where_it_is_named() -> None:
    bench = Bench()
    await bench.put("secrets/l", b'{"username": "u", "password": "old"}', Kind.BASIC)
    by = Asker("runtime", "agents/a", "request")

    async def authorize(version: int) -> Headers:
        operation = BasicHeaders("GET", URL)
        return await bench.vault.use(
            "secrets/l", operation, method="AuthorizeRequest", by=by, version=version
        )

    before = await authorize(0)
    await bench.rotate(
        "secrets/l", b'{"username": "u", "password": "new"}', grace=timedelta(hours=1)
    )
    assert (await authorize(1) == before, await authorize(0) == before) == (True, False)


async def test_the_version_before_of_a_bearer_key_is_released_where_it_is_named() -> None:
    bench = Bench()
    await bench.put("secrets/k", b"old")
    await bench.rotate("secrets/k", b"new", grace=timedelta(hours=1))
    release = Release("generation", RECIPIENT)
    by = Asker("linker", "agents/a", "generation")
    assert (await bench.vault.release("secrets/k", release, by=by, version=1)).version == 1
    assert (await bench.vault.release("secrets/k", release, by=by)).version == 2
    bench.clock.advance(timedelta(hours=1))
    with pytest.raises(VersionNotFound):
        await bench.vault.release("secrets/k", release, by=by, version=1)
