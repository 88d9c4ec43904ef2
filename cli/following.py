"""Assembling, starting and watching a run through whatever happens to the services meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from grpc import aio

from actionvm.action.v1 import action_pb2
from actionvm.assembler.v1 import assembler_pb2
from actionvm.keymanager.v1 import keymanager_pb2
from actionvm.runtime.v1 import runtime_pb2

from .bundle import BUNDLE_KEY
from .client import Client, Retrying, command_error
from .errors import CommandError, ExitCode
from .manifest import Source
from .receipt import RECEIPT_KEY, Checked, called_runs, find_flaw
from .views import View

# A service that was killed comes back within seconds; one that keeps dying does not.
RESUME_SECONDS = 30.0
ASSEMBLE_SECONDS = 300.0
# Of a run that called others; nobody reads more.
RECEIPTS_MAX = 200


async def assemble(
    client: Client, source: Source, parameters: str, view: View
) -> assembler_pb2.Assembly:
    """Assemble a manifest; the same one gives the same bundle, so a lost answer is asked for again.

    Progress that was shown before is not shown twice.
    """
    request = assembler_pb2.AssembleAgentRequest(
        manifest=manifest_to_proto(source), parameters=parameters
    )
    retrying = Retrying(client.assembler.patience_seconds)
    shown = 0
    while True:
        try:
            position = 0
            stub = client.assembler.stub
            async for event in stub.AssembleAgent(request, timeout=ASSEMBLE_SECONDS):
                if event.HasField("assembly"):
                    view.assembled(event.assembly)
                    return event.assembly
                position += 1
                if position > shown:
                    shown = position
                    view.progress(event.progress)
            raise CommandError("the assembler ended its answer early", reason="STREAM_INCOMPLETE")
        except aio.AioRpcError as error:
            if not await retrying.is_worth_it(error):
                peer = client.assembler
                raise command_error(error, peer.name, peer.address) from error


async def start_run(
    client: Client, bundle: action_pb2.Bundle | str, *, input_json: str, dry_run: bool
) -> runtime_pb2.Run:
    """Start a run of a bundle or of its name, once, however often the answer is lost."""
    request = runtime_pb2.StartRunRequest(
        request_id=str(uuid.uuid4()), input=input_json, dry_run=dry_run
    )
    if isinstance(bundle, str):
        request.bundle_name = bundle
    else:
        request.bundle.CopyFrom(bundle)
    response = await client.runtime(lambda stub: stub.StartRun(request))
    return response.run


async def watch(
    client: Client, run: str, on_event: Callable[[runtime_pb2.WatchRunResponse], None]
) -> runtime_pb2.RunFinished:
    """Show the events of a run, each once, until it ends.

    A stream that breaks off is resumed after the last event that arrived.
    """
    retrying = Retrying(RESUME_SECONDS if client.runtime.patience_seconds else 0.0)
    last = 0
    while True:
        request = runtime_pb2.WatchRunRequest(name=run, after_sequence=last)
        try:
            async for event in client.runtime.stub.WatchRun(request):
                retrying.restart()
                last = event.sequence or last
                on_event(event)
                if event.HasField("finished"):
                    return event.finished
            raise CommandError(
                "the runtime ended the stream before the run",
                reason="STREAM_INCOMPLETE",
                fix=f"actionvm watch {run}",
            )
        except aio.AioRpcError as error:
            if not await retrying.is_worth_it(error):
                peer = client.runtime
                raise command_error(error, peer.name, peer.address) from error


async def check_receipt(client: Client, receipt: action_pb2.Receipt) -> str:
    """Return what is wrong with a receipt, empty for nothing; keymanager says whose key it is."""
    try:
        return find_flaw(receipt, await receipt_key(client))
    except CommandError as error:
        # A run that ended is shown all the same.
        return str(error)


async def receipt_key(client: Client) -> bytes:
    """Return the public key of receipts."""
    return await _public_key(client, RECEIPT_KEY)


async def bundle_key(client: Client) -> bytes:
    """Return the public key of bundles."""
    return await _public_key(client, BUNDLE_KEY)


async def _public_key(client: Client, name: str) -> bytes:
    request = keymanager_pb2.GetPublicKeyRequest(key=name)
    return (await client.keymanager(lambda stub: stub.GetPublicKey(request))).public_key


async def read_receipts(client: Client, run: str) -> list[Checked]:
    """Return the receipt of a run, and below it those of the runs that it called."""
    found: list[tuple[action_pb2.Receipt, int]] = []
    waiting = [(run, 0)]
    while waiting and len(found) < RECEIPTS_MAX:
        name, depth = waiting.pop()
        try:
            receipt = await _read_receipt(client, name)
        except CommandError as error:
            if not depth or error.exit_code is not ExitCode.BAD_INPUT:
                raise
            # Another runtime had this run; its line stands in the receipt of the caller.
            continue
        found.append((receipt, depth))
        waiting += reversed([(called, depth + 1) for called, _ in called_runs(receipt)])
    totals = {receipt.run: receipt.total_gas for receipt, _ in found}
    try:
        key = await receipt_key(client)
    except CommandError as error:
        return [Checked(receipt, str(error), depth) for receipt, depth in found]
    return [Checked(receipt, find_flaw(receipt, key, totals), depth) for receipt, depth in found]


async def _read_receipt(client: Client, run: str) -> action_pb2.Receipt:
    request = runtime_pb2.GetReceiptRequest(run=run)
    return (await client.runtime(lambda stub: stub.GetReceipt(request))).receipt


def manifest_to_proto(source: Source) -> assembler_pb2.Manifest:
    """Return a manifest as it is sent."""
    files = (assembler_pb2.File(path=file.path, content=file.content) for file in source.files)
    return assembler_pb2.Manifest(file=source.file, content=source.content, files=files)
