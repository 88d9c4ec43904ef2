"""The command that checks receipts anywhere: verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf import json_format
from rich.text import Text

from actionvm.action.v1 import action_pb2
from chassis.canonical import Json

from ..bundle import BUNDLE_KEY, find_bundle_flaw
from ..command import AsJson, ask
from ..errors import CommandError, ExitCode
from ..following import bundle_key, receipt_key
from ..manifest import read_limited
from ..output import clean, console, print_json
from ..public_key import parse_public_key
from ..receipt import Checked, called_runs, find_flaw
from ..render import render_receipt
from .agents import is_bundle, read_bundle

FILE_BYTES_MAX = 64 * 1024 * 1024
KEY_FIX = "it has 64 hexadecimal digits: actionvm verify FILE --json says it"

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="What 'show RUN --json' printed, or a bundle.")
]
Key = Annotated[
    str,
    typer.Option("--key", metavar="HEX", help="Public key that signed; else that of this system."),
]


def verify(context: typer.Context, file: File, *, key: Key = "", as_json: AsJson = False) -> None:
    """Check a receipt with those of the runs that were called, or a bundle: digests, signatures.

    Write the file with: actionvm show RUN --json > receipt.json
    or with: actionvm assemble FILE -o BUNDLE

    With --key nothing is asked of anybody, so it works anywhere. Take the key from somebody whom
    you trust, not from who sent the receipt; --json says which one was used.

    Example: actionvm verify receipt.json
    """
    if is_signed_bundle(file):
        _verify_bundle(context, file, key=key, as_json=as_json)
        return
    receipts = read_receipt_file(file)
    public_key = parse_public_key(key, KEY_FIX) if key else ask(context, receipt_key)
    totals = {receipt.run: receipt.total_gas for receipt in receipts}
    checked = [
        Checked(receipt, find_flaw(receipt, public_key, totals), min(number, 1))
        for number, receipt in enumerate(receipts)
    ]
    missing = sorted({run for one in receipts for run, _ in called_runs(one)} - totals.keys())
    is_genuine = not any(one.flaw for one in checked)
    if as_json:
        flaws: Json = {one.receipt.run: one.flaw for one in checked if one.flaw}
        found: dict[str, Json] = {"verified": is_genuine, "flaws": flaws, "missing": missing}
        print_json({**found, "key": public_key.hex()})
    else:
        for one in checked:
            console().print(render_receipt(one.receipt, one.flaw, one.depth))
        for run in missing:
            console().print(f"the receipt of {run}, which was called, is not in this file")
    if not is_genuine:
        raise typer.Exit(ExitCode.RUN_FAILED)


def is_signed_bundle(file: Path) -> bool:
    """Tell a bundle from a receipt, which has no payload."""
    return is_bundle(file) and b'"payload"' in file.read_bytes()


def _verify_bundle(context: typer.Context, file: Path, *, key: str, as_json: bool) -> None:
    bundle = read_bundle(file)
    public_key = parse_public_key(key, KEY_FIX) if key else ask(context, bundle_key)
    flaw = find_bundle_flaw(bundle, public_key)
    if as_json:
        found: dict[str, Json] = {"verified": not flaw, "bundle": bundle.name, "flaw": flaw}
        print_json({**found, "key": public_key.hex()})
    elif flaw:
        console().print(Text(clean(f"✗ {file}: {flaw}"), "bold red"))
    else:
        console().print(Text(f"✓ {bundle.name} is signed with {BUNDLE_KEY}", "green"))
    if flaw:
        raise typer.Exit(ExitCode.RUN_FAILED)


def read_receipt_file(file: Path) -> list[action_pb2.Receipt]:
    """Return the receipts of a document of `show`, or a single one by itself."""
    content = read_limited(file, FILE_BYTES_MAX, what=str(file), field="FILE")
    try:
        document: Any = json.loads(content)
        parts = [document, *document.get("called", [])] if "receipt" in document else []
        found = [json_format.ParseDict(part["receipt"], action_pb2.Receipt()) for part in parts]
    except (json_format.ParseError, AttributeError, KeyError, RecursionError, TypeError) as error:
        raise _invalid(file, type(error).__name__) from error
    except ValueError as error:
        raise _invalid(file, "no JSON") from error
    if not found:
        raise _invalid(file, "no receipt")
    return found


def _invalid(file: Path, problem: str) -> CommandError:
    return CommandError(
        f"{file} holds no receipt: {problem}",
        reason="FILE_INVALID",
        field="FILE",
        fix="write it with: actionvm show RUN --json, when the run has ended",
    )
