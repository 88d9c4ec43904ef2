"""Fakes of the ports of the runtime; each can be told to fail next."""

from __future__ import annotations

import asyncio
import hmac
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis.canonical import canonical_json, sha256_hex
from runtime.bundles import BUNDLE_KEY, SealedBundle
from runtime.errors import ApprovalDecided, BundleNotFound
from runtime.facts import ActionCall, Callers, Charge, Failure, Passage, Receipt, Signature, Usage
from runtime.ports import (
    ONE_CALL,
    Authorized,
    FarcasterSignature,
    Generation,
    Hold,
    PersonAwaited,
    Prompt,
    RunFails,
    SignedTransaction,
    WebRequest,
)
from runtime.program import Budget
from tests.fakes.cdp_tokens import cdp_headers
from tests.fakes.evm_keys import evm_key, signed

USAGES = (Usage("input_tokens", 10), Usage("output_tokens", 5))
GENERATION_GAS = 7
CALL_GAS = 3

Answers = Callable[[Prompt], Generation]


class Fake:
    """Raises what it was told to, once for each time it was told."""

    def __init__(self) -> None:
        self._failures: deque[Exception] = deque()

    def fail_next(self, *errors: Exception) -> None:
        """Raise these from the next calls, in order."""
        self._failures.extend(errors)

    def stop_failing(self) -> None:
        """Forget what it was told."""
        self._failures.clear()

    def fail_if_told(self) -> None:
        """Raise the next failure, if there is one."""
        if self._failures:
            raise self._failures.popleft()


