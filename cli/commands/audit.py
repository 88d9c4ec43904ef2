"""The commands for what the key manager recorded: audit verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chassis.canonical import Json, time_text
from chassis.evidence.verifying import Report, read_lines, verify_export

from ..command import AsJson, Command, group
from ..errors import CommandError, ExitCode
from ..output import clean, console, print_json, table
from ..public_key import parse_public_key

KEY_FIX = (
    "it has 64 hexadecimal digits: actionvm audit verify FILE --json on an export that you trust "
    "says it"
)

app = group("See who used which key, and check that nothing of it was changed.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="An export of the audit log.")]
Key = Annotated[
    str, typer.Option("--key", metavar="HEX", help="Public key of the audit log, which you trust.")
]
After = Annotated[
    Path | None,
    typer.Option("--after", metavar="FILE", help="An earlier export that this one must continue."),
]


# One command, and more to come: without this, typer would leave its name out.
@app.callback()
def options() -> None:
    """See who used which key, and check that nothing of it was changed."""


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
        facts |= {"counter": checkpoint.counter, "time": time_text(checkpoint.time)}
    return facts
