"""The commands for the worst day: recovery backup, restore, rotate-root, and who holds shares."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from actionvm.keymanager.v1 import recovery_pb2 as pb
from chassis.holders import (
    HOLDER_NAME,
    HOLDERS_MAX,
    Holder,
    HolderKeyInvalid,
    HoldersMalformed,
    SealedShareInvalid,
    format_holders,
    new_private_key,
    open_share,
    public_key_of,
    read_holders,
    seal_share,
)

from ..client import Client
from ..command import AsJson, Command, Yes, ask, confirm, group, home_of
from ..errors import CommandError
from ..files import write_private
from ..home import Home
from ..manifest import read_limited
from ..output import console, print_json, spelled, to_json

BACKUP_BYTES_MAX = 64 * 1024 * 1024
SHARE_FILE_BYTES_MAX = 4_096
SHARES_MAX = 16
SHARES_MIN = 2
ROTATION_SECONDS_MAX = 600

app = group("Back up all keys for several people together, restore them, replace the root.")

Output = Annotated[Path, typer.Option("--output", "-o", help="Write the backup to this file.")]
Backup = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]
Threshold = Annotated[
    int,
    typer.Option("--threshold", "-k", min=SHARES_MIN, max=SHARES_MAX, help="Shares that open it."),
]
Count = Annotated[
    int, typer.Option("--shares", "-n", min=SHARES_MIN, max=SHARES_MAX, help="Shares made.")
]
Holders = Annotated[
    list[str] | None,
    typer.Option("--holder", metavar="HEX", help="X25519 key that a share is sealed to."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Who holds a share, such as alice.")]
KeyFile = Annotated[Path, typer.Option("--key-file", help="The private key, made by make-key.")]
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
    """Write all keys to a file that only so many shares together open, and the shares.

    Each share is sealed to a registered holder, in a file beside the backup. Without holders the
    shares are shown, once, to whoever runs this: write each on paper for another person.

    Example: actionvm recovery backup -o keys.backup --threshold 2 --shares 3
    """
    sealed = holders or _registered(home_of(context))
    request = pb.BackupRequest(
        recipient_keys=[_parse_key(text, "--holder") for text in holders or ()],
        threshold=threshold,
        share_count=0 if sealed else shares,
    )

    async def make(client: Client) -> pb.BackupResponse:
        return await client.recovery(lambda stub: stub.Backup(request))

    made = ask(context, make)
    write_private(output, made.content)
    names = list(made.holders) or [str(at) for at in range(1, len(made.sealed_shares) + 1)]
    files = [output.with_name(f"{output.name}.{name}.share") for name in names]
    for file, sealed_share in zip(files, made.sealed_shares, strict=True):
        write_private(file, sealed_share.hex().encode() + b"\n")
    if as_json:
        share_files = [str(file) for file in files]
        print_json({**to_json(made), "content": str(output), "share_files": share_files})
        return
    console().print(f"written to {output}; {threshold} of these shares open it")
    for file in files:
        console().print(f"sealed share: {file}")
    for number, share in enumerate(made.shares, start=1):
        console().print(f"share {number}: {share}")
    if made.shares:
        console().print(
            "nobody is registered as a holder, so whoever may run this has every key: "
            + spelled("actionvm recovery add-holder")
        )


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
    """Replace the key that all secrets hang on, while the system works on.

    New are the epoch key and the keys of tenants. The root of the platform stays.

    Example: actionvm recovery rotate-root --yes
    """
    if not yes:
        confirm("Replace the epoch key?", refusal="the epoch key was not replaced")
    request = pb.RotateRootRequest(request_id=str(uuid.uuid4()))

    async def replace(client: Client) -> None:
        await client.recovery(lambda stub: stub.RotateRoot(request, timeout=ROTATION_SECONDS_MAX))

    ask(context, replace)
    if as_json:
        print_json({"rotated": True})
    else:
        console().print("all secrets hang on a new epoch key, and the old one is destroyed")


@app.command("make-key", cls=Command)
def make_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key goes.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Make the key pair of a holder, on the holder's own machine; show the public key.

    Example: actionvm recovery make-key alice.key
    """
    if file.exists():
        raise CommandError(
            f"{file} exists, and what is sealed to it would be lost",
            reason="FILE_EXISTS",
            field="FILE",
            fix="choose another name",
        )
    private_key = new_private_key()
    write_private(file, private_key.hex().encode() + b"\n")
    public_key = public_key_of(private_key).hex()
    if as_json:
        print_json({"public_key": public_key})
    else:
        console().print(public_key)


