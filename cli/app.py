"""The application: every command under its name."""

from __future__ import annotations

from collections.abc import Callable

import typer

from .command import (
    DEFAULT_HOME,
    CaOption,
    Command,
    Context,
    HomeOption,
    TokenOption,
    spell_commands,
)
from .commands import (
    action,
    agents,
    approvals,
    audit,
    demo,
    doctor,
    effects,
    gas,
    knowledge,
    models,
    policy,
    receipts,
    recovery,
    replays,
    runs,
    schedules,
    secrets,
    steering,
    system,
    tokens,
)
from .home import Home

app = typer.Typer(
    name="actionvm",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="ActionVM: compiles agents into signed bundles and executes them durably.",
    epilog="Start with the command demo. README.md leads on to an agent of your own.",
)


@app.callback()
def options(
    context: typer.Context,
    home: HomeOption = DEFAULT_HOME,
    ca: CaOption = None,
    token_file: TokenOption = None,
) -> None:
    """ActionVM: compiles agents into signed bundles and executes them durably."""
    folder = home.expanduser().absolute()
    context.obj = Context(Home(folder, ca=ca, token=token_file))
    spell_commands(context, folder)


commands: dict[str, Callable[..., None]] = {
    "up": system.up,
    "down": system.down,
    "status": system.status,
    "doctor": doctor.doctor,
    "validate": agents.validate,
    "assemble": agents.assemble,
    "run": runs.run,
    "runs": runs.list_runs,
    "show": runs.show,
    "watch": runs.watch,
    "cancel": runs.cancel,
    "effects": effects.effects,
    "pause": steering.pause,
    "resume": steering.resume,
    "signal": steering.signal,
    "fork": steering.fork,
    "replay": replays.replay,
    "diff": replays.diff,
    "verify": receipts.verify,
    "demo": demo.demo,
}
for name, command in commands.items():
    app.command(name, cls=Command)(command)
for name, group in {
    "action": action.app,
    "schedules": schedules.app,
    "secrets": secrets.app,
    "policy": policy.app,
    "approvals": approvals.app,
    "recovery": recovery.app,
    "audit": audit.app,
    "knowledge": knowledge.app,
    "gas": gas.app,
    "models": models.app,
    "tokens": tokens.app,
}.items():
    app.add_typer(group, name=name)
