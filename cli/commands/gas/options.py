"""The arguments and options that commands of gas share."""

from __future__ import annotations

from typing import Annotated

import typer

from actionvm.action.v1 import action_pb2

from ...errors import CommandError
from ...meters import METERS
from ...quantities import parse_whole

Agent = Annotated[str, typer.Argument(metavar="AGENT", help="Such as market-brief.")]
AnyAgent = Annotated[str, typer.Argument(metavar="AGENT", help="One agent; default all.")]
Account = Annotated[
    str,
    typer.Argument(metavar="ACCOUNT", help="An agent such as market-brief, or tenants/NAME."),
]
Zone = Annotated[
    str, typer.Option("--zone", metavar="ZONE", help="Time zone, such as Europe/Berlin; else UTC.")
]
PaymentToken = Annotated[
    str, typer.Option("--token", metavar="TOKEN", help="Symbol of the token that is paid with.")
]


def account_name(text: str) -> str:
    """Return an account, which may be given without `agents/`; empty stays empty, for all."""
    return text if not text or text.startswith(("agents/", "tenants/")) else f"agents/{text}"


def agent_of(account: str) -> str:
    """Return an account as people say it."""
    return account.removeprefix("agents/")


def resource_name(text: str, collection: str) -> str:
    """Return the full name of something, which may be given without its collection."""
    return text if text.startswith(f"{collection}/") else f"{collection}/{text}"


def parse_usage(text: str) -> action_pb2.Usage:
    """Return an amount such as `output_tokens=256`."""
    name, _, amount = text.partition("=")
    if name not in METERS:
        raise CommandError(
            f"--usage {text} is not of the form METER=AMOUNT",
            reason="INVALID_FIELD",
            field="--usage",
            fix=f"meters are {', '.join(METERS)}",
        )
    whole = parse_whole(amount, "--usage")
    return action_pb2.Usage(meter=METERS[name], amount=whole)
