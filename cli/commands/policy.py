"""The commands that say who may use which key: policy show, put, check, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actionvm.keymanager.v1 import keymanager_pb2, policy_pb2
from actionvm.keymanager.v1.use_pb2 import AuthorizeRequestRequest

from ..client import Client
from ..command import AsJson, Command, ask, group
from ..errors import CommandError, ExitCode
from ..manifest import read_limited
from ..output import clean, console, print_json, table, to_json
from .secrets import secret_name

POLICY_BYTES_MAX = 256 * 1024
TRANSACTION_BYTES_MAX = 64 * 1024

app = group("Say who may use which key for what. What no rule allows is denied.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="The policy, such as policy.yaml.")]
Name = Annotated[str, typer.Argument(metavar="SECRET", help="Such as board-key.")]
CallerOption = Annotated[str, typer.Option("--caller", help="The service that uses it.")]
Agent = Annotated[str, typer.Option("--agent", help="The agent on whose behalf.")]
Transaction = Annotated[
    str, typer.Option("--transaction", metavar="HEX", help="An unsigned EVM transaction.")
]
Url = Annotated[str, typer.Option("--url", help="A request that is authenticated, as METHOD URL.")]
SchemeOption = Annotated[str, typer.Option("--scheme", help="How: oauth1, aws-sigv4, cdp, basic.")]


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
    caller: CallerOption = "runtime",
    agent: Agent = "",
    transaction: Transaction = "",
    url: Url = "",
    scheme: SchemeOption = "",
    as_json: AsJson = False,
) -> None:
    """Say whether a use would be allowed, and by which rule. Nothing is used or counted.

    Example: actionvm policy evaluate board-key --agent market-brief
    """
    account = f"agents/{agent.removeprefix('agents/')}" if agent else ""
    request = policy_pb2.EvaluateUseRequest(caller=caller, account=account)
    if url:
        method, _, address = url.partition(" ")
        request.authorize.CopyFrom(
            AuthorizeRequestRequest(
                credential=secret_name(name),
                method=method,
                url=address,
                scheme=_scheme_to_proto(scheme),
                account=account,
            )
        )
    else:
        request.use.CopyFrom(
            keymanager_pb2.SignRequest(
                key=secret_name(name), purpose=keymanager_pb2.PURPOSE_REQUEST, account=account
            )
        )
        if transaction:
            request.use.transaction = _parse_hex(transaction)
        else:
            # Any message: a policy does not look into one that has no form.
            request.use.message = b"evaluate"

    async def decide(client: Client) -> policy_pb2.EvaluateUseResponse:
        return await client.policy(lambda stub: stub.EvaluateUse(request))

    found = ask(context, decide)
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


def _scheme_to_proto(text: str) -> AuthorizeRequestRequest.Scheme.ValueType:
    name = f"SCHEME_{text.upper().replace('-', '_')}"
    if name not in AuthorizeRequestRequest.Scheme.keys():  # noqa: SIM118  # not a mapping
        raise CommandError(
            f"--scheme {text or 'is missing'}",
            reason="INVALID_FIELD",
            field="--scheme",
            fix="one of oauth1, aws-sigv4, cdp, cdp-wallet, basic",
        )
    return AuthorizeRequestRequest.Scheme.Value(name)


def _parse_hex(text: str) -> bytes:
    digits = text.removeprefix("0x")
    try:
        content = bytes.fromhex(digits)
    except ValueError:
        content = b""
    if not 0 < len(content) <= TRANSACTION_BYTES_MAX:
        raise CommandError(
            "--transaction holds no hexadecimal digits",
            reason="INVALID_FIELD",
            field="--transaction",
        )
    return content
