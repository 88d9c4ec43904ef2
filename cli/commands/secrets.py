"""The commands that keep keys: secrets put, list, rotate, shred. A value is never an argument."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Awaitable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from actionvm.keymanager.v1 import keymanager_pb2 as pb

from ..client import Client, all_pages
from ..command import AsJson, Command, Yes, ask, confirm, group
from ..errors import CommandError
from ..manifest import read_limited
from ..output import console, print_json, table, to_json
from ..render import time_text

VALUE_BYTES_MAX = 64 * 1024
SEED_HEX_LENGTH = 64

app = group("Keep the keys that agents use. No command and no response ever shows a value.")


class Kind(StrEnum):
    """What a secret is, in the words of the command line."""

    API_KEY = "api-key"
    ED25519 = "ed25519"


KINDS = {Kind.API_KEY: pb.KIND_API_KEY, Kind.ED25519: pb.KIND_ED25519}

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Such as board-key, or secrets/board-key.")
]
KindOption = Annotated[
    Kind | None,
    typer.Option("--kind", help="What it is: an API key, or with --generate a signing key."),
]
ValueFile = Annotated[
    Path | None, typer.Option("--value-file", help="Read the value from this file.")
]
Generate = Annotated[
    bool, typer.Option("--generate", help="Make a random signing key that nobody ever sees.")
]


@app.command("put", cls=Command)
def put(
    context: typer.Context,
    name: Name,
    *,
    kind: KindOption = None,
    value_file: ValueFile = None,
    generate: Generate = False,
    as_json: AsJson = False,
) -> None:
    """Store a new secret. Without --value-file or --generate the value is asked for.

    Example: actionvm secrets put board-key --kind ed25519 --generate
    """
    chosen = KINDS[kind or (Kind.ED25519 if generate else Kind.API_KEY)]
    value = b"" if generate else _read_value(value_file, chosen)
    request = pb.PutSecretRequest(
        request_id=str(uuid.uuid4()),
        name=secret_name(name),
        kind=chosen,
        value=value,
        generate=generate,
    )

    async def store(client: Client) -> pb.Secret:
        return (await client.keymanager(lambda stub: stub.PutSecret(request))).secret

    _tell(ask(context, store), "stored", as_json=as_json)


@app.command("rotate", cls=Command)
def rotate(
    context: typer.Context,
    name: Name,
    *,
    value_file: ValueFile = None,
    generate: Generate = False,
    as_json: AsJson = False,
) -> None:
    """Replace the value of a secret. Agents use the new one from their next call on.

    Example: actionvm secrets rotate board-key --generate
    """

    async def read_kind(client: Client) -> pb.Kind.ValueType:
        request = pb.GetSecretRequest(name=secret_name(name))
        return (await client.keymanager(lambda stub: stub.GetSecret(request))).secret.kind

    kind = ask(context, read_kind)
    request = pb.RotateSecretRequest(
        request_id=str(uuid.uuid4()),
        name=secret_name(name),
        value=b"" if generate else _read_value(value_file, kind),
        generate=generate,
    )

    async def replace(client: Client) -> pb.Secret:
        return (await client.keymanager(lambda stub: stub.RotateSecret(request))).secret

    _tell(ask(context, replace), "rotated", as_json=as_json)


@app.command("list", cls=Command)
def list_secrets(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the secrets without their values.

    Example: actionvm secrets list
    """
    found = ask(context, read_secrets)
    if as_json:
        print_json({"secrets": [to_json(secret) for secret in found]})
        return
    rows = [
        (secret.name, _kind_text(secret), str(secret.version), time_text(secret.rotate_time))
        for secret in found
    ]
    columns = ("secret", "kind", "version", "since")
    console().print(table(*columns, rows=rows) if rows else "there are no secrets yet")


@app.command("shred", cls=Command)
def shred(context: typer.Context, name: Name, *, yes: Yes = False, as_json: AsJson = False) -> None:
    """Destroy a secret and all its versions for good.

    Example: actionvm secrets shred board-key --yes
    """
    full_name = secret_name(name)
    if not yes:
        confirm(f"Destroy {full_name} for good?", refusal=f"{full_name} was not destroyed")
    request = pb.ShredSecretRequest(name=full_name)

    async def destroy(client: Client) -> None:
        await client.keymanager(lambda stub: stub.ShredSecret(request))

    ask(context, destroy)
    if as_json:
        print_json({"shredded": full_name})
    else:
        console().print(f"{full_name} is gone")


async def read_secrets(client: Client) -> list[pb.Secret]:
    """Return all secrets, page by page."""

    def fetch(token: str) -> Awaitable[pb.ListSecretsResponse]:
        request = pb.ListSecretsRequest(page_token=token)
        return client.keymanager(lambda stub: stub.ListSecrets(request))

    return await all_pages(fetch, lambda page: page.secrets)


def secret_name(text: str) -> str:
    """Return the full name of a secret, which may be given without `secrets/`."""
    return text if text.startswith("secrets/") else f"secrets/{text}"


def _tell(secret: pb.Secret, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(to_json(secret))
    else:
        console().print(f"{secret.name} {what}: {_kind_text(secret)}, version {secret.version}")


def _kind_text(secret: pb.Secret) -> str:
    return pb.Kind.Name(secret.kind).removeprefix("KIND_").lower().replace("_", "-")


def _read_value(file: Path | None, kind: pb.Kind.ValueType) -> bytes:
    """Read a value from a file, the terminal without echo, or standard input."""
    if file is not None:
        value = read_limited(file, VALUE_BYTES_MAX, what="the value", field="--value-file")
    elif sys.stdin.isatty():
        value = typer.prompt("value", hide_input=True).encode()
    else:
        value = sys.stdin.buffer.read(VALUE_BYTES_MAX + 1)
    if kind == pb.KIND_ED25519:
        return _decode_seed(value)
    # An editor or `echo` ends a file with a newline; a key never does.
    value = value.rstrip(b"\r\n")
    if not value or len(value) > VALUE_BYTES_MAX:
        raise CommandError(
            f"the value has {len(value)} bytes; 1 to {VALUE_BYTES_MAX} are allowed",
            reason="INVALID_FIELD",
            field="value",
            fix="pass it with --value-file, or on standard input",
        )
    return value


def _decode_seed(value: bytes) -> bytes:
    """Return a seed that may be written as 64 hexadecimal digits."""
    text = value.strip()
    try:
        return bytes.fromhex(text.decode()) if len(text) == SEED_HEX_LENGTH else value
    except ValueError:
        return value