class FakeBundles(Fake):
    """`Bundles` in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.bundles: dict[str, SealedBundle] = {}

    async def get(self, name: str) -> SealedBundle:
        self.fail_if_told()
        if name not in self.bundles:
            raise BundleNotFound(name)
        return self.bundles[name]


def answer(text: str) -> Generation:
    """Return a generation that is an answer."""
    return Generation(text, (), USAGES, GENERATION_GAS)


def calls(*wanted: tuple[str, str]) -> Generation:
    """Return a generation that calls actions, each given by name and arguments."""
    made = tuple(ActionCall("call", name, arguments) for name, arguments in wanted)
    return Generation("", made, USAGES, GENERATION_GAS)


def acts_then_answers(prompt: Prompt) -> Generation:
    """Post where that is still wanted, then answer."""
    if prompt.choice == "required":
        return calls(("board.post", '{"text": "Ether gained."}'))
    return answer("I posted it.")


class FakeModel(Fake):
    """`Model` that writes its text word by word.

    It ends no answer while `go_on` is cleared, and never one to the input `stuck_on`.
    """

    def __init__(self, answers: Answers = acts_then_answers) -> None:
        super().__init__()
        self.answers = answers
        self.prompts: list[Prompt] = []
        self.closed_count = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.is_writing = asyncio.Event()
        self.stuck_on = ""

    async def generate(self, prompt: Prompt) -> AsyncGenerator[str | Generation, None]:
        self.prompts.append(prompt)
        self.fail_if_told()
        generation = self.answers(prompt)
        try:
            for word in generation.text.split():
                yield f"{word} "
            self.is_writing.set()
            await self.go_on.wait()
            if prompt.messages[-1].text == self.stuck_on:
                await asyncio.Event().wait()
            yield generation
        finally:
            self.closed_count += 1


class FakeKnowledge(Fake):
    """`Knowledge` that finds one passage in every collection."""

    def __init__(self) -> None:
        super().__init__()
        self.text = "Ether gained."
        self.queries: list[tuple[tuple[str, ...], str, int]] = []

    async def search(
        self, collections: Sequence[str], query: str, passages_max: int
    ) -> tuple[Passage, ...]:
        self.fail_if_told()
        self.queries.append((tuple(collections), query, passages_max))
        return tuple(Passage(f"{name}/documents/a.md", self.text) for name in collections)


@dataclass
class _Account:
    holds: dict[str, Hold] = field(default_factory=dict)
    charges: dict[str, Charge] = field(default_factory=dict)
    is_closed: bool = False


class FakeGasMeter(Fake):
    """`GasMeter` that is as idempotent as the real one, and refuses what comes after the end."""

    def __init__(self) -> None:
        super().__init__()
        self.budgets: dict[str, Budget] = {}
        self.run_limits: dict[str, tuple[str, int]] = {}
        # Who waited for a run when it last asked for gas.
        self.callers: dict[str, Callers] = {}
        self._runs: dict[str, _Account] = {}

    async def declare_budget(self, account: str, budget: Budget) -> None:
        self.fail_if_told()
        self.budgets[account] = budget

    async def limit_run(self, *, run: str, account: str, gas: int) -> None:
        self.fail_if_told()
        self.run_limits[run] = (account, gas)

    async def quote(self, *, item: str) -> int:
        self.fail_if_told()
        assert item
        return CALL_GAS

    async def reserve(
        self,
        *,
        request_id: str,
        account: str,
        run: str,
        callers: Callers,
        item: str,
        usages: Sequence[Usage] = ONE_CALL,
    ) -> Hold:
        self.fail_if_told()
        self.callers[run] = callers
        spending = self._runs.setdefault(run, _Account())
        if request_id not in spending.holds:
            if spending.is_closed:
                raise RunFails(Failure("GAS_FAILED", "RUN_CLOSED"))
            spending.holds[request_id] = Hold(f"{run}|{request_id}|{item}", CALL_GAS)
        return spending.holds[request_id]

    async def settle(self, hold: Hold, usages: Sequence[Usage] = ONE_CALL) -> int:
        self.fail_if_told()
        run, request_id, item = hold.name.split("|")
        spending = self._runs[run]
        if request_id not in spending.charges:
            if spending.is_closed:
                raise RunFails(Failure("GAS_FAILED", "HOLD_RELEASED"))
            line = len(spending.charges) + 1
            spending.charges[request_id] = Charge(line, item, (*usages,), CALL_GAS, "v")
        return CALL_GAS

    async def close(self, *, run: str, account: str) -> Receipt:
        self.fail_if_told()
        spending = self._runs.setdefault(run, _Account())
        spending.is_closed = True
        charges = tuple(spending.charges.values())
        total = sum(charge.gas for charge in charges)
        sha256 = sha256_hex(canonical_json([run, account, total]))
        return Receipt(run, account, charges, total, sha256, 1)


class FakeSigner(Fake):
    """`Signer` with one key for everything; requests wait for `approval`, where that is set."""

    def __init__(self) -> None:
        super().__init__()
        self.approval = ""
        # Messages of requests that it signed.
        self.requests: list[bytes] = []
        self.authorized: list[WebRequest] = []
        self.hmac_key = b"hmac key of all credentials"
        self.evm_key = evm_key(1)
        self.key = Ed25519PrivateKey.from_private_bytes(bytes(32))
        self.public_key = self.key.public_key().public_bytes_raw()

    async def bundle_key(self) -> bytes:
        self.fail_if_told()
        return self.public_key

    async def sign_receipt(self, sha256: str) -> Signature:
        self.fail_if_told()
        return self.sign("keys/receipts", "receipt", sha256.encode())

    async def sign_request(self, credential: str, message: bytes, *, account: str) -> Signature:
        self._fail_or_wait()
        self.requests.append(message)
        return self.sign(credential, "request", message)

    async def authorize_request(
        self, credential: str, request: WebRequest, *, account: str
    ) -> Authorized:
        self._fail_or_wait()
        self.authorized.append(request)
        if request.presign_seconds:
            return Authorized({}, f"{request.url}?signed={credential}")
        if request.scheme in ("cdp", "cdp_wallet"):
            return Authorized(cdp_headers(request))
        return Authorized({"Authorization": f"{request.scheme} {credential} {account}"})

    async def sign_farcaster(
        self, credential: str, data: bytes, *, account: str
    ) -> FarcasterSignature:
        self._fail_or_wait()
        self.requests.append(data)
        digest = blake3(data).digest(20)
        return FarcasterSignature(digest, self.key.sign(digest), self.public_key)

    async def evm_address(self, credential: str, *, account: str) -> str:
        self._fail_or_wait()
        return self.evm_key.address

    async def sign_transaction(
        self, credential: str, transaction: bytes, *, account: str
    ) -> SignedTransaction:
        self._fail_or_wait()
        self.requests.append(transaction)
        return signed(self.evm_key, transaction)

    async def hmac_sha256(self, credential: str, message: bytes, *, account: str) -> bytes:
        self._fail_or_wait()
        self.requests.append(message)
        return hmac.digest(self.hmac_key, message, "sha256")

    def _fail_or_wait(self) -> None:
        self.fail_if_told()
        if self.approval:
            told = f"a person who decides {self.approval}"
            raise PersonAwaited(told, self.approval, "posts")

    def seal(self, payload: bytes) -> SealedBundle:
        """Return a bundle that opens."""
        sha256 = sha256_hex(payload)
        signature = self.sign(BUNDLE_KEY, "bundle", sha256.encode())
        return SealedBundle(f"bundles/{sha256}", sha256, len(payload), payload, signature)

    def sign(self, key: str, purpose: str, message: bytes) -> Signature:
        """Sign as the key manager does."""
        value = self.key.sign(f"actionvm/{purpose}/v1\n".encode() + message)
        return Signature(key, "ed25519", self.public_key, value)


class FakeApprovals(Fake):
    """`Approvals` that says of those in `waiting` that nobody has decided."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: set[str] = set()
        self.decisions: dict[str, bool] = {}
        self.shown: list[str] = []
        self.asked_count = 0

    async def is_decided(self, approval: str) -> bool:
        self.asked_count += 1
        self.fail_if_told()
        return approval not in self.waiting

    async def decide(self, approval: str, *, allows: bool, authorization: str) -> None:
        self.fail_if_told()
        self.shown.append(authorization)
        if self.decisions.setdefault(approval, allows) is not allows:
            raise ApprovalDecided(approval)
