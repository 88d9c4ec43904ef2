"""Any order of calls leaves what a plain dictionary would hold, also over restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chassis.errors import RequestIdReused
from keymanager.errors import SecretExists, SecretNotFound
from keymanager.secret import Kind
from tests.keymanager.vaults import OPERATOR, Bench, public_key_of

NAMES = st.sampled_from(["secrets/a", "secrets/b", "secrets/c"])
VALUES = st.sampled_from([b"1" * 32, b"2" * 32])
# Few ids, so that they repeat.
REQUEST_IDS = st.integers(1, 8).map(str)

Result = TypeVar("Result")


class LifeCycle(RuleBasedStateMachine):
    """Calls the vault and a dictionary at once."""

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.bench = Bench()
        self.values: dict[str, tuple[int, bytes]] = {}
        self.requests: dict[str, tuple[object, int]] = {}

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    def _run(self, call: Coroutine[None, None, Result]) -> Result:
        return self.loop.run_until_complete(call)

    @rule(request_id=REQUEST_IDS, name=NAMES, value=VALUES)
    def put(self, request_id: str, name: str, value: bytes) -> None:
        call = ("put", name, value)
        try:
            answer = self._run(
                self.bench.vault.put(
                    request_id, name, Kind.ED25519, value, generate=False, by=OPERATOR
                )
            )
        except RequestIdReused:
            assert self.requests[request_id][0] != call
        except SecretExists:
            assert request_id not in self.requests
            assert name in self.values
        else:
            self._record(request_id, call, 1, answer.version)

    @rule(request_id=REQUEST_IDS, name=NAMES, value=VALUES)
    def rotate(self, request_id: str, name: str, value: bytes) -> None:
        call = ("rotate", name, value)
        try:
            answer = self._run(
                self.bench.vault.rotate(request_id, name, value, generate=False, by=OPERATOR)
            )
        except RequestIdReused:
            assert self.requests[request_id][0] != call
        except SecretNotFound:
            assert request_id not in self.requests
            assert name not in self.values
        else:
            version = self.values[name][0] + 1
            self._record(request_id, call, version, answer.version)

    def _record(
        self, request_id: str, call: tuple[str, str, bytes], version: int, answered: int
    ) -> None:
        if request_id not in self.requests:
            self.requests[request_id] = (call, version)
            self.values[call[1]] = (version, call[2])
        assert self.requests[request_id] == (call, answered)

    @rule(name=NAMES)
    def shred(self, name: str) -> None:
        try:
            self._run(self.bench.vault.shred(name, by=OPERATOR))
        except SecretNotFound:
            assert name not in self.values
        else:
            del self.values[name]
            # What was asked for a shredded secret is never the same request again.
            for request_id, (call, version) in self.requests.items():
                if isinstance(call, tuple) and call[1] == name:
                    self.requests[request_id] = (None, version)

    @rule()
    def restart(self) -> None:
        self.bench.open()

    @rule()
    def rotate_root(self) -> None:
        request_id = f"root {self.bench.vault.sequence}"
        self._run(self.bench.vault.rotate_root(request_id, by=OPERATOR))

    @invariant()
    def values_are_those_of_the_dictionary(self) -> None:
        found = self.bench.vault.describe_all(after="", limit=10)
        keys = {
            secret.name: (
                secret.version,
                self._run(self.bench.vault.public_key(secret.name)).value,
            )
            for secret in found
        }
        assert keys == {
            name: (version, public_key_of(value)) for name, (version, value) in self.values.items()
        }


LifeCycle.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestLifeCycle = LifeCycle.TestCase
