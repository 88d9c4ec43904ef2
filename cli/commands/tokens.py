"""The commands that let people and programs in: tokens add, list, remove."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from chassis.clock import SystemClock
from chassis.identity import AUDITOR, OPERATOR, PEOPLE, VIEWER, Token

from ..command import AsJson, Command, group, home_of
from ..errors import CommandError
from ..home import Home
from ..output import console, print_json, spelled, table

app = group("Let people and programs in. A token is shown once; services know only its hash.")

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_EXPIRES = re.compile(r"([0-9]{1,5})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class Role(StrEnum):
    """What a token may do: everything, check what was done, look."""

    OPERATOR = OPERATOR
    AUDITOR = AUDITOR
    VIEWER = VIEWER


Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose it is, such as alice.")]
RoleOption = Annotated[Role, typer.Option("--role", help="What it may do.")]
Expires = Annotated[
    str, typer.Option("--expires", metavar="30d", help="When it ends: minutes, hours or days.")
]


@app.command("add", cls=Command)
def add(
    context: typer.Context,
    name: Name,
    *,
    role: RoleOption,
    expires: Expires = "",
    as_json: AsJson = False,
) -> None:
    """Make a token and show it, this once.

    Example: actionvm tokens add alice --role auditor --expires 30d
    """
    home = _made(home_of(context))
    if not _NAME.fullmatch(name):
        raise CommandError(
            "a name has 1 to 63 lower-case letters, digits and hyphens",
            reason="INVALID_FIELD",
            field="NAME",
        )
    _refuse_own(home, name)
    token = Token(name, role.value, _expire_time(expires, SystemClock().now()))
    value = home.identities.add(token)
    if as_json:
        print_json({**_described(token), "token": value})
        return
    # Alone on standard output, so that a shell can put it where it belongs.
    console().print(value)


@app.command("list", cls=Command)
def list_tokens(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the tokens without their values.

    Example: actionvm tokens list
    """
    known = _made(home_of(context)).identities.read().values()
    people = sorted((one for one in known if one.role in PEOPLE), key=lambda one: one.name)
    if as_json:
        print_json({"tokens": [_described(one) for one in people]})
        return
    rows = [(one.name, one.role, _described(one).get("expire_time", "never")) for one in people]
    console().print(table("token", "role", "ends", rows=rows))


@app.command("remove", cls=Command)
def remove(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Let a token end. It acts on open connections within a second.

    Example: actionvm tokens remove alice
    """
    home = _made(home_of(context))
    _refuse_own(home, name)
    home.identities.remove(name)
    if as_json:
        print_json({"removed": name})
    else:
        console().print(f"{name} is out")


def _made(home: Home) -> Home:
    if not home.identities_file.exists():
        raise CommandError(
            f"there is no system in {home.folder}",
            reason="NOT_RUNNING",
            fix="start one: actionvm up --detach",
        )
    return home


def _refuse_own(home: Home, name: str) -> None:
    if home.token_file(name).exists():
        fix = spelled(f"to have another: rm {home.token_file(name)} && actionvm up --detach")
        raise CommandError(
            f"{name} is the token of this home itself", reason="TOKEN_OWN", field="NAME", fix=fix
        )


def _expire_time(text: str, now: datetime) -> datetime | None:
    if not text:
        return None
    found = _EXPIRES.fullmatch(text)
    if not found or not int(found[1]):
        raise CommandError(
            f"{text!r} is no time span", reason="INVALID_FIELD", field="--expires", fix="like 30d"
        )
    return (now + int(found[1]) * _UNITS[found[2]]).astimezone(UTC).replace(microsecond=0)


def _described(token: Token) -> dict[str, str]:
    ends = {"expire_time": token.expire_time.isoformat()} if token.expire_time else {}
    return {"name": token.name, "role": token.role, **ends}
