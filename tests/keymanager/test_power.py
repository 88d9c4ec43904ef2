"""A cut of the power loses nothing that was acknowledged."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from chassis.database import _prepare
from keymanager.errors import SecretNotFound
from keymanager.journal import Asker, Operation
from keymanager.lifecycle import Put, Rotate, Shred
from keymanager.requests import Request
from keymanager.rotation import Begin, Step
from keymanager.rows import TABLES, VERSION
from keymanager.secret import Kind, Secret
from keymanager.signing import Purpose
from keymanager.store import VaultStore
from keymanager.uses.signatures import SignMessage
from keymanager.using import Use
from keymanager.vault import Vault
from tests.fakes.platform import FakePlatform
from tests.keymanager.power import Disk, engine_on
from tests.keymanager.vaults import OPERATOR, HandSetClock

REQUESTS = Asker("runtime", purpose="request")
RUNS = 20
RUNS_SOAK = 200
CUTS_PER_RUN = 50
BATCHES = 12


@dataclass
class Moment:
    """What a cut at some moment left, and what had been acknowledged by then."""

    files: dict[str, bytes]
    counter: int
    known: dict[str, int]
    unsure: dict[str, int]
    sequence: int


@dataclass
class Run:
    """A vault that works on a disk, of which cuts are taken at random moments."""

    seed: int
    moments: list[Moment] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)
    unsure: dict[str, int] = field(default_factory=dict)

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
        if number % 6 == 4:
            return [Begin(OPERATOR, Request(f"root {number}", b""), self.store.new_epoch())]
        if number % 6 == 5:
            return [Step(rows_max=1_000)]
        made = list[Operation]()
        for name in self.dice.sample([f"secrets/s{place}" for place in range(8)], 4):
            version = self.known.get(name, 0)
            way = self.dice.randrange(4)
            request = Request(f"{number}/{name}", name.encode())
            if not version:
                made.append(Put(OPERATOR, request, name, Kind.ED25519, b"", generate=True))
                self.unsure[name] = 1
            elif way == 0:
                made.append(Shred(OPERATOR, name))
                self.unsure[name] = 0
            elif way == 1:
                made.append(Rotate(OPERATOR, request, name, b"", generate=True))
                self.unsure[name] = version + 1
            else:
                operation = SignMessage(Purpose.REQUEST, b"m")
                made.append(Use(REQUESTS, "Sign", name, (operation,)))
        return made


def _open(
    disk: Disk, platform: FakePlatform, dice: random.Random, clock: HandSetClock
) -> VaultStore:
    engine = _prepare(engine_on(disk), TABLES, VERSION, None)
    return VaultStore(engine, platform, clock=clock, random_bytes=dice.randbytes)


def _version(vault: Vault, name: str) -> int:
    try:
        found: Secret = vault.describe(name)
    except SecretNotFound:
        return 0
    return found.version


@pytest.mark.parametrize(
    "seed",
    [
        *range(RUNS),
        *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(RUNS, RUNS_SOAK)),
    ],
)
def test_cuts_of_the_power_lose_nothing_acknowledged(seed: int) -> None:
    run = Run(seed)
    run.work()
    assert len(run.moments) >= CUTS_PER_RUN
    for place, moment in enumerate(run.dice.sample(run.moments, CUTS_PER_RUN)):
        platform = FakePlatform()
        platform._counter = moment.counter
        disk = Disk(f"disk-{seed}-{place}", moment.files)
        store = _open(disk, platform, run.dice, run.clock)
        vault = Vault(store)
        for name, version in moment.known.items():
            allowed = {version, moment.unsure.get(name, version)}
            assert _version(vault, name) in allowed, (name, allowed)
        records = vault.records(after=0, limit=1_000)
        assert len(records) >= moment.sequence
        store._engine.dispose()
        disk.unregister()
    run.disk.unregister()
