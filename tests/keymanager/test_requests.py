"""A repeated request has no second effect and the first answer; another one needs another id."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chassis.errors import RequestIdReused
from keymanager.secret import Kind, State
from tests.keymanager.test_vault import SEED, public_key, put, rotate
from tests.keymanager.vaults import OPERATOR, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_repeated_put_gives_the_first_answer_even_after_a_rotation(bench: Bench) -> None:
    first = await put(bench, "r1")
    bench.clock.advance(timedelta(hours=1))
    await rotate(bench, "r2")
    again = await put(bench, "r1")
    assert (again.version, again.rotate_time) == (first.version, first.rotate_time)


async def test_a_repeated_put_keeps_the_first_generated_value(bench: Bench) -> None:
    await put(bench, "r1", value=b"", generate=True)
    first = await public_key(bench)
    await put(bench, "r1", value=b"", generate=True)
    assert await public_key(bench) == first


@pytest.mark.parametrize(
    ("name", "kind", "value", "generate"),
    [
        ("secrets/b", Kind.ED25519, SEED, False),
        ("secrets/a", Kind.API_KEY, SEED, False),
        ("secrets/a", Kind.ED25519, bytes(32), False),
        ("secrets/a", Kind.ED25519, b"", True),
    ],
)
async def test_a_request_id_with_other_content_is_refused(
    bench: Bench, name: str, kind: Kind, value: bytes, *, generate: bool
) -> None:
    await put(bench, "r1")
    with pytest.raises(RequestIdReused):
        await put(bench, "r1", name, kind, value, generate=generate)


async def test_a_request_id_with_another_tenant_is_refused(bench: Bench) -> None:
    await put(bench, "r1")
    with pytest.raises(RequestIdReused):
        await bench.vault.put(
            "r1",
            "secrets/a",
            Kind.ED25519,
            SEED,
            generate=False,
            by=OPERATOR,
            tenant="tenants/other",
        )


async def test_a_request_id_of_a_put_is_refused_for_a_rotation(bench: Bench) -> None:
    await put(bench, "r1")
    with pytest.raises(RequestIdReused):
        await rotate(bench, "r1", SEED)


async def test_a_repeated_rotation_rotates_once(bench: Bench) -> None:
    await put(bench, "r1")
    assert [(await rotate(bench, "r2")).version for _ in range(2)] == [2, 2]


async def test_a_repeated_rotation_gives_the_same_answer(bench: Bench) -> None:
    await put(bench, "r1")
    await bench.vault.disable("secrets/a", by=OPERATOR)
    first = await rotate(bench, "r2", grace=timedelta(hours=1))
    assert (len(first.versions), first.state) == (2, State.DISABLED)
    await bench.vault.enable("secrets/a", by=OPERATOR)
    bench.open()
    assert await rotate(bench, "r2", grace=timedelta(hours=1)) == first


async def test_a_late_repeat_does_not_bring_a_shredded_secret_back(bench: Bench) -> None:
    await put(bench, "r1")
    await bench.vault.shred("secrets/a", by=OPERATOR)
    with pytest.raises(RequestIdReused):
        await put(bench, "r1")
