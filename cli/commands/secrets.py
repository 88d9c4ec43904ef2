"""The commands that keep keys: secrets put, import, rotate, enable, disable, list, show, shred.

A value is never an argument, and no command prints one.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration

from actionvm.keymanager.v1 import keymanager_pb2 as pb

from ..client import Client, all_pages
from ..command import AsJson, Command, Yes, ask, confirm, group
from ..errors import CommandError, ExitCode
from ..output import console, print_json, table, to_json
from ..render import time_text
from ..secret_values import read_value, read_values

app = group("Keep the keys that agents use. No command and no response ever shows a value.")

DEFAULT_TENANT = "default"


class Kind(StrEnum):
    """What a secret is, in the words of the command line."""

    API_KEY = "api-key"
    ED25519 = "ed25519"
    SECP256K1 = "secp256k1"
    P256 = "p256"
    OAUTH1 = "oauth1"
    OAUTH2 = "oauth2"
    BASIC = "basic"
    AWS = "aws"
    HMAC = "hmac"
    DATA = "data"


Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Such as board-key, or secrets/board-key.")
]
KindOption = Annotated[
    Kind | None,
    typer.Option("--kind", help="What it is; docs/keys.md says what each is for."),
]
ValueFile = Annotated[
    Path | None, typer.Option("--value-file", help="Read the value from this file.")
]
Generate = Annotated[
    bool, typer.Option("--generate", help="Make a random key that nobody ever sees.")
]
Tenant = Annotated[str, typer.Option("--tenant", help="Whose it is; all go when it is shredded.")]
Grace = Annotated[
    int,
    typer.Option("--grace", min=0, metavar="SECONDS", help="How long the old one works, too."),
]
OldVersion = Annotated[
    int,
    typer.Option("--version", min=0, help="Only this one, which is not the one in use."),
]
ImportFile = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="A .env or JSON file; else the environment.")
]
Prefix = Annotated[str, typer.Option("--prefix", help="Take only names that begin with it.")]


@app.command("put", cls=Command)
def put(
    context: typer.Context,
    name: Name,
    *,
    kind: KindOption = None,
    value_file: ValueFile = None,
    generate: Generate = False,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Store a new secret. Without --value-file or --generate the value is asked for.

    Example: actionvm secrets put board-key --kind ed25519 --generate
    """
    chosen = kind or (Kind.ED25519 if generate else Kind.API_KEY)
    request = pb.PutSecretRequest(
        request_id=str(uuid.uuid4()),
        name=secret_name(name),
        kind=kind_to_proto(chosen),
        value=b"" if generate else read_value(value_file),
        generate=generate,
        tenant=tenant_name(tenant),
    )

    async def store(client: Client) -> pb.Secret:
        return (await client.keymanager(lambda stub: stub.PutSecret(request))).secret

    _tell(ask(context, store), "stored", as_json=as_json)


