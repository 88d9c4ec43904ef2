"""A stand for tests of connectors: the action, its service, and a key that must not show."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator
from pydantic import JsonValue

from runtime.connectors import Connector, Draft, Order, Result
from runtime.ports import Authorized, WebRequest
from tests.fakes.front import Fault, Says
from tests.fakes.runtime_ports import FakeSigner
from tests.system.canaries import encodings

CANARY = "sk-canary-0123456789abcdef"
_FORMS = tuple(encodings(CANARY.encode()).values())
ORDER = Order(
    key="runs/00000000-0000-4000-8000-000000000001/call/step-1-1",
    account="agents/brief",
    arguments={},
    settings={},
    credential="",
    collections=(),
    time=datetime(2026, 1, 1, tzinfo=UTC),
)
TOO_OFTEN = Says(429, headers=("retry-after: 7",))


def shows_key(content: bytes) -> bool:
    """Tell whether something has the canary in it, however it is written."""
    return any(form in content for form in _FORMS)


class CanarySigner(FakeSigner):
    """`Signer` whose keys are the canary, where the key itself is sent."""

    async def authorize_request(
        self, credential: str, request: WebRequest, *, account: str
    ) -> Authorized:
        """Authenticate as the key manager does."""
        authorized = await super().authorize_request(credential, request, account=account)
        match request.scheme:
            case "bearer":
                return Authorized({"Authorization": f"{request.token_type or 'Bearer'} {CANARY}"})
            case "key_header":
                return Authorized({request.key_header: CANARY})
            case "key_url":
                return Authorized({}, request.url.replace("{key}", CANARY))
            case "smtp":
                login = base64.b64encode(f"\0crier\0{CANARY}".encode()).decode()
                return Authorized({"AUTH": f"PLAIN {login}"})
        return authorized


class Service(Protocol):
    """What a connector asks, as `tests.fakes.front` has it before any fake."""

    def fail_next(self, *faults: Fault) -> None:
        """Fail the next requests, in order."""

    @property
    def arrived(self) -> int:
        """Return how many requests came."""

    @property
    def heard(self) -> bytes:
        """Return all that came."""


@dataclass
class Stand:
    """An action before its service.

    `effects` counts what calls have done, 0 at first; `leave` takes the service away. Without a
    service, the action asks nobody over a network.
    """

    connector: Connector
    order: Order
    signer: FakeSigner = field(default_factory=CanarySigner)
    service: Service | None = None
    effects: Callable[[], int] = lambda: 0
    leave: Callable[[], None] = lambda: None

    @property
    def arrived(self) -> int:
        """Return how many requests came."""
        return self.service.arrived if self.service else 0

    @property
    def keys_used(self) -> int:
        """Return how often a key was used."""
        return len(self.signer.requests) + len(self.signer.authorized)

    def fail_next(self, fault: Fault, subject: Subject) -> None:
        """Fail the request that counts, however often it is sent."""
        assert self.service is not None, "somebody is asked"
        fine: list[Fault] = [""] * subject.lookups
        self.service.fail_next(*fine, *[fault] * subject.attempts)

    async def perform(self) -> Result:
        """Perform the call; what it gives is what the descriptor says."""
        result = await self.connector.perform(self.order)
        check_result(self.connector, result)
        return result

    def action(self, **changes: object) -> dict[str, Any]:
        """Return the action as a bundle has it."""
        descriptor = self.connector.descriptor
        return {
            "name": descriptor.name,
            "program": f"catalogue:{descriptor.name}",
            "description": descriptor.description,
            "parameters_schema": dict(descriptor.parameters_schema),
            "effect": descriptor.effect,
            "credential": self.order.credential,
            "settings": dict(self.order.settings),
            "limits": {"per_run": 0},
            "approval": "allow",
            "required": False,
            **changes,
        }


@dataclass(frozen=True)
class Subject:
    """An action to test: a stand with valid arguments, and what is particular about it.

    `lookups` is how many requests come before the one that counts, and `attempts` how often that is
    sent at once where its answer is lost. `refusals` are statuses that are
    told to the model. `too_often` is how the service says that it takes no more, for `seconds`.
    `reads_answer`: an answer that makes no sense leaves open what was done. `tells_anything`:
    whatever the service says is the result. `waits`: a lost answer is asked for again.
    """

    name: str
    open: Callable[[], AbstractAsyncContextManager[Stand]]
    arguments: Mapping[str, JsonValue] = field(default_factory=dict)
    lookups: int = 0
    attempts: int = 1
    refusals: tuple[int, ...] = (400, 401, 403, 404, 422)
    too_often: Says = TOO_OFTEN
    seconds: float = 7
    reads_answer: bool = True
    tells_anything: bool = False
    waits: bool = True


class Staged:
    """A class of tests that inherits from this runs for all of its `subjects`."""

    subjects: ClassVar[Sequence[Subject]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test for each subject."""
        names = [subject.name for subject in self.subjects]
        metafunc.parametrize("subject", self.subjects, ids=names)

    @pytest_asyncio.fixture
    async def stand(self, subject: Subject) -> AsyncIterator[Stand]:
        """Open the stand."""
        async with subject.open() as stand:
            stand.order = replace(stand.order, arguments=subject.arguments, draft=Draft())
            yield stand


def check_result(connector: Connector, result: Result) -> None:
    """Hold a result to what the model may be told."""
    if not result.reason:
        Draft202012Validator(connector.descriptor.output_schema).validate(result.value)
        return
    assert isinstance(result.value, dict)
    assert {*result.value} == {"error", "message"}
    assert result.value["error"] == result.reason
    assert result.reason.replace("_", "").isalnum()
    assert result.reason.isupper()
    message = result.value["message"]
    assert isinstance(message, str)
    assert 0 < len(message) <= MESSAGE_CHARACTERS_MAX


MESSAGE_CHARACTERS_MAX = 600
