"""The contract of the assembler: every RPC is called, every reason is provoked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from actionvm.assembler.v1 import assembler_pb2 as pb
from actionvm.assembler.v1 import assembler_pb2_grpc
from assembler.service import AssemblerService, hosted
from chassis.server import Hosted
from tests.assembler.broken_code import GRANTS, with_code
from tests.assembler.workbench import FILES, MANIFEST, Workbench, changed
from tests.contracts.contract import Call, make
from tests.grpc_fixtures import StubAs

VALID = pb.Manifest(
    file="agent.yaml",
    content=MANIFEST.encode(),
    files=[pb.File(path=path, content=content) for path, content in FILES.items()],
)
INVALID = pb.Manifest(file="agent.yaml", content=changed("gas: 50000", "gas: 0").encode())
LARGE = pb.Manifest(file="agent.yaml", content=b"#" * (1024 * 1024 + 1))
CODE = pb.Manifest(
    file="agent.yaml",
    content=with_code(f"source: actions/score.py, {GRANTS}").encode(),
    files=[*VALID.files, pb.File(path="actions/score.py", content=b"")],
)
AWAY = pb.Manifest(
    file="agent.yaml",
    content=with_code("source: actions/away.py").encode(),
    files=[*VALID.files, pb.File(path="actions/away.py", content=b"")],
)
UNKNOWN = f"bundles/{'0' * 64}"

CALLS = [
    Call("AssembleAgent", pb.AssembleAgentRequest(manifest=VALID)),
    Call("AssembleAgent", pb.AssembleAgentRequest(), reason="INVALID_FIELD"),
    Call("AssembleAgent", pb.AssembleAgentRequest(manifest=INVALID), reason="INVALID_MANIFEST"),
    Call("AssembleAgent", pb.AssembleAgentRequest(manifest=CODE)),
    Call("AssembleAgent", pb.AssembleAgentRequest(manifest=AWAY), reason="SANDBOX_UNAVAILABLE"),
    Call("AssembleAgent", pb.AssembleAgentRequest(manifest=LARGE), reason="MANIFEST_TOO_LARGE"),
    Call("AssembleAgent", pb.AssembleAgentRequest(), caller="runtime", reason="METHOD_DENIED"),
    Call("AssembleAgent", pb.AssembleAgentRequest(), caller="nobody", reason="TOKEN_INVALID"),
    Call("ValidateManifest", pb.ValidateManifestRequest(manifest=VALID)),
    Call("ValidateManifest", pb.ValidateManifestRequest(manifest=INVALID)),
    Call(
        "ValidateManifest", pb.ValidateManifestRequest(manifest=AWAY), reason="SANDBOX_UNAVAILABLE"
    ),
    Call("ValidateManifest", pb.ValidateManifestRequest(), reason="INVALID_FIELD"),
    Call(
        "ValidateManifest", pb.ValidateManifestRequest(manifest=LARGE), reason="MANIFEST_TOO_LARGE"
    ),
    Call("GetBundle", pb.GetBundleRequest(name=UNKNOWN), reason="BUNDLE_NOT_FOUND"),
    Call(
        "GetBundle", pb.GetBundleRequest(name=UNKNOWN), caller="runtime", reason="BUNDLE_NOT_FOUND"
    ),
    Call("GetBundle", pb.GetBundleRequest(name=UNKNOWN), caller="gas", reason="METHOD_DENIED"),
    Call("GetBundle", pb.GetBundleRequest(name="bundles/x"), reason="INVALID_FIELD"),
    Call("ListBundles", pb.ListBundlesRequest()),
    Call("ListBundles", pb.ListBundlesRequest(page_size=-1), reason="INVALID_FIELD"),
    Call("GetManifestSchema", pb.GetManifestSchemaRequest()),
    Call("ValidateTemplate", pb.ValidateTemplateRequest(), reason="NOT_IMPLEMENTED"),
    Call("RenderTemplate", pb.RenderTemplateRequest(), reason="NOT_IMPLEMENTED"),
    Call("PublishTemplate", pb.PublishTemplateRequest(), reason="NOT_IMPLEMENTED"),
    Call("ListTemplates", pb.ListTemplatesRequest(), reason="NOT_IMPLEMENTED"),
    Call("DeprecateTemplate", pb.DeprecateTemplateRequest(), reason="NOT_IMPLEMENTED"),
]


@pytest.fixture(scope="module")
def hosted_service() -> Callable[[], AbstractAsyncContextManager[Hosted]]:
    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        workbench = Workbench()
        yield hosted(AssemblerService(workbench.assembler, workbench.store))

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[assembler_pb2_grpc.AssemblerServiceStub]:
    return assembler_pb2_grpc.AssemblerServiceStub


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.reason or 'OK'}")
def test_a_call_answers_as_the_contract_says(grpc_stub_as: StubAs, call: Call) -> None:
    responses = make(grpc_stub_as, call)

    assert bool(responses) == (not call.reason)


def test_the_runtime_reads_a_bundle_that_the_operator_assembled(grpc_stub_as: StubAs) -> None:
    *_, last = grpc_stub_as("operator").AssembleAgent(pb.AssembleAgentRequest(manifest=VALID))
    response = grpc_stub_as("runtime").GetBundle(
        pb.GetBundleRequest(name=last.assembly.bundle.name)
    )

    assert response.bundle == last.assembly.bundle