@app.command("import", cls=Command)
def import_secrets(
    context: typer.Context,
    file: ImportFile = None,
    *,
    kind: KindOption = Kind.API_KEY,
    prefix: Prefix = "",
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Store all values of a file, or of the environment below a prefix.

    OPENAI_API_KEY becomes the secret openai-api-key. What is there already stays as it is, and what
    is refused does not keep out the others.

    Example: actionvm secrets import .env
    """
    if file is None and not prefix:
        raise CommandError(
            "the whole environment is no list of secrets",
            reason="USAGE_INVALID",
            field="--prefix",
            fix="name a file, or the names to take with --prefix",
        )
    requests = [
        pb.PutSecretRequest(
            request_id=str(uuid.uuid4()),
            name=secret_name(name),
            kind=kind_to_proto(kind or Kind.API_KEY),
            value=value,
            tenant=tenant_name(tenant),
        )
        for name, value in read_values(file, prefix).items()
    ]

    async def store(client: Client) -> list[tuple[str, str]]:
        outcomes: list[tuple[str, str]] = []
        for request in requests:
            # Who does not answer once is not asked again for each of the others.
            is_lost = bool(outcomes) and outcomes[-1][1].startswith(_LOST)
            outcome = _LOST if is_lost else await _put_unless_there(client, request)
            outcomes.append((request.name, outcome))
        return outcomes

    outcomes = ask(context, store)
    if as_json:
        print_json({"imported": [{"name": name, "outcome": outcome} for name, outcome in outcomes]})
    else:
        console().print(table("secret", "", rows=outcomes))
    if any(outcome not in (_STORED, _KEPT) for _, outcome in outcomes):
        raise typer.Exit(ExitCode.RUN_FAILED)


@app.command("rotate", cls=Command)
def rotate(
    context: typer.Context,
    name: Name,
    *,
    value_file: ValueFile = None,
    generate: Generate = False,
    grace: Grace = 0,
    as_json: AsJson = False,
) -> None:
    """Replace the value of a secret. Agents use the new one from their next call on.

    Example: actionvm secrets rotate board-key --generate
    """
    request = pb.RotateSecretRequest(
        request_id=str(uuid.uuid4()),
        name=secret_name(name),
        value=b"" if generate else read_value(value_file),
        generate=generate,
        grace=Duration(seconds=grace),
    )

    async def replace(client: Client) -> pb.Secret:
        return (await client.keymanager(lambda stub: stub.RotateSecret(request))).secret

    _tell(ask(context, replace), "rotated", as_json=as_json)


@app.command("disable", cls=Command)
def disable(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Stop the use of a secret without destroying it.

    Example: actionvm secrets disable board-key
    """
    request = pb.DisableSecretRequest(name=secret_name(name))

    async def change(client: Client) -> pb.Secret:
        return (await client.keymanager(lambda stub: stub.DisableSecret(request))).secret

    _tell(ask(context, change), "disabled", as_json=as_json)


@app.command("enable", cls=Command)
def enable(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Let a secret be used again.

    Example: actionvm secrets enable board-key
    """
    request = pb.EnableSecretRequest(name=secret_name(name))

    async def change(client: Client) -> pb.Secret:
        return (await client.keymanager(lambda stub: stub.EnableSecret(request))).secret

    _tell(ask(context, change), "enabled", as_json=as_json)


@app.command("show", cls=Command)
def show(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Describe a secret without its value, with the public key of a key that has one.

    Example: actionvm secrets show board-key
    """
    full_name = secret_name(name)

    async def read(client: Client) -> tuple[pb.Secret, pb.GetPublicKeyResponse]:
        wanted = pb.GetSecretRequest(name=full_name)
        secret = (await client.keymanager(lambda stub: stub.GetSecret(wanted))).secret
        if secret.kind not in _PUBLIC:
            return secret, pb.GetPublicKeyResponse()
        asked = pb.GetPublicKeyRequest(key=full_name)
        return secret, await client.keymanager(lambda stub: stub.GetPublicKey(asked))

    secret, public_key = ask(context, read)
    if as_json:
        print_json({**to_json(secret), "public_key": public_key.public_key.hex()})
        return
    rows = [
        ("kind", _kind_text(secret)),
        ("state", _state_text(secret)),
        ("tenant", secret.tenant),
        ("version", str(secret.version)),
        ("made", time_text(secret.create_time)),
        ("since", time_text(secret.rotate_time)),
    ]
    if secret.version_before:
        is_ending = secret.HasField("grace_time")
        until = time_text(secret.grace_time) if is_ending else "it is shredded"
        rows.append(("before", f"version {secret.version_before} works until {until}"))
    if public_key.public_key:
        rows.append(("public key", public_key.public_key.hex()))
    console().print(table(secret.name, "", rows=rows))


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
        (
            secret.name,
            _kind_text(secret),
            _state_text(secret),
            str(secret.version),
            time_text(secret.rotate_time),
        )
        for secret in found
    ]
    columns = ("secret", "kind", "state", "version", "since")
    console().print(table(*columns, rows=rows) if rows else "there are no secrets yet")


@app.command("shred", cls=Command)
def shred(
    context: typer.Context,
    name: Name,
    *,
    version: OldVersion = 0,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Destroy a secret and all its versions for good; with tenants/NAME, all of that tenant.

    Example: actionvm secrets shred board-key --yes
    """
    is_tenant = name.startswith("tenants/")
    full_name = name if is_tenant else secret_name(name)
    what = f"all secrets of {full_name}" if is_tenant else full_name
    what = f"version {version} of {what}" if version else what
    if not yes:
        confirm(f"Destroy {what} for good?", refusal=f"{what} was not destroyed")

    async def destroy(client: Client) -> None:
        if is_tenant:
            tenant = pb.ShredTenantRequest(tenant=full_name)
            await client.keymanager(lambda stub: stub.ShredTenant(tenant))
        else:
            secret = pb.ShredSecretRequest(name=full_name, version=version)
            await client.keymanager(lambda stub: stub.ShredSecret(secret))

    ask(context, destroy)
    if as_json:
        print_json({"shredded": full_name})
    else:
        console().print(f"{what} is gone")


async def read_secrets(client: Client) -> list[pb.Secret]:
    """Return all secrets, page by page."""

    def fetch(token: str) -> Awaitable[pb.ListSecretsResponse]:
        request = pb.ListSecretsRequest(page_token=token)
        return client.keymanager(lambda stub: stub.ListSecrets(request))

    return await all_pages(fetch, lambda page: page.secrets)


def secret_name(text: str) -> str:
    """Return the full name of a secret, which may be given without `secrets/`."""
    return text if text.startswith(("secrets/", "keys/")) else f"secrets/{text}"


def tenant_name(text: str) -> str:
    """Return the full name of a tenant, which may be given without `tenants/`."""
    return text if text.startswith("tenants/") else f"tenants/{text}"


def kind_to_proto(kind: Kind) -> pb.Kind.ValueType:
    """Return a kind as the contract has it."""
    return pb.Kind.Value(f"KIND_{kind.name}")


_PUBLIC = frozenset(map(kind_to_proto, (Kind.ED25519, Kind.SECP256K1, Kind.P256)))


_STORED, _KEPT = "stored", "was there already; rotate it to replace it"
_LOST = "not stored: the key manager does not answer"


async def _put_unless_there(client: Client, request: pb.PutSecretRequest) -> str:
    """Return what became of it; a refusal does not keep the others out."""
    try:
        await client.keymanager(lambda stub: stub.PutSecret(request))
    except CommandError as error:
        if error.reason == "SECRET_EXISTS":
            return _KEPT
        is_unreachable = error.exit_code is ExitCode.UNREACHABLE
        return f"{_LOST}: {error}" if is_unreachable else f"refused: {error}"
    return _STORED


def _tell(secret: pb.Secret, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(to_json(secret))
    else:
        console().print(f"{secret.name} {what}: {_kind_text(secret)}, version {secret.version}")


def _kind_text(secret: pb.Secret) -> str:
    return pb.Kind.Name(secret.kind).removeprefix("KIND_").lower().replace("_", "-")


def _state_text(secret: pb.Secret) -> str:
    return pb.Secret.State.Name(secret.state).removeprefix("STATE_").lower()
