"""The commands for what the key manager recorded: audit list, export, verify, accept-rollback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from grpc import aio

from actionvm.keymanager.v1 import audit_pb2 as pb
from chassis import canonical
from chassis.canonical import Json
from chassis.evidence.verifying import Report, read_lines, verify_export

from ..client import Client, command_error
from ..command import AsJson, Command, Yes, ask, confirm, group
from ..errors import CommandError, ExitCode
from ..output import clean, console, print_json, table, to_json
from ..public_key import parse_public_key
from ..render import time_text

KEY_FIX = (
    "it has 64 hexadecimal digits: actionvm audit verify FILE --json on an export that you trust "
    "says it"
)

app = group("See who used which key, and check that nothing of it was changed.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="An export of the audit log.")]
Key = Annotated[
    str, typer.Option("--key", metavar="HEX", help="Public key of the audit log, which you trust.")
]
AfterSequence = Annotated[
    int, typer.Option("--after", min=0, metavar="RECORD", help="Begin after this record.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1_000, help="Most records to show.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Write the export to this file.")]
Sequence = Annotated[
    int, typer.Argument(metavar="RECORD", min=1, help="The one that ROLLED_BACK told of.")
]
After = Annotated[
    Path | None,
    typer.Option("--after", metavar="FILE", help="An earlier export that this one must continue."),
]


@app.command("list", cls=Command)
def list_records(
    context: typer.Context, *, after: AfterSequence = 0, limit: Limit = 20, as_json: AsJson = False
) -> None:
    """List records in their order, from the one after --after on.

    Example: actionvm audit list --after 100
    """
    request = pb.ListAuditRecordsRequest(after_sequence=after, page_size=limit)

    async def read(client: Client) -> list[pb.AuditRecord]:
        return list((await client.audit(lambda stub: stub.ListAuditRecords(request))).records)

    found = ask(context, read)
    if as_json:
        print_json({"records": [to_json(record) for record in found]})
        return
    rows = [
        (
            str(record.sequence),
            time_text(record.create_time),
            record.account.removeprefix("agents/") or record.caller,
            record.operation or record.method,
            record.secret,
            record.outcome if record.verdict == "allow" else f"{record.verdict} ({record.rule})",
        )
        for record in found
    ]
    columns = ("record", "time", "who", "what", "secret", "outcome")
    console().print(
        table(*columns, rows=rows, right=("record",)) if rows else "nothing is recorded"
    )


@app.command("export", cls=Command)
def export(
    context: typer.Context, output: Output, *, after: AfterSequence = 0, as_json: AsJson = False
) -> None:
    """Write the log to a file that anybody can verify anywhere.

    Example: actionvm audit export -o audit.jsonl && actionvm audit verify audit.jsonl
    """
    request = pb.ExportAuditLogRequest(after_sequence=after)
    size = ask(context, lambda client: _write(client, request, output))
    if as_json:
        print_json({"file": str(output), "size_bytes": size})
    else:
        console().print(f"{size} bytes written to {output}")


@app.command("accept-rollback", cls=Command)
def accept_rollback(
    context: typer.Context, sequence: Sequence, *, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Answer again after older data were put back, although later records are lost.

    Example: actionvm audit accept-rollback 1234 --yes
    """
    if not yes:
        question = f"Are the records up to {sequence} really lost, and may that be?"
        confirm(question, refusal="the rollback was not accepted")
    request = pb.AcceptRollbackRequest(sequence=sequence)

    async def accept(client: Client) -> None:
        await client.audit(lambda stub: stub.AcceptRollback(request))

    ask(context, accept)
    if as_json:
        print_json({"accepted": sequence})
    else:
        console().print("accepted, and recorded; keys are used again")


@app.command("verify", cls=Command)
def verify(file: File, *, key: Key = "", after: After = None, as_json: AsJson = False) -> None:
    """Check an export of the audit log: every record, its order, every signature.

    Nothing is asked of anybody, so it works anywhere. Without --key it shows only that the key in
    the export signed it: take the key from somebody whom you trust, not from who sent the file.

    Keep each export. With --after you see whether a later one still has all that it had.

    Example: actionvm audit verify audit.jsonl --key 1c7e… --after last-month.jsonl
    """
    trusted_key = parse_public_key(key, KEY_FIX) if key else None
    earlier = _read(after, trusted_key) if after else None
    if after and earlier and earlier.flaw:
        _tell(after, earlier, is_trusted=bool(key), as_json=as_json)
        raise typer.Exit(ExitCode.RUN_FAILED)
    report = _read(file, trusted_key, earlier)
    _tell(file, report, is_trusted=bool(key), as_json=as_json, after=after)
    if report.flaw:
        raise typer.Exit(ExitCode.RUN_FAILED)


def _read(file: Path, trusted_key: bytes | None, earlier: Report | None = None) -> Report:
    with file.open("rb") as lines:
        report = verify_export(read_lines(lines), trusted_key, earlier)
    if report.header is None:
        raise CommandError(
            f"{file} is no export of the audit log: {report.flaw}",
            reason="FILE_INVALID",
            field="FILE",
            fix="check that it is the file that you mean",
        )
    return report


def _tell(
    file: Path, report: Report, *, is_trusted: bool, as_json: bool, after: Path | None = None
) -> None:
    facts = _facts(report)
    if as_json:
        verdict: dict[str, Json] = {
            "verified": not report.flaw,
            "flaw": report.flaw,
            "file": str(file),
            "line": report.line,
            "key_trusted": is_trusted,
        }
        print_json({**verdict, **facts})
        return
    console().print(table("", "", rows=[(name, str(value)) for name, value in facts.items()]))
    if report.flaw:
        console().print(f"not genuine: {clean(f'{file}, line {report.line}: {report.flaw}')}")
        return
    if after:
        console().print(f"it continues {clean(str(after))}: nothing of that is gone or changed")
    whose = "which you trust" if is_trusted else "and whose that is, it cannot prove"
    console().print(f"verified: exactly these records were signed with this key, {whose}")


def _facts(report: Report) -> dict[str, Json]:
    """Return what is known up to the flaw, in the order in which people read it."""
    header, checkpoint = report.header, report.checkpoint
    assert header is not None, "it is an export"
    facts: dict[str, Json] = {
        "ledger": header.ledger,
        "key": header.key.hex(),
        "first": header.before.size + 1,
        "records": report.record_count,
        "checkpoints": report.checkpoint_count,
        "size": report.log.size,
        "root": report.log.root.hex(),
        "head": report.log.head.hex(),
    }
    if checkpoint is not None:
        facts |= {"counter": checkpoint.counter, "time": canonical.time_text(checkpoint.time)}
    return facts


async def _write(client: Client, request: pb.ExportAuditLogRequest, output: Path) -> int:
    """Write an export beside its place, and put it there as a whole."""
    draft = output.with_name(f".{output.name}.part")
    peer = client.audit
    try:
        with draft.open("wb") as file:
            async for part in peer.stub.ExportAuditLog(request):
                file.write(part.lines)
            size = file.tell()
        draft.replace(output)
    except aio.AioRpcError as error:
        raise command_error(error, peer.name, peer.address) from error
    finally:
        draft.unlink(missing_ok=True)
    return size
