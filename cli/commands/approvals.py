"""The commands about what is left to a person: approvals list, show, approve, deny, secret."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from actionvm.action.v1 import action_pb2
from actionvm.keymanager.v1 import policy_pb2
from actionvm.runtime.v1 import runtime_pb2
from chassis.canonical import sha256_hex
from chassis.receivers import receiver_name
from chassis.seal import Seal

from ..client import Client, all_pages
from ..command import AsJson, Command, ask, group, home_of
from ..errors import CommandError
from ..output import clean, console, print_json, table, to_json
from ..render import age_text

app = group("Decide calls of agents and uses of keys that a policy leaves to a person.")

# What the table has of arguments; `show` has all of them.
_ARGUMENTS_CHARACTERS = 100
# In the name of a call that waits, and in no other.
_OF_A_CALL = "/approvals/"

Name = Annotated[
    str, typer.Argument(metavar="APPROVAL", help="What `approvals list` shows in its first column.")
]
Digest = Annotated[
    str,
    typer.Option(
        "--arguments-sha256",
        metavar="DIGEST",
        help="Decide only if the arguments of the call have this digest.",
    ),
]


@dataclass(frozen=True)
class Waiting:
    """Calls that wait, and uses of keys; a use in `calls` is in `uses`, too."""

    calls: list[runtime_pb2.Approval]
    uses: list[policy_pb2.Approval]


@app.command("list", cls=Command)
def list_approvals(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List what waits for a decision, with everything that is known of it.

    Example: actionvm approvals list
    """
    found = ask(context, _read)
    if as_json:
        print_json(
            {
                "approvals": [to_json(use) for use in found.uses],
                "calls": [to_json(call) for call in found.calls],
            }
        )
        return
    rows = [*_rows(found)]
    columns = ("approval", "agent", "what", "of", "rule", "since")
    console().print(table(*columns, rows=rows) if rows else "nothing waits for a decision")


@app.command("show", cls=Command)
def show(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Show one call that waits, with its exact arguments.

    Example: actionvm approvals show runs/0198c0de-0000-7000-8000-000000000000/approvals/step-1-1
    """

    async def read(client: Client) -> runtime_pb2.Approval:
        return await _call(client, _full(name))

    found = ask(context, read)
    if as_json:
        print_json({"approval": to_json(found)})
        return
    digest = f"--arguments-sha256 {found.arguments_digest.sha256}"
    rows = [
        ("agent", found.account.removeprefix("agents/")),
        ("action", found.call.action),
        ("rule", found.rule),
        ("since", age_text(found.create_time)),
        ("arguments", found.call.arguments),
        ("approve", f"actionvm approvals approve {_full(name)} {digest}"),
    ]
    console().print(table("call", found.name, rows=rows))


@app.command("approve", cls=Command)
def approve(
    context: typer.Context, name: Name, *, digest: Digest = "", as_json: AsJson = False
) -> None:
    """Let exactly this happen, one time.

    Example: actionvm approvals approve 0198c0de-0000-7000-8000-000000000000
    """
    _decide(context, name, is_approved=True, digest=digest, as_json=as_json)


@app.command("deny", cls=Command)
def deny(
    context: typer.Context, name: Name, *, digest: Digest = "", as_json: AsJson = False
) -> None:
    """Refuse this.

    Example: actionvm approvals deny 0198c0de-0000-7000-8000-000000000000
    """
    _decide(context, name, is_approved=False, digest=digest, as_json=as_json)


@app.command("secret", cls=Command)
def secret(
    context: typer.Context,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="One of those in RUNTIME_APPROVAL_WEBHOOKS.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Show the secret with which a webhook verifies what it hears of questions.

    Example: actionvm approvals secret https://chat.example.com/hooks/approvals
    """
    file = home_of(context).webhook_key_file
    if not file.exists():
        raise CommandError(
            f"there is no key of webhooks in {file}",
            reason="WEBHOOK_KEY_MISSING",
            fix="start the system here once: actionvm up --detach",
        )
    shown = Seal(file.read_bytes()).secret(receiver_name(url))
    if as_json:
        print_json({"url": url, "secret": shown})
    else:
        console().print(shown)


async def _read(client: Client) -> Waiting:
    """Return all that waits."""

    def uses(token: str) -> Awaitable[policy_pb2.ListApprovalsResponse]:
        request = policy_pb2.ListApprovalsRequest(page_token=token)
        return client.policy(lambda stub: stub.ListApprovals(request))

    found = await all_pages(uses, lambda page: page.approvals)
    return Waiting(await _calls(client), found)


async def _calls(client: Client) -> list[runtime_pb2.Approval]:
    """Return the calls that wait."""

    def fetch(token: str) -> Awaitable[runtime_pb2.ListApprovalsResponse]:
        request = runtime_pb2.ListApprovalsRequest(page_token=token)
        return client.runtime(lambda stub: stub.ListApprovals(request))

    return await all_pages(fetch, lambda page: page.approvals)


async def _call(client: Client, name: str) -> runtime_pb2.Approval:
    """Return the call that waits under a name, be it that of its use of a key."""
    for call in await _calls(client):
        if name in {call.name, call.approval}:
            return call
    raise CommandError(
        f"no call waits for {name}, or no longer",
        reason="APPROVAL_NOT_FOUND",
        fix="see what waits: actionvm approvals list",
    )


def _rows(found: Waiting) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a table: calls, then what uses keys besides."""
    for call in found.calls:
        name = call.approval.removeprefix("approvals/") or call.name
        arguments = call.call.arguments[:_ARGUMENTS_CHARACTERS]
        is_whole = len(arguments) == len(call.call.arguments)
        yield (
            name,
            call.account.removeprefix("agents/"),
            call.call.action,
            arguments if is_whole else f"{arguments}…",
            call.rule,
            age_text(call.create_time),
        )
    of_calls = {call.approval for call in found.calls}
    for use in found.uses:
        if use.name not in of_calls:
            yield (
                use.name.removeprefix("approvals/"),
                use.account.removeprefix("agents/") or use.caller,
                f"{use.operation} with {use.secret.removeprefix('secrets/')}",
                ", ".join(f"{name} {value}" for name, value in sorted(use.facts.items())),
                use.rule,
                age_text(use.create_time),
            )


def _decide(
    context: typer.Context, name: str, *, is_approved: bool, digest: str, as_json: bool
) -> None:
    full_name = _full(name)

    async def tell(client: Client) -> None:
        if digest or _OF_A_CALL in full_name:
            await _decide_call(client, full_name, is_approved=is_approved, digest=digest)
            return
        request = policy_pb2.DecideApprovalRequest(name=full_name, approved=is_approved)
        await client.policy(lambda stub: stub.DecideApproval(request))

    ask(context, tell)
    if as_json:
        print_json({"approval": full_name, "approved": is_approved})
    else:
        console().print(clean(f"{full_name} is {'approved' if is_approved else 'denied'}"))


async def _decide_call(client: Client, name: str, *, is_approved: bool, digest: str) -> None:
    """Decide about a call with the arguments that it has, or that were shown."""
    call = await _call(client, name)
    # Not what the runtime says of them, but what it shows.
    shown = digest or sha256_hex(call.call.arguments.encode())
    request = runtime_pb2.DecideApprovalRequest(
        name=call.name, allow=is_approved, arguments_digest=action_pb2.Digest(sha256=shown)
    )
    await client.runtime(lambda stub: stub.DecideApproval(request))


def _full(name: str) -> str:
    if _OF_A_CALL in name:
        return f"runs/{name.removeprefix('runs/')}"
    return f"approvals/{name.removeprefix('approvals/')}"
