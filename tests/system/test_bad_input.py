"""Gives the system what it must refuse: each input has a reason of its own, and leaves nothing.

Every case is one that a person can make by accident or a stranger on purpose.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message

from actionvm.assembler.v1.assembler_pb2 import ListBundlesRequest
from actionvm.gas.v1.gas_pb2 import ListUsageRequest
from actionvm.gas.v1.gas_pb2_grpc import GasServiceStub
from actionvm.keymanager.v1.keymanager_pb2 import ListSecretsRequest
from actionvm.knowledge.v1.knowledge_pb2 import ListCollectionsRequest
from actionvm.runtime.v1.runtime_pb2 import ListRunsRequest
from cli.client import connect_system
from tests.contracts.contract import error_info

from .conftest import System

pytestmark = pytest.mark.system

AGENT = """\
apiVersion: actionvm/v1
kind: Agent
metadata: {name: tester, version: 1.0.0, description: Tests.}
spec:
  model: {use: local/babbler}
  instructions: Post.
  actions:
    - use: board.post
      credential: tester-key
      settings: {url: "http://127.0.0.1:9"}
  budget: {gas: 50000, per: day}
  limits: {steps: 2}
"""
BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}]\n"
    for before, name in zip("abcdefghijklmnop", "bcdefghijklmnopq", strict=True)
)


@dataclass(frozen=True)
class Case:
    """A manifest that is wrong: its code, where it is wrong, and a word of the way out."""

    text: str
    code: str
    field: str = ""
    hint: str = ""


CASES = {
    "malformed YAML": Case("spec: {model: [", "MALFORMED_YAML"),
    "an unknown field": Case(
        AGENT.replace("instructions", "instrutions"),
        "UNKNOWN_FIELD",
        "spec.instrutions",
        "instructions",
    ),
    "a missing secret": Case(
        AGENT.replace("tester-key", "nobodys-key"),
        "SECRET_NOT_FOUND",
        "spec.actions[0].credential",
        "secrets put",
    ),
    "an unknown action": Case(
        AGENT.replace("board.post", "board.pots"),
        "ACTION_UNKNOWN",
        "spec.actions[0].use",
        "board.post",
    ),
    "an unknown model": Case(
        AGENT.replace("local/babbler", "local/babler"), "MODEL_NOT_FOUND", "spec.model.use"
    ),
    "an unknown provider": Case(
        AGENT.replace("local/babbler", "nowhere/x"), "PROVIDER_NOT_FOUND", "spec.model.use"
    ),
    "a budget of zero": Case(
        AGENT.replace("gas: 50000", "gas: 0"), "OUT_OF_RANGE", "spec.budget.gas"
    ),
    "a YAML bomb": Case(BOMB, "ALIAS_FORBIDDEN", "a"),
    "a document outside": Case(
        AGENT + "  knowledge: {private: [{collection: c, documents: [../x.md]}]}\n",
        "PATH_FORBIDDEN",
        "spec.knowledge.private[0].documents[0]",
    ),
}


@pytest.fixture(scope="module")
def ready(system: System) -> System:
    """Return the system with the secret that the good manifest names."""
    done = system.command("secrets", "put", "tester-key", "--kind", "ed25519", "--generate")
    assert done.code == 0, done.errors
    return system


def everything_in(system: System) -> list[Message]:
    """Return what a refused request could have left behind."""

    async def read() -> list[Message]:
        async with connect_system(system.home) as client:
            return [
                await client.assembler(lambda it: it.ListBundles(ListBundlesRequest())),
                await client.runtime(lambda it: it.ListRuns(ListRunsRequest())),
                await client.knowledge(lambda it: it.ListCollections(ListCollectionsRequest())),
                await client.gas(lambda it: it.ListUsage(ListUsageRequest())),
                await client.keymanager(lambda it: it.ListSecrets(ListSecretsRequest())),
            ]

    return asyncio.run(read())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_wrong_manifest_is_refused_with_code_place_and_way_out(
    ready: System, tmp_path: Path, case: Case
) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(case.text)

    done = ready.command("run", str(path), "--json")

    assert done.code == 2
    error = done.documents[-1]["error"]
    assert error["reason"] == "INVALID_MANIFEST"
    problem = next(one for one in error["problems"] if one["code"] == case.code)
    assert problem["file"] == "agent.yaml"
    assert problem["line"] > 0
    assert problem["column"] > 0
    assert problem["field"] == case.field
    assert case.hint in problem["message"] + problem["fix"]
    assert problem["fix"]


def test_all_problems_are_reported_at_once_and_leave_nothing(ready: System, tmp_path: Path) -> None:
    before = everything_in(ready)
    path = tmp_path / "agent.yaml"
    text = AGENT.replace("tester-key", "nobodys-key").replace("local/babbler", "nowhere/x")
    path.write_text(text.replace("gas: 50000", "gas: 0"))

    done = ready.command("run", str(path))

    assert done.code == 2
    for code in ("SECRET_NOT_FOUND", "OUT_OF_RANGE"):
        assert code in done.errors
    assert everything_in(ready) == before


def test_the_same_manifest_validates_when_it_is_right(ready: System, tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(AGENT)

    done = ready.command("validate", str(path), "--json")

    assert done.document == {"valid": True, "problems": []}


def test_validate_shows_problems_as_lines(ready: System, tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(CASES["an unknown field"].text)

    done = ready.command("validate", str(path))

    assert done.code == 2
    assert "agent.yaml:6:3: error UNKNOWN_FIELD spec.instrutions: " in done.output


def test_a_manifest_of_50_mb_is_refused_before_it_travels(ready: System, tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    with path.open("wb") as file:
        file.truncate(50 * 1024 * 1024)

    done = ready.command("run", str(path), "--json")

    assert done.code == 2
    assert done.document["error"]["reason"] == "MANIFEST_TOO_LARGE"


@pytest.mark.parametrize("part", ["payload", "signature", "name"])
def test_a_bundle_with_one_flipped_bit_is_refused_and_leaves_nothing(
    ready: System, tmp_path: Path, part: str
) -> None:
    agent, bundle = tmp_path / "agent.yaml", tmp_path / "agent.bundle"
    agent.write_text(AGENT)
    assembled = ready.command("assemble", str(agent), "-o", str(bundle))
    assert assembled.code == 0, assembled.errors
    before = everything_in(ready)
    bundle.write_bytes(_flip_a_bit(bundle.read_bytes(), part))

    done = ready.command("run", str(bundle), "--json")

    assert done.code == 2
    assert done.document["error"]["reason"] in {"BUNDLE_INVALID", "INVALID_FIELD"}
    assert everything_in(ready) == before


def test_a_digest_that_nobody_assembled_is_refused(ready: System) -> None:
    done = ready.command("run", "ab" * 32, "--json")

    assert done.code == 2
    assert done.document["error"]["reason"] == "BUNDLE_NOT_FOUND"


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer stolen"),)])
def test_a_request_without_a_token_is_refused(
    ready: System, metadata: tuple[tuple[str, str], ...]
) -> None:
    with secure_channel(ready) as channel:
        stub = GasServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListUsage(ListUsageRequest(), metadata=metadata, timeout=10)

    assert error_info(caught.value).reason == "TOKEN_INVALID"


def test_a_call_in_the_clear_is_not_even_heard(ready: System) -> None:
    with (
        grpc.insecure_channel(ready.state.addresses["gas"]) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        GasServiceStub(channel).ListUsage(ListUsageRequest(), timeout=10)

    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def secure_channel(ready: System) -> grpc.Channel:
    """Return a channel as any client makes it: the certificate of the home, and the address."""
    credentials = grpc.ssl_channel_credentials(ready.home.ca_file.read_bytes())
    options = [("grpc.ssl_target_name_override", "gas.actionvm")]
    return grpc.secure_channel(ready.state.addresses["gas"], credentials, options)


def test_no_value_of_a_secret_is_in_any_log(ready: System, tmp_path: Path) -> None:
    canary = "canary-7d1f0c5e"
    (tmp_path / "value").write_text(canary)
    ready.command("secrets", "put", "canary", "--value-file", str(tmp_path / "value"))

    logs = [path.read_text() for path in ready.home.logs_dir.iterdir()]

    assert not any(canary in log for log in logs)


def _flip_a_bit(content: bytes, part: str) -> bytes:
    """Flip the lowest bit of a letter in the middle of one field of a bundle file."""
    value = json.loads(content)[part]
    text = value["value"] if isinstance(value, dict) else value
    start = content.index(text.encode()) + len(text) // 2
    flipped = bytes([content[start] ^ 1])
    return content[:start] + flipped + content[start + 1 :]