@app.command("open-share", cls=Command)
def open_sealed_share(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The sealed share.")],
    *,
    key_file: KeyFile,
    as_json: AsJson = False,
) -> None:
    """Show the words of a share that was sealed to a holder. No system is needed.

    Example: actionvm recovery open-share keys.backup.alice.share --key-file alice.key
    """
    sealed, private_key = _read_hex(file, "FILE"), _read_hex(key_file, "--key-file")
    try:
        share = open_share(sealed, private_key)
    except SealedShareInvalid as error:
        raise CommandError(str(error), reason="SEALED_SHARE_INVALID", field="FILE") from error
    if as_json:
        print_json({"share": share})
    else:
        console().print(share)


@app.command("holders", cls=Command)
def holders_(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List who holds shares. While there is anybody, shares leave only sealed to them.

    Example: actionvm recovery holders
    """
    found = _registered(home_of(context))
    if as_json:
        print_json({"holders": [{"name": one.name, "key": one.key.hex()} for one in found]})
        return
    for one in found:
        console().print(f"{one.name} {one.key.hex()}")
    if not found:
        console().print("nobody; shares are shown to whoever makes a backup")


@app.command("add-holder", cls=Command)
def add_holder(
    context: typer.Context,
    name: Name,
    *,
    key: Annotated[str, typer.Option("--key", metavar="HEX", help="The public key.")],
    as_json: AsJson = False,
) -> None:
    """Register a holder of shares, for backups from now on.

    Example: actionvm recovery add-holder alice --key 8520f0098930a754…
    """
    home, holder = home_of(context), Holder(name, _parse_key(key, "--key"))
    known = _registered(home)
    if not HOLDER_NAME.fullmatch(name) or any(
        name == one.name or holder.key == one.key for one in known
    ):
        raise CommandError(
            f"{name} is no name, or the name or the key is taken",
            reason="INVALID_FIELD",
            field="NAME",
            fix="a name has lower-case letters, digits and hyphens",
        )
    _register(home, (*known, holder), as_json=as_json)


@app.command("remove-holder", cls=Command)
def remove_holder(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Seal no more shares to somebody; shares of older backups stay good.

    Example: actionvm recovery remove-holder alice
    """
    home = home_of(context)
    known = _registered(home)
    if name not in {one.name for one in known}:
        raise CommandError(f"there is no holder {name}", reason="HOLDER_NOT_FOUND", field="NAME")
    _register(home, [one for one in known if one.name != name], as_json=as_json)


def _registered(home: Home) -> tuple[Holder, ...]:
    try:
        return read_holders(home.holders_file)
    except HoldersMalformed as error:
        raise CommandError(
            f"{error} is malformed", reason="HOLDERS_UNUSABLE", fix="restore or remove it"
        ) from error


def _register(home: Home, holders: Sequence[Holder], *, as_json: bool) -> None:
    if len(holders) > HOLDERS_MAX:
        raise CommandError(f"there are {HOLDERS_MAX} holders", reason="TOO_MANY_HOLDERS")
    write_private(home.holders_file, format_holders(holders))
    names = sorted(holder.name for holder in holders)
    if as_json:
        print_json({"holders": names})
    else:
        console().print(f"holders: {', '.join(names) or 'nobody'}")


def _read_hex(file: Path, field: str) -> bytes:
    text = read_limited(file, SHARE_FILE_BYTES_MAX, what=str(file), field=field)
    try:
        return bytes.fromhex(text.decode())
    except ValueError as error:
        raise CommandError(
            f"{file} is not hexadecimal", reason="INVALID_FIELD", field=field
        ) from error


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


def _parse_key(text: str, field: str) -> bytes:
    try:
        key = bytes.fromhex(text)
        # Some are well-formed, and nothing can be sealed to them.
        seal_share("", key)
    except (HolderKeyInvalid, ValueError) as error:
        raise CommandError(
            f"{field} {text} is no X25519 key", reason="INVALID_FIELD", field=field
        ) from error
    return key
