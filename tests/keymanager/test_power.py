"""A cut of the power loses nothing that was acknowledged."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TypeAlias

import pytest

from chassis.database import _prepare
from keymanager.errors import SecretNotFound
from keymanager.journal import Asker, Operation
from keymanager.lifecycle import Put, Rotate, Shred
from keymanager.requests import Request
from keymanager.rotation import Begin, Step
from keymanager.rows import TABLES, VERSION
from keymanager.secret import Kind
from keymanager.signing import Purpose
from keymanager.store import VaultStore
from keymanager.uses.signatures import SignMessage
from keymanager.using import Use
from keymanager.vault import Vault
from tests.fakes.platform import FakePlatform
from tests.keymanager.power import Disk, engine_on
from tests.keymanager.vaults import OPERATOR, HandSetClock, public_key_of

REQUESTS = Asker("runtime", purpose="request")
RUNS = 20
RUNS_SOAK = 200
CUTS_PER_RUN = 50
BATCHES = 12


# The version of a secret and its seed; 0 and no seed where there is none.
Held: TypeAlias = tuple[int, bytes]
NOTHING: Held = (0, b"")


@dataclass
class Moment:
    """What a cut at some moment left, and what had been acknowledged by then."""

    files: dict[str, bytes]
    counter: int
    known: dict[str, Held]
    unsure: dict[str, Held]
    sequence: int


@dataclass
class Run:
    """A vault that works on a disk, of which cuts are taken at random moments."""

    seed: int
    moments: list[Moment] = field(default_factory=list)
    known: dict[str, Held] = field(default_factory=dict)
    unsure: dict[str, Held] = field(default_factory=dict)
    # Batches in which a rotation of the root went on, beside others.
    steps: int = 0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.platform = FakePlatform()
        self.disk = Disk(f"disk-{self.seed}")
        self.clock = HandSetClock()
        self.store = _open(self.disk, self.platform, self.dice, self.clock)
        self.disk.on_change = self._take

    def _take(self) -> None:
        if self.dice.random() < 0.4:
            self.moments.append(
                Moment(
                    self.disk.cut(self.dice),
                    self.platform.read_counter(),
                    dict(self.known),
                    dict(self.unsure),
                    self.store.sequence,
                )
            )

    def work(self) -> None:
        """Apply batches of all kinds of operations."""
        for number in range(BATCHES):
            operations = self._operations(number)
            outcomes = self.store.apply(operations)
            assert not [one for one in outcomes if isinstance(one, Exception)], outcomes
            self.known |= self.unsure
            self.unsure = {}

    def _operations(self, number: int) -> list[Operation]:
        made = [
            self._operation(number, name)
            for name in self.dice.sample([f"secrets/s{place}" for place in range(8)], 4)
        ]
        rotates = self.store.memory.stale
        self.steps += bool(rotates)
        if rotates and number % 3:
            rows_max = self.dice.choice([5, 40])
            made.insert(self.dice.randrange(5), Step(rows_max=rows_max))
        elif not rotates and number > 2:
            begin = Begin(OPERATOR, Request(f"root {number}", b""), self.store.new_epoch())
            made.insert(self.dice.randrange(5), begin)
        return made

    def _operation(self, number: int, name: str) -> Operation:
        version, _ = self.known.get(name, NOTHING)
        way = self.dice.randrange(4)
        request = Request(f"{number}/{name}", name.encode())
        value = self.dice.randbytes(32)
        if not version:
            self.unsure[name] = (1, value)
            return Put(OPERATOR, request, name, Kind.ED25519, value, generate=False)
        if way == 0:
            self.unsure[name] = NOTHING
            return Shred(OPERATOR, name)
        if way == 1:
            self.unsure[name] = (version + 1, value)
            return Rotate(OPERATOR, request, name, value, generate=False)
        operation = SignMessage(Purpose.REQUEST, b"m")
        return Use(REQUESTS, "Sign", name, (operation,))


def _open(
    disk: Disk, platform: FakePlatform, dice: random.Random, clock: HandSetClock
) -> VaultStore:
    engine = _prepare(engine_on(disk), TABLES, VERSION, None)
    return VaultStore(engine, platform, clock=clock, random_bytes=dice.randbytes)


async def _held(vault: Vault, name: str, held: tuple[Held, ...]) -> Held:
    """Return what there is of a secret, with the seed that its key proves to have."""
    try:
        version = vault.describe(name).version
    except SecretNotFound:
        return NOTHING
    public_key = (await vault.public_key(name)).value
    seeds = (seed for _, seed in held if seed and public_key_of(seed) == public_key)
    return version, next(seeds, b"")


@pytest.mark.parametrize(
    "seed",
    [
        *range(RUNS),
        *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(RUNS, RUNS_SOAK)),
    ],
)
async def test_cuts_of_the_power_lose_nothing_acknowledged(seed: int) -> None:
    run = Run(seed)
    run.work()
    assert run.steps >= 3
    assert len(run.moments) >= CUTS_PER_RUN
    for place, moment in enumerate(run.dice.sample(run.moments, CUTS_PER_RUN)):
        platform = FakePlatform()
        platform._counter = moment.counter
        disk = Disk(f"disk-{seed}-{place}", moment.files)
        store = _open(disk, platform, run.dice, run.clock)
        vault = Vault(store)
        found = dict[str, Held]()
        for name in moment.known | moment.unsure:
            known = moment.known.get(name, NOTHING)
            allowed = (known, moment.unsure.get(name, known))
            found[name] = await _held(vault, name, allowed)
            assert found[name] in allowed, (name, found[name], allowed)
        if place % 5 == 0:
            # What was going on is finished, and every key is the same after it.
            await vault.tend()
            assert not store.memory.stale
            store.memory.loaded.clear()
            for name, held in found.items():
                assert await _held(vault, name, (held,)) == held
        records = vault.records(after=0, limit=1_000)
        assert len(records) >= moment.sequence
        store._engine.dispose()
        disk.unregister()
    run.disk.unregister()
