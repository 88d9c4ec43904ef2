"""Contract of recovery: every RPC is called, with each reason that it documents."""

from __future__ import annotations

import pytest

from actionvm.keymanager.v1 import recovery_pb2 as pb
from actionvm.keymanager.v1 import recovery_pb2_grpc
from chassis.holders import public_key_of
from tests.contracts.contract import Call, make
from tests.contracts.keymanagers import RECIPIENT, host
from tests.grpc_fixtures import HostedFactory, StubAs


def backup(reason: str = "", /, **fields: object) -> Call:
    return Call("Backup", pb.BackupRequest(**fields), reason=reason)  # type: ignore[arg-type]  # of it


def restore(content: bytes, shares: list[bytes], reason: str) -> Call:
    return Call("Restore", pb.RestoreRequest(content=content, shares=shares), reason=reason)


OTHER_RECIPIENT = public_key_of(b"o" * 32)

# Each call stands alone: they may run in any order, and on several machines.
CALLS = [
    backup(threshold=2, share_count=3),
    backup(threshold=2, recipient_keys=[RECIPIENT, OTHER_RECIPIENT]),
    backup("INVALID_FIELD", threshold=1, share_count=1),
    backup("INVALID_FIELD", threshold=1, share_count=3),
    backup("INVALID_FIELD", threshold=2, recipient_keys=[RECIPIENT] * 2),
    backup("INVALID_FIELD", threshold=1, recipient_keys=[RECIPIENT]),
    backup("INVALID_FIELD", threshold=4, share_count=3),
    backup("INVALID_FIELD", threshold=0, share_count=3),
    backup("INVALID_FIELD", threshold=2, share_count=17),
    backup(
        "INVALID_FIELD", threshold=2, share_count=3, recipient_keys=[RECIPIENT, RECIPIENT[::-1]]
    ),
    backup("INVALID_FIELD", threshold=2, recipient_keys=[RECIPIENT, b"short"]),
    Call("Backup", pb.BackupRequest(), caller="runtime", reason="METHOD_DENIED"),
    restore(b"no backup", [b"words"], "BACKUP_INVALID"),
    restore(b"", [b"words"], "INVALID_FIELD"),
    restore(b"x", [], "INVALID_FIELD"),
    restore(b"x", [b"\xff"], "INVALID_FIELD"),
    Call("RotateRoot", pb.RotateRootRequest(request_id="1")),
    Call("RotateRoot", pb.RotateRootRequest(request_id="board"), reason="REQUEST_ID_REUSED"),
    Call("RotateRoot", pb.RotateRootRequest(), reason="INVALID_FIELD"),
]


@pytest.fixture(scope="module")
def hosted_service() -> HostedFactory:
    return host()


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[recovery_pb2_grpc.RecoveryServiceStub]:
    return recovery_pb2_grpc.RecoveryServiceStub


@pytest.fixture
def made(grpc_stub_as: StubAs) -> pb.BackupResponse:
    """Return a backup of which two of three shares are needed."""
    return _backup(grpc_stub_as)


def _backup(grpc_stub_as: StubAs) -> pb.BackupResponse:
    answer = grpc_stub_as("operator").Backup(pb.BackupRequest(threshold=2, share_count=3))
    assert isinstance(answer, pb.BackupResponse)
    return answer


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.reason or 'OK'}")
def test_a_call_answers_as_the_contract_says(grpc_stub_as: StubAs, call: Call) -> None:
    make(grpc_stub_as, call)


def test_a_backup_does_not_go_over_what_is_there(
    grpc_stub_as: StubAs, made: pb.BackupResponse
) -> None:
    shares = [share.encode() for share in made.shares[:2]]
    make(grpc_stub_as, restore(made.content, shares, "VAULT_NOT_EMPTY"))


def test_one_share_of_two_is_not_enough(grpc_stub_as: StubAs, made: pb.BackupResponse) -> None:
    make(grpc_stub_as, restore(made.content, [made.shares[0].encode()], "SHARES_MISSING"))


def test_a_misspelt_share_is_found(grpc_stub_as: StubAs, made: pb.BackupResponse) -> None:
    words = made.shares[0].split()
    misspelt = " ".join([*words[:-1], words[-2]]).encode()
    shares = [misspelt, made.shares[1].encode()]
    make(grpc_stub_as, restore(made.content, shares, "SHARE_DAMAGED"))


def test_a_share_of_another_backup_is_found(grpc_stub_as: StubAs, made: pb.BackupResponse) -> None:
    other = _backup(grpc_stub_as)
    shares = [made.shares[0].encode(), other.shares[1].encode()]
    make(grpc_stub_as, restore(made.content, shares, "SHARE_FOREIGN"))
