"""The commands that say who may use which key: policy show, put, check, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actionvm.keymanager.v1 import policy_pb2

from ..client import Client
from ..command import AsJson, Command, ask, group
from ..errors import CommandError, ExitCode
from ..evaluation import Wanted, evaluation_of
from ..manifest import read_limited
from ..output import clean, console, print_json, table, to_json
from .secrets import secret_name

POLICY_BYTES_MAX = 256 * 1024

app = group("Say who may use which key for what. What no rule allows is denied.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="The policy, such as policy.yaml.")]
Name = Annotated[str, typer.Argument(metavar="SECRET", help="Such as board-key.")]
CallerOption = Annotated[
    str, typer.Option("--caller", help="The service that uses it; otherwise the usual one.")
]
Agent = Annotated[str, typer.Option("--agent", help="The agent on whose behalf.")]
PurposeOption = Annotated[
    str, typer.Option("--purpose", help="Why it is signed: request, bundle, receipt.")
]
Message = Annotated[str, typer.Option("--message", help="A message that is signed.")]
Transaction = Annotated[
    str, typer.Option("--transaction", metavar="HEX", help="An unsigned EVM transaction.")
]
TypedData = Annotated[
    Path | None, typer.Option("--typed-data", metavar="FILE", help="Typed data of EIP-712, JSON.")
]
PersonalMessage = Annotated[
    str, typer.Option("--personal-message", help="A message that a wallet signs.")
]
Url = Annotated[str, typer.Option("--url", help="A request that is authenticated, as METHOD URL.")]
SchemeOption = Annotated[
    str, typer.Option("--scheme", help="How: oauth1, aws-sigv4, cdp, cdp-wallet, basic, bearer, …")
]
ServiceOption = Annotated[str, typer.Option("--service", help="Of AWS, such as s3.")]
Region = Annotated[str, typer.Option("--region", help="Of AWS, such as us-east-1.")]
KeyHeader = Annotated[str, typer.Option("--key-header", help="Of key-header: its name.")]
KeyId = Annotated[str, typer.Option("--key-id", help="Of cdp: the name of the key there.")]
Presign = Annotated[
    int, typer.Option("--presign", metavar="SECONDS", help="Of AWS: a URL that is good so long.")
]
Release = Annotated[bool, typer.Option("--release", help="The key is handed to the linker.")]
PublicKey = Annotated[bool, typer.Option("--public-key", help="The public key is shown.")]
Data = Annotated[str, typer.Option("--data", help="encrypt, decrypt, rewrap or generate-data-key.")]
DataContext = Annotated[
    str, typer.Option("--context", help="Of --data: what it is bound to, as collections/brand.")
]


@app.command("show", cls=Command)
def show(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Print the policy in force, as `put` takes it.

    Example: actionvm policy show > policy.yaml
    """

    async def read(client: Client) -> policy_pb2.GetPolicyResponse:
        return await client.policy(lambda stub: stub.GetPolicy(policy_pb2.GetPolicyRequest()))

    found = ask(context, read)
    if as_json:
        print_json(to_json(found))
    else:
        console().print(clean(found.content), end="")


@app.command("put", cls=Command)
def put(context: typer.Context, file: File, *, as_json: AsJson = False) -> None:
    """Put a policy in the place of the one in force, or report all its problems at once.

    Example: actionvm policy put policy.yaml
    """
    answer = _put(context, file, is_check=False)
    if as_json:
        print_json(to_json(answer))
    else:
        console().print(f"policy {answer.version} is in force")


@app.command("check", cls=Command)
def check(context: typer.Context, file: File, *, as_json: AsJson = False) -> None:
    """Check a policy and report all its problems at once. Nothing is changed.

    Example: actionvm policy check policy.yaml
    """
    _put(context, file, is_check=True)
    if as_json:
        print_json({"valid": True})
    else:
        console().print(f"{clean(file.name)}: is valid")


@app.command("evaluate", cls=Command)
def evaluate(
    context: typer.Context,
    name: Name,
    *,
    caller: CallerOption = "",
    agent: Agent = "",
    purpose: PurposeOption = "request",
    message: Message = "",
    transaction: Transaction = "",
    typed_data: TypedData = None,
    personal_message: PersonalMessage = "",
    url: Url = "",
    scheme: SchemeOption = "",
    service: ServiceOption = "",
    region: Region = "",
    key_id: KeyId = "",
    key_header: KeyHeader = "",
    presign: Presign = 0,
    release: Release = False,
    public_key: PublicKey = False,
    data: Data = "",
    data_context: DataContext = "",
    as_json: AsJson = False,
) -> None:
    """Say whether a use would be allowed, and by which rule. Nothing is used or counted.

    Example: actionvm policy evaluate board-key --agent market-brief
    """
    wanted = Wanted(
        secret=name if name.startswith("keys/") else secret_name(name),
        purpose=purpose,
        message=message,
        transaction=transaction,
        typed_data=typed_data,
        personal_message=personal_message,
        url=url,
        scheme=scheme,
        service=service,
        region=region,
        key_id=key_id,
        key_header=key_header,
        presign_seconds=presign,
        release=release,
        public_key=public_key,
        data=data,
        context=data_context,
    )
    account = f"agents/{agent.removeprefix('agents/')}" if agent else ""
    request = evaluation_of(wanted, caller=caller, agent=account)
    _show_evaluation(_evaluate(context, request), as_json=as_json)


def _evaluate(
    context: typer.Context, request: policy_pb2.EvaluateUseRequest
) -> policy_pb2.EvaluateUseResponse:
    async def decide(client: Client) -> policy_pb2.EvaluateUseResponse:
        return await client.policy(lambda stub: stub.EvaluateUse(request))

    return ask(context, decide)


def _show_evaluation(found: policy_pb2.EvaluateUseResponse, *, as_json: bool) -> None:
    if as_json:
        print_json(to_json(found))
    else:
        verdict = "allowed" if found.allowed else "asks a person" if found.asks else "denied"
        problem = f": {found.problem}" if found.problem else ""
        console().print(clean(f"{verdict} by rule {found.rule}{problem}"))
        rows = [(one.rule, "matches" if one.matched else one.problem) for one in found.explanations]
        console().print(table("rule", "", rows=rows))
    if not found.allowed:
        raise typer.Exit(ExitCode.RUN_FAILED)


def _put(context: typer.Context, file: Path, *, is_check: bool) -> policy_pb2.PutPolicyResponse:
    content = read_limited(file, POLICY_BYTES_MAX, what="the policy", field="FILE")
    try:
        request = policy_pb2.PutPolicyRequest(content=content.decode(), validate_only=is_check)
    except UnicodeDecodeError as error:
        raise CommandError(
            f"{file} is not UTF-8 text", reason="FILE_INVALID", field="FILE"
        ) from error

    async def store(client: Client) -> policy_pb2.PutPolicyResponse:
        return await client.policy(lambda stub: stub.PutPolicy(request))

    return ask(context, store)
