"""The contract of the assembler over gRPC: parse, assemble, build the answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from actionvm.action.v1 import action_pb2
from actionvm.assembler.v1 import assembler_pb2 as pb
from actionvm.assembler.v1 import assembler_pb2_grpc
from chassis import fields
from chassis.errors import InvalidField, ServiceError
from chassis.identity import AUDITORS, OPERATOR, PEOPLE
from chassis.problems import PROBLEMS_MAX, Problem, Severity, shorten
from chassis.server import Hosted
from chassis.unimplemented import refusing_the_rest

from .assembly import Assembler, Assembly, Progress, Source, Stage
from .bundle import Bundle
from .errors import InvalidManifest, ManifestTooLarge
from .manifest import manifest_schema
from .part import is_safe_path
from .store import BundleStore, BundleSummary
from .template import read_parameters

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from grpc import aio

    Context: TypeAlias = aio.ServicerContext[Any, Any]

DESCRIPTOR = pb.DESCRIPTOR.services_by_name["AssemblerService"]

MANIFEST_BYTES_MAX = 1024 * 1024
FILE_BYTES_MAX = 1024 * 1024
FILES_BYTES_MAX = 32 * 1024 * 1024
FILES_MAX = 256
FILE_NAME_CHARACTERS_MAX = 256
PARAMETERS_BYTES_MAX = 64 * 1024
# Errors travel as HTTP/2 metadata: clients refuse more than 8 KiB of it, and base64 adds a third.
DETAILS_BYTES_MAX = 4_500

_SEQUENCE = re.compile(r"[0-9]{1,18}")

_OPERATOR = frozenset({OPERATOR})
CALLERS = {
    "AssembleAgent": _OPERATOR,
    "ValidateManifest": _OPERATOR,
    "GetBundle": AUDITORS | {"runtime"},
    "ListBundles": PEOPLE,
    "GetManifestSchema": PEOPLE,
    "ValidateTemplate": _OPERATOR,
    "RenderTemplate": _OPERATOR,
    "PublishTemplate": _OPERATOR,
    "ListTemplates": PEOPLE,
    "DeprecateTemplate": _OPERATOR,
}


def hosted(servicer: AssemblerService) -> Hosted:
    """Return the service with its authorisation table and the details of its errors."""
    return Hosted(
        descriptor=DESCRIPTOR,
        add_to=lambda server: assembler_pb2_grpc.add_AssemblerServiceServicer_to_server(
            servicer,  # type: ignore[arg-type]  # the decorator adds what it lacks
            server,
        ),
        callers=CALLERS,
        details_of=details_of,
    )


@refusing_the_rest(DESCRIPTOR)
class AssemblerService:
    """Answers from one assembler and the store of its bundles."""

    def __init__(self, assembler: Assembler, store: BundleStore) -> None:
        self._assembler = assembler
        self._store = store

    async def AssembleAgent(
        self, request: pb.AssembleAgentRequest, context: Context
    ) -> AsyncIterator[pb.AssembleAgentResponse]:
        source = _source_from_proto(request)
        async for event in self._assembler.assemble(source):
            yield _event_to_proto(event)

    async def ValidateManifest(
        self, request: pb.ValidateManifestRequest, context: Context
    ) -> pb.ValidateManifestResponse:
        problems = await self._assembler.validate(_source_from_proto(request))
        shown = [_problem_to_proto(problem) for problem in shorten(problems)]
        return pb.ValidateManifestResponse(problems=shown)

    async def GetBundle(
        self, request: pb.GetBundleRequest, context: Context
    ) -> pb.GetBundleResponse:
        example = "bundles/<64 hexadecimal digits>"
        name = fields.require_match("name", request.name, fields.BUNDLE_NAME, example=example)
        bundle = await asyncio.to_thread(self._store.get, name)
        return pb.GetBundleResponse(bundle=_bundle_to_proto(bundle))

    async def ListBundles(
        self, request: pb.ListBundlesRequest, context: Context
    ) -> pb.ListBundlesResponse:
        limit = fields.page_limit(request.page_size)
        before = _before(request.page_token)
        found = await asyncio.to_thread(self._store.list, before=before, limit=limit + 1)
        token = fields.page_token(str(found[limit - 1].sequence)) if len(found) > limit else ""
        bundles = [_summary_to_proto(summary) for summary in found[:limit]]
        return pb.ListBundlesResponse(bundles=bundles, next_page_token=token)

    async def GetManifestSchema(
        self, request: pb.GetManifestSchemaRequest, context: Context
    ) -> pb.GetManifestSchemaResponse:
        return pb.GetManifestSchemaResponse(schema=manifest_schema())


def details_of(error: ServiceError) -> Sequence[Message]:
    """Return what an error carries besides its reason."""
    bad_request = error_details_pb2.BadRequest()
    if isinstance(error, ManifestTooLarge):
        bad_request.field_violations.add(field=error.field, description=str(error))
        return [bad_request]
    if not isinstance(error, InvalidManifest):
        return []
    shown = action_pb2.Problems()
    for count_max in range(min(len(error.problems), PROBLEMS_MAX), 0, -1):
        problems = shorten(error.problems, count_max=count_max)
        shown = action_pb2.Problems(problems=map(_problem_to_proto, problems))
        bad_request = error_details_pb2.BadRequest()
        for problem in problems:
            bad_request.field_violations.add(field=problem.field, description=problem.message)
        if shown.ByteSize() + bad_request.ByteSize() <= DETAILS_BYTES_MAX:
            break
    return [bad_request, shown]


def _before(token: str) -> int | None:
    key = fields.page_start(token)
    if key is None:
        return None
    if not _SEQUENCE.fullmatch(key[0]):
        raise InvalidField("page_token", "was not made by this service")
    return int(key[0])


def _source_from_proto(request: pb.AssembleAgentRequest | pb.ValidateManifestRequest) -> Source:
    if not request.HasField("manifest"):
        raise InvalidField("manifest", "is required")
    manifest = request.manifest
    fields.require_size("manifest.file", manifest.file, size_max=FILE_NAME_CHARACTERS_MAX)
    if not manifest.file.isprintable():
        raise InvalidField("manifest.file", "holds a character that cannot be shown")
    fields.require_size("manifest.files", manifest.files, size_min=0, size_max=FILES_MAX)
    _require_room("manifest.content", len(manifest.content), MANIFEST_BYTES_MAX)
    _require_room("manifest.files", sum(map(_size, manifest.files)), FILES_BYTES_MAX)
    fields.require_size(
        "parameters", request.parameters.encode(), size_min=0, size_max=PARAMETERS_BYTES_MAX
    )
    return Source(
        file=manifest.file,
        content=manifest.content,
        files=_files_from_proto(manifest.files),
        parameters=read_parameters(request.parameters),
    )


def _files_from_proto(messages: Sequence[pb.File]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for index, file in enumerate(messages):
        field = f"manifest.files[{index}]"
        if not is_safe_path(file.path):
            problem = "is not a path below the manifest, with / and without `.` and `..`"
            raise InvalidField(f"{field}.path", problem)
        if file.path in files:
            raise InvalidField(f"{field}.path", "comes twice")
        fields.require_size(f"{field}.content", file.content, size_min=0, size_max=FILE_BYTES_MAX)
        files[file.path] = file.content
    return files


def _size(file: pb.File) -> int:
    return len(file.content)


def _require_room(field: str, size_bytes: int, size_bytes_max: int) -> None:
    if size_bytes > size_bytes_max:
        raise ManifestTooLarge(field, size_bytes, size_bytes_max)


def _event_to_proto(event: Progress | Assembly) -> pb.AssembleAgentResponse:
    if isinstance(event, Progress):
        progress = pb.Progress(stage=_STAGES[event.stage], detail=event.detail)
        return pb.AssembleAgentResponse(progress=progress)
    assembly = pb.Assembly(
        bundle=_bundle_to_proto(event.bundle),
        warnings=[_problem_to_proto(problem) for problem in event.warnings],
        step_gas_max=event.step_gas_max,
    )
    return pb.AssembleAgentResponse(assembly=assembly)


def _bundle_to_proto(bundle: Bundle) -> action_pb2.Bundle:
    signature = bundle.signature
    return action_pb2.Bundle(
        name=bundle.name,
        digest=action_pb2.Digest(sha256=bundle.sha256, size_bytes=len(bundle.payload)),
        payload=bundle.payload,
        signature=action_pb2.Signature(
            key=signature.key,
            algorithm=signature.algorithm,
            public_key=signature.public_key,
            value=signature.value,
        ),
    )


def _summary_to_proto(summary: BundleSummary) -> pb.BundleSummary:
    create_time = Timestamp()
    create_time.FromDatetime(summary.create_time)
    return pb.BundleSummary(
        name=summary.name,
        account=summary.account,
        version=summary.version,
        create_time=create_time,
    )


def _problem_to_proto(problem: Problem) -> action_pb2.Problem:
    return action_pb2.Problem(
        severity=_SEVERITIES[problem.severity],
        code=problem.code,
        file=problem.file,
        line=problem.line,
        column=problem.column,
        field=problem.field,
        message=problem.message,
        fix=problem.fix,
    )


_STAGES = {stage: pb.Stage.Value(f"STAGE_{stage.name}") for stage in Stage}
_SEVERITIES = {
    severity: action_pb2.Problem.Severity.Value(f"SEVERITY_{severity.name}")
    for severity in Severity
}
