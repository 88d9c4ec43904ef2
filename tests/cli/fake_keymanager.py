"""The key manager as the command line sees it: a dictionary, and what a test tells it to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from actionvm.keymanager.v1 import (
    keymanager_pb2,
    keymanager_pb2_grpc,
    policy_pb2,
    policy_pb2_grpc,
    recovery_pb2,
    recovery_pb2_grpc,
)
from chassis.errors import AlreadyExists, InvalidField
from chassis.holders import seal_share

from .fakes import InvalidManifest, receipt_key

if TYPE_CHECKING:
    from grpc import aio

    Context: TypeAlias = aio.ServicerContext[Any, Any]

APPROVAL = "approvals/0198c0de-0000-7000-8000-000000000000"


@dataclass(eq=False)
class SecretExists(AlreadyExists):
    """As the key manager's error."""

    reason = "SECRET_EXISTS"
    message = "{name} exists; rotate it instead"

    name: str


class FakeKeymanager(keymanager_pb2_grpc.KeymanagerServiceServicer):
    """Keeps secrets in a dictionary, and lists them two to a page."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.disabled: set[str] = set()
        self.refused: set[str] = set()
        self.tenants: dict[str, str] = {}
        self.grace_seconds = 0
        self.shredded_versions: list[tuple[str, int]] = []
        self.kind = keymanager_pb2.KIND_API_KEY
        self.public_key = receipt_key().public_key().public_bytes_raw()

    async def PutSecret(
        self, request: keymanager_pb2.PutSecretRequest, context: Context
    ) -> keymanager_pb2.PutSecretResponse:
        if request.name in self.refused:
            raise InvalidField("value", "is refused")
        if request.name in self.values:
            raise SecretExists(request.name)
        self.values[request.name] = b"generated" if request.generate else request.value
        self.tenants[request.name] = request.tenant
        secret = keymanager_pb2.Secret(name=request.name, kind=request.kind, version=1)
        return keymanager_pb2.PutSecretResponse(secret=secret)

    async def GetSecret(
        self, request: keymanager_pb2.GetSecretRequest, context: Context
    ) -> keymanager_pb2.GetSecretResponse:
        return keymanager_pb2.GetSecretResponse(secret=self._secret(request.name, version=1))

    async def RotateSecret(
        self, request: keymanager_pb2.RotateSecretRequest, context: Context
    ) -> keymanager_pb2.RotateSecretResponse:
        self.values[request.name] = request.value
        self.grace_seconds = request.grace.seconds
        return keymanager_pb2.RotateSecretResponse(secret=self._secret(request.name, version=2))

    async def DisableSecret(
        self, request: keymanager_pb2.DisableSecretRequest, context: Context
    ) -> keymanager_pb2.DisableSecretResponse:
        self.disabled.add(request.name)
        return keymanager_pb2.DisableSecretResponse(secret=self._secret(request.name, version=1))

    async def EnableSecret(
        self, request: keymanager_pb2.EnableSecretRequest, context: Context
    ) -> keymanager_pb2.EnableSecretResponse:
        self.disabled.discard(request.name)
        return keymanager_pb2.EnableSecretResponse(secret=self._secret(request.name, version=1))

    async def ShredSecret(
        self, request: keymanager_pb2.ShredSecretRequest, context: Context
    ) -> keymanager_pb2.ShredSecretResponse:
        if request.version:
            self.shredded_versions.append((request.name, request.version))
        else:
            del self.values[request.name]
        return keymanager_pb2.ShredSecretResponse()

    async def ShredTenant(
        self, request: keymanager_pb2.ShredTenantRequest, context: Context
    ) -> keymanager_pb2.ShredTenantResponse:
        gone = [name for name, tenant in self.tenants.items() if tenant == request.tenant]
        for name in gone:
            del self.values[name]
        return keymanager_pb2.ShredTenantResponse(secret_count=len(gone))

    async def ListSecrets(
        self, request: keymanager_pb2.ListSecretsRequest, context: Context
    ) -> keymanager_pb2.ListSecretsResponse:
        start = int(request.page_token or 0)
        names = sorted(self.values)
        secrets = [self._secret(name, version=1) for name in names[start : start + 2]]
        token = str(start + 2) if start + 2 < len(names) else ""
        return keymanager_pb2.ListSecretsResponse(secrets=secrets, next_page_token=token)

    async def GetPublicKey(
        self, request: keymanager_pb2.GetPublicKeyRequest, context: Context
    ) -> keymanager_pb2.GetPublicKeyResponse:
        return keymanager_pb2.GetPublicKeyResponse(algorithm="ed25519", public_key=self.public_key)

    def _secret(self, name: str, *, version: int) -> keymanager_pb2.Secret:
        states = keymanager_pb2.Secret
        state = states.STATE_DISABLED if name in self.disabled else states.STATE_ENABLED
        return keymanager_pb2.Secret(name=name, kind=self.kind, version=version, state=state)


class FakePolicy(policy_pb2_grpc.PolicyServiceServicer):
    """Takes every policy but one with a problem, and denies unless it is told otherwise."""

    def __init__(self) -> None:
        self.content = "rules: []\n"
        self.allows = False
        self.asked: list[policy_pb2.EvaluateUseRequest] = []
        self.decided: dict[str, bool] = {}

    async def PutPolicy(
        self, request: policy_pb2.PutPolicyRequest, context: Context
    ) -> policy_pb2.PutPolicyResponse:
        if "modle" in request.content:
            raise InvalidManifest
        if not request.validate_only:
            self.content = request.content
        return policy_pb2.PutPolicyResponse(version=3)

    async def GetPolicy(
        self, request: policy_pb2.GetPolicyRequest, context: Context
    ) -> policy_pb2.GetPolicyResponse:
        return policy_pb2.GetPolicyResponse(content=self.content, version=3)

    async def EvaluateUse(
        self, request: policy_pb2.EvaluateUseRequest, context: Context
    ) -> policy_pb2.EvaluateUseResponse:
        self.asked.append(request)
        return policy_pb2.EvaluateUseResponse(allowed=self.allows, rule="posts", problem="at night")

    async def ListApprovals(
        self, request: policy_pb2.ListApprovalsRequest, context: Context
    ) -> policy_pb2.ListApprovalsResponse:
        waiting = policy_pb2.Approval(
            name=APPROVAL,
            account="agents/trader",
            secret="secrets/wallet",
            operation="sign-transaction",
            facts={"value": "5"},
        )
        return policy_pb2.ListApprovalsResponse(approvals=[waiting])

    async def DecideApproval(
        self, request: policy_pb2.DecideApprovalRequest, context: Context
    ) -> policy_pb2.DecideApprovalResponse:
        self.decided[request.name] = request.approved
        return policy_pb2.DecideApprovalResponse()


class FakeRecovery(recovery_pb2_grpc.RecoveryServiceServicer):
    """Makes shares out of thin air."""

    def __init__(self) -> None:
        self.holder_key = b""
        self.restored: list[recovery_pb2.RestoreRequest] = []

    async def Backup(
        self, request: recovery_pb2.BackupRequest, context: Context
    ) -> recovery_pb2.BackupResponse:
        shares = [f"word {number}" for number in range(request.share_count)]
        if not shares:
            sealed = [seal_share("words of alice", key) for key in request.recipient_keys]
            return recovery_pb2.BackupResponse(
                content=b"sealed",
                sealed_shares=sealed or [seal_share("words of alice", self.holder_key)],
                holders=[] if sealed else ["alice"],
            )
        return recovery_pb2.BackupResponse(content=b"sealed", shares=shares)

    async def Restore(
        self, request: recovery_pb2.RestoreRequest, context: Context
    ) -> recovery_pb2.RestoreResponse:
        self.restored.append(request)
        return recovery_pb2.RestoreResponse(secret_count=7)

    async def RotateRoot(
        self, request: recovery_pb2.RotateRootRequest, context: Context
    ) -> recovery_pb2.RotateRootResponse:
        return recovery_pb2.RotateRootResponse()
