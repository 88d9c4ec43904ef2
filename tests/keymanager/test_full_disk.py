"""A key manager whose disk takes nothing more answers nothing that it has not recorded."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import psutil
import pytest

from actionvm.keymanager.v1 import audit_pb2, audit_pb2_grpc
from actionvm.keymanager.v1 import keymanager_pb2 as pb
from tests.contracts.contract import error_info
from tests.keymanager.process import KeymanagerProcess

ROOM_BYTES = 128 * 1024
CALLS = 150


@dataclass(frozen=True)
class Outcomes:
    """The reasons of refusals, empty where there was an answer, and how much is on record."""

    full: list[str]
    mended: list[str]
    recorded: list[int]


def _sign(process: KeymanagerProcess, message: str) -> str:
    """Use the key; return the reason of a refusal."""
    request = pb.SignRequest(
        key="secrets/a", purpose=pb.PURPOSE_REQUEST, message=message.encode(), account="agents/a"
    )
    try:
        process.stub("runtime").Sign(request)
    except grpc.RpcError as error:
        return error_info(error).reason
    return ""


def _recorded(process: KeymanagerProcess) -> int:
    """Return how many signatures are in the record."""
    stub, after, found = audit_pb2_grpc.AuditServiceStub(process.channel()), 0, 0
    while True:
        request = audit_pb2.ListAuditRecordsRequest(after_sequence=after, page_size=1_000)
        records = stub.ListAuditRecords(request).records
        if not records:
            return found
        after = records[-1].sequence
        found += sum((one.method, one.outcome) == ("Sign", "OK") for one in records)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Return what became of signatures before, while and after files cannot grow."""
    folder = tmp_path_factory.mktemp("full")
    with KeymanagerProcess(folder) as process:
        request = pb.PutSecretRequest(
            request_id="a", name="secrets/a", kind=pb.KIND_ED25519, generate=True
        )
        process.stub().PutSecret(request)
        limits = psutil.Process(process.pid)
        unlimited = limits.rlimit(psutil.RLIMIT_FSIZE)
        sizes = [path.stat().st_size for path in (*process.data.iterdir(), process.log)]
        limits.rlimit(psutil.RLIMIT_FSIZE, (max(sizes) + ROOM_BYTES, unlimited[1]))
        full = [_sign(process, f"{number}") for number in range(CALLS)]
        limits.rlimit(psutil.RLIMIT_FSIZE, unlimited)
        mended = [_sign(process, f"again {number}") for number in range(3)]
        recorded = [_recorded(process)]
    with KeymanagerProcess(folder) as process:
        recorded.append(_recorded(process))
    return Outcomes(full, mended, recorded)


def test_what_cannot_be_recorded_is_refused(outcomes: Outcomes) -> None:
    assert set(outcomes.full) == {"", "AUDIT_UNAVAILABLE"}
    assert outcomes.full[0] == ""
    assert outcomes.full.count("AUDIT_UNAVAILABLE") > 10


def test_with_room_again_it_answers_again(outcomes: Outcomes) -> None:
    assert outcomes.mended == ["", "", ""]


def test_exactly_what_was_answered_is_in_the_record(outcomes: Outcomes) -> None:
    """Also after it was killed and started again."""
    answered = outcomes.full.count("") + outcomes.mended.count("")
    assert outcomes.recorded == [answered, answered]
