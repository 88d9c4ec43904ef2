"""The commands for the worst day: recovery backup, restore, rotate-root."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import Annotated

import typer

from actionvm.keymanager.v1 import recovery_pb2 as pb

from ..client import Client
from ..command import AsJson, Command, Yes, ask, confirm, group
from ..errors import CommandError
from ..files import write_private
from ..manifest import read_limited
from ..output import console, print_json, to_json

BACKUP_BYTES_MAX = 64 * 1024 * 1024
SHARES_MAX = 16
ROTATION_SECONDS_MAX = 600

app = group("Back up all keys for several people together, restore them, replace the root.")

Output = Annotated[Path, typer.Option("--output", "-o", help="Write the backup to this file.")]
Backup = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]
Threshold = Annotated[
    int, typer.Option("--threshold", "-k", min=1, max=SHARES_MAX, help="Shares that open it.")
]
Count = Annotated[int, typer.Option("--shares", "-n", min=1, max=SHARES_MAX, help="Shares made.")]
Holders = Annotated[
    list[str] | None,
    typer.Option("--holder", metavar="HEX", help="X25519 key that a share is sealed to."),
]
ShareFiles = Annotated[
    list[Path] | None,
    typer.Option("--share-file", help="A file with the words of a share; may be repeated."),
]


@app.command("backup", cls=Command)
def backup(
    context: typer.Context,
    output: Output,
    *,
    threshold: Threshold = 2,
    shares: Count = 3,
    holders: Holders = None,
    as_json: AsJson = False,
) -> None:
    """Write all keys to a file that only so many shares together open, and show the shares.

    Give each share to another person, on paper. They are shown once.

    Example: actionvm recovery backup -o keys.backup --threshold 2 --shares 3
    """
    request = pb.BackupRequest(
        recipient_keys=[_parse_key(text) for text in holders or ()],
        threshold=threshold,
        share_count=0 if holders else shares,
    )

    async def make(client: Client) -> pb.BackupResponse:
        return await client.recovery(lambda stub: stub.Backup(request))

    made = ask(context, make)
    write_private(output, made.content)
    if as_json:
        print_json({**to_json(made), "content": str(output)})
        return
    console().print(f"written to {output}; {threshold} of these shares open it")
    for number, share in enumerate(made.shares or [s.hex() for s in made.sealed_shares], start=1):
        console().print(f"share {number}: {share}")


@app.command("restore", cls=Command)
def restore(
    context: typer.Context, file: Backup, *, share_files: ShareFiles = None, as_json: AsJson = False
) -> None:
    """Bring all keys of a backup into a system that has none yet. Shares are asked for.

    Example: actionvm recovery restore keys.backup
    """
    content = read_limited(file, BACKUP_BYTES_MAX, what="the backup", field="FILE")
    request = pb.RestoreRequest(content=content, shares=_read_shares(share_files or ()))

    async def put_back(client: Client) -> pb.RestoreResponse:
        return await client.recovery(lambda stub: stub.Restore(request))

    answer = ask(context, put_back)
    if as_json:
        print_json(to_json(answer))
    else:
        console().print(f"{answer.secret_count} secrets are back")


@app.command("rotate-root", cls=Command)
def rotate_root(context: typer.Context, *, yes: Yes = False, as_json: AsJson = False) -> None:
    """Replace the key that everything hangs on, while the system works on.

    Example: actionvm recovery rotate-root --yes
    """
    if not yes:
        confirm("Replace the root key?", refusal="the root key was not replaced")
    request = pb.RotateRootRequest(request_id=str(uuid.uuid4()))

    async def replace(client: Client) -> None:
        await client.recovery(lambda stub: stub.RotateRoot(request, timeout=ROTATION_SECONDS_MAX))

    ask(context, replace)
    if as_json:
        print_json({"rotated": True})
    else:
        console().print("everything hangs on a new root key, and the old one is destroyed")


def _read_shares(files: list[Path] | tuple[Path, ...]) -> list[bytes]:
    """Read shares from files, or ask for them without echo until one is empty."""
    if files:
        return [path.read_bytes().strip() for path in files]
    if not sys.stdin.isatty():
        return [line.strip() for line in sys.stdin.buffer if line.strip()]
    shares: list[bytes] = []
    while text := typer.prompt(
        f"share {len(shares) + 1}, or nothing", default="", show_default=False, hide_input=True
    ):
        shares.append(text.encode())
    return shares


def _parse_key(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise CommandError(
            f"--holder {text} is no key", reason="INVALID_FIELD", field="--holder"
        ) from error
