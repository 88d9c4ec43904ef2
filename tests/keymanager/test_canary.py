"""The value of a secret appears nowhere outside of the process, in no encoding."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout

import grpc
import pytest
import structlog
from google.protobuf.message import Message

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from chassis.log import install_log, log
from tests.keymanager.process import KeymanagerProcess

# Exactly a seed, so that it goes through every path.
CANARY = b"canary-7f3a-never-seen-outside!!"
assert len(CANARY) == 32


def _encodings(value: bytes) -> Iterator[bytes]:
    yield value
    yield value.hex().encode()
    yield value.hex().upper().encode()
    # A longer text may start the same value at each of three places of base64.
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + value)
        inner = encoded[4 if shift else 0 : len(encoded) // 4 * 4 - 4]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def _calls(process: KeymanagerProcess) -> Iterator[bytes]:
    """Use the canary in every way, right and wrong; yield all that is answered."""
    operator, runtime = process.stub(), process.stub("runtime")
    puts = [
        pb.PutSecretRequest(request_id=id_, name=name, kind=kind, value=value, generate=generate)
        for id_, name, kind, value, generate in [
            ("1", "secrets/key", pb.KIND_API_KEY, CANARY, False),
            ("1", "secrets/other", pb.KIND_API_KEY, CANARY, False),
            ("2", "secrets/key", pb.KIND_API_KEY, CANARY, False),
            ("3", "secrets/seed", pb.KIND_ED25519, CANARY, False),
            ("4", "secrets/bad", pb.KIND_ED25519, CANARY + b"!", False),
            ("5", "secrets/bad", pb.KIND_ED25519, CANARY, True),
            ("6", "secrets/bad", pb.KIND_AWS, CANARY, False),
            ("7", "secrets/bad", pb.KIND_UNSPECIFIED, CANARY, False),
            ("8", "secrets/bad", pb.KIND_API_KEY, CANARY * 4_000, False),
            ("", "secrets/bad", pb.KIND_API_KEY, CANARY, False),
        ]
    ]
    rotations = [
        pb.RotateSecretRequest(request_id="9", name="secrets/key", value=CANARY),
        pb.RotateSecretRequest(request_id="10", name="secrets/none", value=CANARY),
        pb.RotateSecretRequest(request_id="11", name="secrets/seed", value=CANARY[1:]),
        pb.RotateSecretRequest(request_id="12", name="secrets/seed", value=CANARY),
    ]
    signing = pb.SignRequest(key="secrets/seed", purpose=pb.PURPOSE_REQUEST, message=b"m")
    calls: list[tuple[Callable[..., Message], Message]] = [
        *((operator.PutSecret, request) for request in puts),
        *((runtime.PutSecret, request) for request in puts[:1]),
        *((operator.RotateSecret, request) for request in rotations),
        (operator.ListSecrets, pb.ListSecretsRequest()),
        (operator.GetSecret, pb.GetSecretRequest(name="secrets/key")),
        (runtime.Sign, signing),
        (operator.GetPublicKey, pb.GetPublicKeyRequest(key="secrets/seed")),
    ]
    for method, request in calls:
        try:
            yield method(request).SerializeToString()
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            yield repr((error.details(), error.trailing_metadata())).encode()


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return all that can be seen of a key manager that knows the canary."""
    folder = tmp_path_factory.mktemp("canary")
    with KeymanagerProcess(folder) as process:
        seen = {"answers": b"".join(_calls(process))}
        files = list(process.data.iterdir())
        # While it runs, so that the write-ahead log is there.
        seen |= {path.name: path.read_bytes() for path in files}
        seen["log"] = process.log.read_bytes()
    return seen


@pytest.mark.parametrize("place", ["answers", "keymanager.db", "keymanager.db-wal", "log"])
def test_the_value_is_not_seen(outside: dict[str, bytes], place: str) -> None:
    seen = outside[place]
    assert not [encoded for encoded in _encodings(CANARY) if encoded in seen]


def test_the_calls_left_their_traces(outside: dict[str, bytes]) -> None:
    """What is searched is not empty, else the search proves nothing."""
    assert b"PutSecret" in outside["log"]
    assert b"secrets/seed" in outside["keymanager.db"] + outside["keymanager.db-wal"]


@pytest.mark.parametrize("shift", range(3))
def test_the_search_finds_a_value_inside_of_base64(shift: int) -> None:
    text = base64.b64encode(b"x" * shift + CANARY + b"tail")
    assert any(encoded in text for encoded in _encodings(CANARY))


def test_the_traceback_of_a_bug_shows_no_variables() -> None:
    written = io.StringIO()
    try:
        with redirect_stdout(written):
            install_log("keymanager", "debug")
            _fail_with(CANARY.decode())
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    assert "ZeroDivisionError" in written.getvalue()
    assert CANARY.decode() not in written.getvalue()


def _fail_with(value: str) -> None:
    try:
        _ = len(value) / 0
    except ZeroDivisionError as error:
        log.error("rpc.failed", exc_info=error)
