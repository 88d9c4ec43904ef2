"""The service over real gRPC: limits, details of errors, pages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from actionvm.action.v1 import action_pb2
from actionvm.assembler.v1 import assembler_pb2 as pb
from actionvm.assembler.v1 import assembler_pb2_grpc
from assembler.problems import Code
from assembler.service import AssemblerService, hosted
from chassis.canonical import sha256_hex
from chassis.errors import PeerUnavailable
from chassis.problems import Flaw
from chassis.server import Hosted
from tests.contracts.contract import bad_request, error_info

from .workbench import FILES, MANIFEST, Workbench, changed

Stub: TypeAlias = assembler_pb2_grpc.AssemblerServiceStub

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def workbench() -> Workbench:
    return Workbench()


@pytest.fixture(scope="module")
def hosted_service(workbench: Workbench) -> Callable[[], AbstractAsyncContextManager[Hosted]]:
    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        yield hosted(AssemblerService(workbench.assembler, workbench.store))

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[Stub]:
    return Stub


def manifest(text: str | bytes = MANIFEST, *files: pb.File) -> pb.Manifest:
    content = text.encode() if isinstance(text, str) else text
    ours = [pb.File(path=path, content=data) for path, data in FILES.items()]
    return pb.Manifest(file="agent.yaml", content=content, files=[*ours, *files])


def assemble(stub: Stub, sent: pb.Manifest, parameters: str = "") -> list[pb.AssembleAgentResponse]:
    request = pb.AssembleAgentRequest(manifest=sent, parameters=parameters)
    return list(stub.AssembleAgent(request, timeout=20))


def problems_of(error: grpc.RpcError) -> list[action_pb2.Problem]:
    found = action_pb2.Problems()
    assert any(detail.Unpack(found) for detail in _status(error).details)
    return list(found.problems)


def _status(error: grpc.RpcError) -> status_pb2.Status:
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    assert status is not None
    return status


def test_an_assembly_streams_stages_and_ends_with_the_bundle(grpc_stub: Stub) -> None:
    *progress, last = assemble(grpc_stub, manifest())

    assert [event.progress.stage for event in progress] == [
        pb.STAGE_PARSE,
        pb.STAGE_RESOLVE,
        pb.STAGE_LINK,
        pb.STAGE_QUOTE,
        pb.STAGE_INGEST,
        pb.STAGE_SIGN,
    ]
    assert last.assembly.bundle.name == f"bundles/{sha256_hex(last.assembly.bundle.payload)}"
    assert last.assembly.bundle.digest.size_bytes == len(last.assembly.bundle.payload)
    assert last.assembly.step_gas_max == 2_209


def test_parameters_arrive(grpc_stub: Stub) -> None:
    *_, last = assemble(grpc_stub, manifest(), '{"board_url": "https://other.example"}')

    assert b"https://other.example" in last.assembly.bundle.payload


def test_warnings_arrive(grpc_stub: Stub) -> None:
    *_, last = assemble(grpc_stub, manifest(changed("50000", "5")))

    assert [(warning.code, warning.severity) for warning in last.assembly.warnings] == [
        (Code.BUDGET_TIGHT, action_pb2.Problem.SEVERITY_WARNING)
    ]


def test_a_bundle_can_be_read_again(grpc_stub: Stub) -> None:
    *_, last = assemble(grpc_stub, manifest())
    response = grpc_stub.GetBundle(pb.GetBundleRequest(name=last.assembly.bundle.name))

    assert response.bundle == last.assembly.bundle


def test_bundles_are_listed_in_pages(grpc_stub: Stub) -> None:
    for version in ("2.0.0", "2.0.1", "2.0.2"):
        assemble(grpc_stub, manifest(changed("1.0.0", version)))
    first = grpc_stub.ListBundles(pb.ListBundlesRequest(page_size=2))
    second = grpc_stub.ListBundles(
        pb.ListBundlesRequest(page_size=1, page_token=first.next_page_token)
    )

    assert [found.version for found in (*first.bundles, *second.bundles)] == [
        "2.0.2",
        "2.0.1",
        "2.0.0",
    ]


@pytest.mark.parametrize("token", ["x", "WyJhIl0=", "WyI5OTk5OTk5OTk5OTk5OTk5OTk5OTkiXQ==", "é"])
def test_a_page_token_of_somebody_else_is_refused(grpc_stub: Stub, token: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        grpc_stub.ListBundles(pb.ListBundlesRequest(page_token=token))

    assert error_info(raised.value).reason == "INVALID_FIELD"


def test_an_invalid_manifest_carries_its_problems_in_both_forms(grpc_stub: Stub) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        assemble(grpc_stub, manifest(changed("gas: 50000", "gas: 0")))

    (problem,) = problems_of(raised.value)
    assert (problem.code, problem.line, problem.column) == ("OUT_OF_RANGE", 21, 17)
    assert bad_request(raised.value) == {"spec.budget.gas": "is 0; it must be at least 1"}
    assert error_info(raised.value).metadata["problem_count"] == "1"


def test_many_problems_fit_into_what_clients_accept(grpc_stub: Stub) -> None:
    text = MANIFEST + "".join(f"unknown_field_number_{number}: 1\n" for number in range(500))
    with pytest.raises(grpc.RpcError) as raised:
        assemble(grpc_stub, manifest(text))

    problems = problems_of(raised.value)
    assert len(_status(raised.value).SerializeToString()) * 4 / 3 < 8_000
    assert problems[-1].code == Flaw.PROBLEMS_LEFT_OUT
    assert len(problems) >= 10


def test_validation_shows_a_hundred_problems(grpc_stub: Stub) -> None:
    text = MANIFEST + "".join(f"unknown_field_number_{number}: 1\n" for number in range(500))
    response = grpc_stub.ValidateManifest(pb.ValidateManifestRequest(manifest=manifest(text)))

    assert len(response.problems) == 100
    assert response.problems[-1].message == "401 more problems are not shown"


def test_fifty_megabytes_of_manifest_are_too_large(grpc_stub: Stub) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        assemble(grpc_stub, manifest(b"#" * 50 * MIB))

    assert error_info(raised.value).reason == "MANIFEST_TOO_LARGE"
    assert list(bad_request(raised.value)) == ["manifest.content"]


def test_many_large_files_are_too_large(grpc_stub: Stub) -> None:
    files = [pb.File(path=f"f{number}", content=b"x" * MIB) for number in range(33)]
    with pytest.raises(grpc.RpcError) as raised:
        assemble(grpc_stub, manifest(MANIFEST, *files))

    assert error_info(raised.value).reason == "MANIFEST_TOO_LARGE"
    assert list(bad_request(raised.value)) == ["manifest.files"]


def test_a_manifest_of_a_mebibyte_is_read(grpc_stub: Stub) -> None:
    text = MANIFEST + "#" * (MIB - len(MANIFEST))

    assert assemble(grpc_stub, manifest(text))


_OK = manifest()


@pytest.mark.parametrize(
    ("sent", "parameters", "field"),
    [
        (None, "", "manifest"),
        (pb.Manifest(content=b"a"), "", "manifest.file"),
        (pb.Manifest(file="x" * 257, content=b"a"), "", "manifest.file"),
        (pb.Manifest(file="a\x1b[31m", content=b"a"), "", "manifest.file"),
        (manifest(MANIFEST, pb.File(path="../x")), "", "manifest.files[1].path"),
        (manifest(MANIFEST, pb.File(path="/x")), "", "manifest.files[1].path"),
        (manifest(MANIFEST, pb.File()), "", "manifest.files[1].path"),
        (manifest(MANIFEST, pb.File(path="knowledge/week.md")), "", "manifest.files[1].path"),
        (
            manifest(MANIFEST, pb.File(path="a", content=b"x" * (MIB + 1))),
            "",
            "manifest.files[1].content",
        ),
        (manifest(MANIFEST, *(pb.File(path=f"f{n}") for n in range(256))), "", "manifest.files"),
        (_OK, "{", "parameters"),
        (_OK, " " * (64 * 1024 + 1), "parameters"),
        (_OK, '{"board_url": []}', "parameters.board_url"),
    ],
)
def test_a_malformed_request_names_its_field(
    grpc_stub: Stub, sent: pb.Manifest | None, parameters: str, field: str
) -> None:
    request = pb.ValidateManifestRequest(manifest=sent, parameters=parameters)
    with pytest.raises(grpc.RpcError) as raised:
        grpc_stub.ValidateManifest(request)

    assert error_info(raised.value).reason == "INVALID_FIELD"
    assert list(bad_request(raised.value)) == [field]


def test_a_peer_that_is_down_is_said_to_be(grpc_stub: Stub, workbench: Workbench) -> None:
    workbench.peers.signer.fail_next(PeerUnavailable("keymanager"))
    with pytest.raises(grpc.RpcError) as raised:
        assemble(grpc_stub, manifest())

    info = error_info(raised.value)
    assert (info.reason, dict(info.metadata)) == ("PEER_UNAVAILABLE", {"peer": "keymanager"})


def test_the_schema_accepts_what_assembles(grpc_stub: Stub) -> None:
    response = grpc_stub.GetManifestSchema(pb.GetManifestSchemaRequest())
    schema = json.loads(response.schema)
    Draft202012Validator.check_schema(schema)
    agent = {
        "apiVersion": "actionvm/v1",
        "kind": "Agent",
        "metadata": {"name": "a", "version": "1.0.0"},
        "spec": {
            "model": {"use": "local/babbler"},
            "instructions": "Do.",
            "budget": {"gas": 1, "per": "day"},
        },
    }

    assert list(Draft202012Validator(schema).iter_errors(agent)) == []
    assert assemble(grpc_stub, manifest(json.dumps(agent)))


@settings(max_examples=60, derandomize=True)
@given(
    file=st.text(max_size=4),
    content=st.binary(max_size=30),
    path=st.text(max_size=4),
    parameters=st.text(max_size=6) | st.sampled_from(['{"a": 1}', "[]", "null"]),
)
def test_no_request_is_a_bug(
    grpc_stub: Stub, file: str, content: bytes, path: str, parameters: str
) -> None:
    sent = pb.Manifest(file=file, content=content, files=[pb.File(path=path)])
    try:
        grpc_stub.ValidateManifest(pb.ValidateManifestRequest(manifest=sent, parameters=parameters))
    except grpc.RpcError as error:
        assert error_info(error).reason == "INVALID_FIELD"


def test_the_details_of_an_error_are_of_known_types(grpc_stub: Stub) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        assemble(grpc_stub, manifest("a: ["))

    names = [detail.TypeName() for detail in _status(raised.value).details]
    assert names == [
        error_details_pb2.ErrorInfo.DESCRIPTOR.full_name,
        error_details_pb2.BadRequest.DESCRIPTOR.full_name,
        action_pb2.Problems.DESCRIPTOR.full_name,
    ]
