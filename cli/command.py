"""What every command of the command line has in common: options, errors, the loop."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from .client import Client, connect_system
from .errors import CommandError, ExitCode
from .home import Home
from .output import INVOCATION, error_console, print_error, spelled
from .services import ROOT

DEFAULT_HOME = ROOT / ".actionvm"

Result = TypeVar("Result")

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON: one document, or one per line as it happens.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Fill in a parameter of a template."),
]
HomeOption = Annotated[
    Path, typer.Option("--home", envvar="ACTIONVM_HOME", help="Folder of keys, data and logs.")
]
CaOption = Annotated[
    Path | None,
    typer.Option("--ca", envvar="ACTIONVM_CA", help="Certificate of a system; else the home's."),
]
TokenOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", envvar="ACTIONVM_TOKEN_FILE", help="File of a token; else the home's."
    ),
]


@dataclass(frozen=True)
class Context:
    """What the options before the command say."""

    home: Home


class Command(TyperCommand):
    """A command whose operating errors are told in words, never as a traceback."""

    def get_help(self, ctx: Any) -> str:  # noqa: ANN401  # as below
        """Return the help, with an example that can be copied."""
        return spelled(super().get_help(ctx))

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: Any = None,  # noqa: ANN401  # as below
        **extra: Any,  # noqa: ANN401  # as below
    ) -> Any:  # noqa: ANN401  # as below
        """Read the command line; with --json, what is wrong with it is told as JSON, too."""
        as_json = "--json" in args
        try:
            return super().make_context(info_name, args, parent, **extra)
        except typer.TyperException as error:
            if not as_json:
                raise
            told = error.format_message()
            failure = CommandError(told, reason="USAGE_INVALID", fix="see --help")
            print_error(failure, as_json=True)
            raise typer.Exit(failure.exit_code) from error

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # typer does not publish these types
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Whoever reads has seen enough, such as `head`.
            raise
        except OSError as error:
            failure = CommandError(
                f"{error.filename or 'the system'}: {error.strerror}",
                reason="FILE_UNUSABLE",
                fix="check the path, its permissions, and the space on its disk",
            )
        except UnicodeEncodeError:
            failure = CommandError("an argument is not UTF-8 text", reason="INVALID_FIELD")
        except CommandError as error:
            failure = error
        except KeyboardInterrupt:
            error_console().print("interrupted")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        print_error(failure, as_json=bool(ctx.params.get("as_json")))
        raise typer.Exit(failure.exit_code)


def group(text: str) -> typer.Typer:
    """Return a group of commands."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)


def spell_commands(context: typer.Context, home: Path) -> None:
    """From now on, spell commands as this one was called, with the home that it was given."""
    words = [context.info_name or "actionvm"]
    source = context.get_parameter_source("home")
    if source is not None and source.name == "COMMANDLINE":
        words += ["--home", str(home)]
    INVOCATION.set(shlex.join(words))


def home_of(context: typer.Context) -> Home:
    """Return the home folder that the options before the command name."""
    found = context.find_object(Context)
    assert found is not None, "the callback of the application runs before every command"
    return found.home


def ask(context: typer.Context, work: Callable[[Client], Awaitable[Result]]) -> Result:
    """Do something with the services of the system in the home folder."""

    async def connected() -> Result:
        async with connect_system(home_of(context)) as client:
            return await work(client)

    return asyncio.run(connected())


def confirm(question: str, *, refusal: str) -> None:
    """Go on only if a person at the terminal says yes."""
    if sys.stdin.isatty() and typer.confirm(question):
        return
    raise CommandError(
        refusal, reason="NOT_CONFIRMED", field="--yes", fix="answer with y, or pass --yes"
    )
