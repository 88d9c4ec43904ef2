"""The vault: everything that can be done with secrets, none of which leaves it in the clear."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

from chassis.evidence.checkpoint import Checkpoint
from chassis.evidence.checkpoint import Sign as Signer
from chassis.fields import require_range
from chassis.group_commit import GroupCommit
from chassis.log import log

from .approvals import FIRST, Approval, Approve, Place
from .audit.record import Fact
from .erasure import ATTEMPTS_MAX, wait_for_erasure
from .errors import SecretNotFound
from .journal import Asker, Operation
from .leases import LIFE, Lease, Lend, Renew, Revoke
from .lifecycle import GRACE_MAX, Put, Rotate, SetState, Shred, ShredTenant, ShredVersion
from .marks import Marks
from .policies import PolicyDocument, PutPolicy, ReadPolicy
from .policy.decision import Evaluation
from .reading import read_approval, read_secret, read_secrets, read_waiting
from .requests import Request, content_of
from .rotation import Begin, End, Step
from .secret import DEFAULT_TENANT, Kind, Secret, State
from .signing import AUDIT_KEY, AUTHORITY_KEY, REQUESTS_KEY, SERVICE_KEYS
from .snapshot import ExportState, ImportState
from .store import VaultStore
from .stored_log import (
    ConsistencyProof,
    InclusionProof,
    Recorded,
    StoredLog,
    known_of,
)
from .upkeep import ITSELF, Sweep
from .uses.handover import Release
from .uses.keys import PublicKey
from .uses.operation import Operation as KeyUse
from .uses.public import ShowPublicKey
from .using import Evaluate, ReadPublicKey, Use
from .witness import AcceptRollback

Result = TypeVar("Result")

LEASE_SECONDS_MAX = 3_600
# Of the vault itself; they are not there for anybody else.
_OWN_KEYS = frozenset({AUDIT_KEY, AUTHORITY_KEY, REQUESTS_KEY})


@dataclass(frozen=True)
class Status:
    """How the vault is: its last record, its counter, and how much of a rotation is left."""

    sequence: int
    counter: int
    rotation_left: int
    ledger: str


class Vault:
    """Secrets and their uses. Every method may raise `AuditUnavailable` and `RolledBack`.

    What a method returns is on disk together with its record, and so is every refusal.
    """

    def __init__(self, store: VaultStore, *, erasure_attempts_max: int = ATTEMPTS_MAX) -> None:
        self._store = store
        self._erasure_attempts_max = erasure_attempts_max
        self._marks = Marks(store)
        self._commits: GroupCommit[Operation] = GroupCommit(store.apply)

    # --- Secrets ---------------------------------------------------------------------------------

    async def put(
        self,
        request_id: str,
        name: str,
        kind: Kind,
        value: bytes,
        *,
        generate: bool,
        by: Asker,
        tenant: str = DEFAULT_TENANT,
    ) -> Secret:
        """Seal a new secret, or make one here; a repeat gives the first answer.

        Raise `SecretExists`, `RequestIdReused`, or `InvalidField` of `value`, `generate`, `tenant`.
        """
        flag = "generate" if generate else ""
        extras = [] if tenant == DEFAULT_TENANT else [tenant]
        content = content_of(b"put", name, str(int(kind)), value, flag, *extras)
        asked = Put(by, Request(request_id, content), name, kind, value, generate, tenant)
        return await self._apply(asked, Secret)

    async def rotate(
        self,
        request_id: str,
        name: str,
        value: bytes,
        *,
        generate: bool,
        by: Asker,
        grace: timedelta = timedelta(),
    ) -> Secret:
        """Seal a new value; the one before stays usable for `grace`, and is destroyed then.

        Without a grace, a key for data stays until it is shredded: what it encrypted needs it.
        Raise `SecretNotFound`, `RequestIdReused`, `SealBroken`, `TooManyVersions`,
        `ErasurePending`, or `InvalidField` of `value`, `generate` or `grace`.
        """
        require_range("grace", grace.total_seconds(), least=0, most=GRACE_MAX.total_seconds())
        flag = "generate" if generate else ""
        extras = [str(grace // timedelta(microseconds=1))] if grace else []
        content = content_of(b"rotate", name, "", value, flag, *extras)
        asked = Rotate(by, Request(request_id, content), name, value, generate, grace)
        rotated = await self._apply(asked, Secret)
        if not grace:
            await wait_for_erasure(self._store, self._erasure_attempts_max)
        return rotated

    async def disable(self, name: str, *, by: Asker, version: int = 0) -> Secret:
        """Stop the use of a secret or a version; raise `SecretNotFound`, `VersionNotFound`."""
        return await self._apply(SetState(by, name, State.DISABLED, version), Secret)

    async def enable(self, name: str, *, by: Asker, version: int = 0) -> Secret:
        """Allow the use again; raise `SecretNotFound` or `VersionNotFound`."""
        return await self._apply(SetState(by, name, State.ENABLED, version), Secret)

    async def shred(self, name: str, *, by: Asker) -> None:
        """Destroy a secret with all versions, whether or not its seal is whole.

        Raise `SecretNotFound`, or `ErasurePending`. When this returns, no file holds a key that
        opens the value.
        """
        await self._commits.apply(Shred(by, name))
        await wait_for_erasure(self._store, self._erasure_attempts_max)

    async def shred_version(self, name: str, version: int, *, by: Asker) -> Secret:
        """Destroy an old version, as `shred` does.

        Raise `SecretNotFound`, `VersionNotFound`, `VersionInUse`, or `ErasurePending`.
        """
        left = await self._apply(ShredVersion(by, name, version), Secret)
        await wait_for_erasure(self._store, self._erasure_attempts_max)
        return left

    async def shred_tenant(self, tenant: str, *, by: Asker) -> int:
        """Destroy the keys of a tenant and all its secrets; return how many there were.

        Raise `TenantNotFound`, `ErasurePending`, or `InvalidField` of the tenant of the services.
        """
        count = await self._apply(ShredTenant(by, tenant), int)
        await wait_for_erasure(self._store, self._erasure_attempts_max)
        return count

    def describe(self, name: str) -> Secret:
        """Return what is known of a secret; raise `SecretNotFound` or `SealBroken`. Blocks."""
        return self._store.read(lambda cursor, memory: read_secret(cursor, memory, name))

    def describe_all(self, *, after: str, limit: int, tenant: str = "") -> Sequence[Secret]:
        """Return secrets by name, from the one after `after` on; raise `SealBroken`. Blocks."""
        return self._store.read(
            lambda cursor, memory: read_secrets(
                cursor, memory, after=after, limit=limit, tenant=tenant
            )
        )

    # --- Uses ------------------------------------------------------------------------------------

    async def use(
        self, name: str, operation: KeyUse[Result], *, method: str, by: Asker, version: int = 0
    ) -> Result:
        """Perform an operation with a key, if the policy allows it.

        Raise `UseDenied`, `ApprovalRequired`, `ApprovalDenied`, and, of who is allowed,
        `SecretNotFound`, `SecretDisabled`, `VersionNotFound`, `KindUnsuitable`, `SealBroken`.
        """
        (result,) = await self.use_all(name, [operation], method=method, by=by, version=version)
        return result

    async def use_all(
        self,
        name: str,
        operations: Sequence[KeyUse[Result]],
        *,
        method: str,
        by: Asker,
        version: int = 0,
    ) -> list[Result]:
        """Perform operations of one kind, all or none; raise as `use` does, or `InvalidField`."""
        _refuse_own(name)
        asked = Use(by, method, name, tuple(operations), version)
        return cast("list[Result]", await self._commits.apply(asked))

    async def public_key(self, name: str, *, by: Asker | None = None) -> PublicKey:
        """Return a public key; raise as `use` does. Without `by` no policy decides who sees it."""
        # There is no secret in it that there are the keys of the services.
        if by is not None and name not in SERVICE_KEYS:
            return await self.use(name, ShowPublicKey(), method="GetPublicKey", by=by)
        _refuse_own(name)
        return await self._apply(ReadPublicKey(ITSELF, name), PublicKey)

    # --- Leases ----------------------------------------------------------------------------------

    async def release(
        self,
        name: str,
        release: Release,
        *,
        by: Asker,
        life: timedelta = LIFE,
        version: int = 0,
    ) -> Lease:
        """Hand a bearer value to a recipient for a time; raise as `use` does."""
        _refuse_own(name)
        require_range("life", life.total_seconds(), least=1, most=LEASE_SECONDS_MAX)
        return await self._apply(Lend(by, name, release, life, version), Lease)

    async def renew(self, lease: str, *, by: Asker, life: timedelta = LIFE) -> Lease:
        """Extend a lease of the caller.

        Raise `LeaseNotFound`, `LeaseExpired`, `UseDenied`, `VersionNotFound` after a rotation,
        `SecretNotFound` after a shred, `SecretDisabled`.
        """
        require_range("life", life.total_seconds(), least=1, most=LEASE_SECONDS_MAX)
        return await self._apply(Renew(by, lease, life), Lease)

    async def revoke(self, lease: str, *, by: Asker, is_operator: bool = False) -> Lease:
        """End a lease of the caller, or of anybody for an operator; raise `LeaseNotFound`."""
        return await self._apply(Revoke(by, lease, is_operator), Lease)

    # --- Policy ----------------------------------------------------------------------------------

    async def put_policy(self, text: str, *, by: Asker) -> PolicyDocument:
        """Put a policy into force; raise `PolicyInvalid`."""
        return await self._apply(PutPolicy(by, text), PolicyDocument)

    async def policy(self) -> PolicyDocument:
        """Return the policy in force; version 0, without a text, is the packaged one."""
        return await self._apply(ReadPolicy(ITSELF), PolicyDocument)

    async def evaluate(self, name: str, operation: KeyUse[object], *, by: Asker) -> Evaluation:
        """Say what would become of a use, and why; nothing is counted or recorded."""
        return await self._apply(Evaluate(by, name, operation), Evaluation)

    async def decide_approval(self, name: str, *, approves: bool, by: Asker) -> Approval:
        """Approve or deny one request; raise `ApprovalNotFound` or `ApprovalDecided`."""
        return await self._apply(Approve(by, name, approves), Approval)

    def waiting(self, *, limit: int, after: Place = FIRST) -> Sequence[Approval]:
        """Return the approvals that wait for a person, oldest first, after a place. Blocks."""
        return self._store.read(
            lambda cursor, memory: read_waiting(
                cursor, memory, now=self._store.now, after=after, limit=limit
            )
        )

    def approval(self, name: str, *, of: str = "") -> Approval:
        """Return an approval, whatever was decided; of one caller only, if one is named. Blocks.

        Raise `ApprovalNotFound`.
        """
        return self._store.read(
            lambda cursor, memory: read_approval(cursor, memory, name, now=self._store.now, of=of)
        )

    # --- Audit -----------------------------------------------------------------------------------

    def records(self, *, after: int, limit: int) -> Sequence[Recorded]:
        """Return records after a sequence; raise `AuditBroken`. Blocks."""
        return self.read_log(lambda log: log.recorded(after=after, limit=limit))

    def checkpoint(self) -> Checkpoint | None:
        """Return the newest checkpoint, if there is one; raise `AuditBroken`. Blocks."""
        return self.read_log(StoredLog.newest_checkpoint)

    def prove_inclusion(self, sequence: int) -> InclusionProof | None:
        """Prove that a record is in the newest checkpoint, or None; raise `AuditBroken`. Blocks."""
        return self.read_log(lambda log: log.prove_inclusion(sequence))

    def prove_consistency(self, size: int) -> ConsistencyProof | None:
        """Prove that the newest checkpoint continues a log of this size, as above. Blocks."""
        return self.read_log(lambda log: log.prove_consistency(size))

    def read_log(self, query: Callable[[StoredLog], Result]) -> Result:
        """Read the stored log, for an export; raise `AuditBroken`. Blocks."""
        known = known_of(self._store.memory)
        return self._store.read(lambda cursor, _: query(StoredLog(cursor, known)))

    @property
    def sign_export(self) -> Signer:
        """Return what signs the end of an export with the key of the log."""
        return self._store.memory.own.audit.sign

    # --- Rollback --------------------------------------------------------------------------------

    @property
    def sequence(self) -> int:
        """Return the sequence of the last record."""
        return self._store.sequence

    @property
    def mark(self) -> str:
        """Return what answers carry and peers remember: how far the log is."""
        return self._marks.present

    def heed(self, mark: str) -> None:
        """Refuse everything from now on with `RolledBack` if a peer saw what is not there.

        What this key manager did not give itself changes nothing. May read the disk, once a mark.
        """
        self._marks.heed(mark)

    async def accept_rollback(self, sequence: int, *, by: Asker) -> None:
        """Answer again although peers saw records up to `sequence`, which are lost."""
        require_range("sequence", sequence, least=0, most=2**53 - 1)
        accepted = [AcceptRollback(by, sequence)]
        # Not with others, which are still refused: nobody is answered before this is on record.
        await asyncio.to_thread(self._store.apply, accepted, accepts_rollback=True)

    # --- The root --------------------------------------------------------------------------------

    async def rotate_root(self, request_id: str, *, by: Asker) -> None:
        """Replace the epoch key and all keys of tenants, while everything else goes on.

        Raise `PlatformSilent`, `RequestIdReused` or `ErasurePending`. A repeat begins nothing. When
        this returns, the old epoch key is destroyed.
        """
        epoch = await asyncio.to_thread(self._store.new_epoch)
        begin = Begin(by, Request(request_id, b"rotate root"), epoch)
        if await self._apply(begin, bool):
            await self._finish_rotation(by)
        await wait_for_erasure(self._store, self._erasure_attempts_max)

    async def _finish_rotation(self, by: Asker) -> None:
        while await self._apply(Step(), int) >= 0:
            pass
        await self._commits.apply(End(by))

    async def tend(self) -> None:
        """Do what is to be done from time to time; finish what a kill or a reader interrupted."""
        while await self._apply(Sweep(), int):
            pass
        if self.status.rotation_left:
            await self._finish_rotation(ITSELF)
        if not self._store.is_erased and not await asyncio.to_thread(self._store.erase):
            log.warning("vault.erasure_pending")

    @property
    def status(self) -> Status:
        """Return how the vault is."""
        memory = self._store.memory
        left = len(memory.stale) if len(memory.anchor.epochs) > 1 else 0
        return Status(
            sequence=self.sequence,
            counter=memory.anchor.counter,
            rotation_left=left,
            ledger=memory.own.ledger,
        )

    # --- Backup ----------------------------------------------------------------------------------

    async def export_state(self, *, by: Asker, shares: Mapping[str, Fact] | None = None) -> bytes:
        """Return values and policy, to be encrypted at once; `shares` is for the record."""
        return await self._apply(ExportState(by, shares or {}), bytes)

    async def import_state(self, content: bytes, *, by: Asker) -> int:
        """Seal what `export_state` returned; return how many secrets there were.

        Raise `VaultNotEmpty` where there are any, and `BackupInvalid`.
        """
        return await self._apply(ImportState(by, content), int)

    async def perform(self, operation: Operation) -> object:
        """Let the writer do what is not about secrets; raise what it is refused with."""
        return await self._commits.apply(operation)

    async def _apply(self, operation: Operation, kind: type[Result]) -> Result:
        result = await self._commits.apply(operation)
        assert isinstance(result, kind), f"{operation.method} gives a {kind.__name__}"
        return result


def _refuse_own(name: str) -> None:
    if name in _OWN_KEYS:
        raise SecretNotFound(name)
