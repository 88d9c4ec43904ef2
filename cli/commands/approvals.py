"""The commands that decide what a rule leaves to a person: approvals list, approve, deny."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated

import typer

from actionvm.keymanager.v1 import policy_pb2 as pb

from ..client import Client, all_pages
from ..command import AsJson, Command, ask, group
from ..output import clean, console, print_json, table, to_json
from ..render import age_text

app = group("Decide uses of keys that a policy leaves to a person.")

Name = Annotated[
    str, typer.Argument(metavar="APPROVAL", help="What `approvals list` shows in its first column.")
]


@app.command("list", cls=Command)
def list_approvals(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List what waits for a decision, with everything that is known of it.

    Example: actionvm approvals list
    """

    async def read(client: Client) -> list[pb.Approval]:
        def fetch(token: str) -> Awaitable[pb.ListApprovalsResponse]:
            request = pb.ListApprovalsRequest(page_token=token)
            return client.policy(lambda stub: stub.ListApprovals(request))

        return await all_pages(fetch, lambda page: page.approvals)

    found = ask(context, read)
    if as_json:
        print_json({"approvals": [to_json(approval) for approval in found]})
        return
    rows = [
        (
            approval.name.removeprefix("approvals/"),
            approval.account.removeprefix("agents/") or approval.caller,
            f"{approval.operation} with {approval.secret.removeprefix('secrets/')}",
            ", ".join(f"{name} {value}" for name, value in sorted(approval.facts.items())),
            age_text(approval.create_time),
        )
        for approval in found
    ]
    columns = ("approval", "agent", "use", "of", "since")
    console().print(table(*columns, rows=rows) if rows else "nothing waits for a decision")


@app.command("approve", cls=Command)
def approve(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Let exactly this use happen, one time.

    Example: actionvm approvals approve 0198c0de-0000-7000-8000-000000000000
    """
    _decide(context, name, is_approved=True, as_json=as_json)


@app.command("deny", cls=Command)
def deny(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Refuse this use.

    Example: actionvm approvals deny 0198c0de-0000-7000-8000-000000000000
    """
    _decide(context, name, is_approved=False, as_json=as_json)


def _decide(context: typer.Context, name: str, *, is_approved: bool, as_json: bool) -> None:
    full_name = f"approvals/{name.removeprefix('approvals/')}"
    request = pb.DecideApprovalRequest(name=full_name, approved=is_approved)

    async def tell(client: Client) -> None:
        await client.policy(lambda stub: stub.DecideApproval(request))

    ask(context, tell)
    if as_json:
        print_json({"approval": full_name, "approved": is_approved})
    else:
        console().print(clean(f"{full_name} is {'approved' if is_approved else 'denied'}"))
