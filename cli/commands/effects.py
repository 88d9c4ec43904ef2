"""The command that lists what agents sent to services: effects."""

from __future__ import annotations

from collections.abc import Awaitable
from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from actionvm.runtime.v1 import runtime_pb2

from ..client import Client, all_pages
from ..command import AsJson, ask
from ..output import console, print_json, table, to_json
from ..render import age_text
from .runs import run_name

_STATE = runtime_pb2.Effect.State
_STYLES = {
    runtime_pb2.Effect.STATE_CONFIRMED: "green",
    runtime_pb2.Effect.STATE_FAILED: "red",
    runtime_pb2.Effect.STATE_UNKNOWN: "bold yellow",
}


class EffectState(StrEnum):
    """The states, as people type them."""

    PENDING = "pending"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    UNKNOWN = "unknown"


OfRun = Annotated[
    str, typer.Argument(metavar="RUN", help="Such as runs/3f0c…; without it, those of all runs.")
]
State = Annotated[EffectState | None, typer.Option("--state", help="Only those in this state.")]


def effects(
    context: typer.Context, run: OfRun = "", *, state: State = None, as_json: AsJson = False
) -> None:
    """List what runs sent to services, and whether it happened.

    Of an unknown one nobody knows, for its answer got lost; the service can be asked by its key.

    Example: actionvm effects --state unknown
    """
    wanted = _STATE.Value(f"STATE_{state.upper()}") if state else _STATE.STATE_UNSPECIFIED
    name = run_name(run) if run else ""

    async def read(client: Client) -> list[runtime_pb2.Effect]:
        def fetch(token: str) -> Awaitable[runtime_pb2.ListEffectsResponse]:
            request = runtime_pb2.ListEffectsRequest(
                run=name, state=wanted, page_size=1_000, page_token=token
            )
            return client.runtime(lambda stub: stub.ListEffects(request))

        return await all_pages(fetch, lambda page: page.effects)

    found = ask(context, read)
    if as_json:
        print_json({"effects": [to_json(one) for one in found]})
        return
    rows = [
        (
            one.action or one.call_id,
            _state_text(one),
            one.account.removeprefix("agents/"),
            one.run.removeprefix("runs/"),
            one.call_id,
            str(one.attempts),
            age_text(one.update_time),
        )
        for one in found
    ]
    columns = ("action", "state", "agent", "run", "call", "sent", "age")
    made = table(*columns, rows=rows, right=("sent", "age"))
    console().print(made if rows else "nothing was sent so far")


def _state_text(effect: runtime_pb2.Effect) -> Text:
    name = _STATE.Name(effect.state).removeprefix("STATE_").lower()
    told = f"{name}: {effect.reason}" if effect.reason else name
    return Text(told, _STYLES.get(effect.state, "cyan"))
