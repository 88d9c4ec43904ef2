"""What commands print: tables and sentences for people, JSON for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import asdict
from typing import TextIO

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chassis.canonical import Json

from .errors import CommandError, Problem

# Text from models, manifests and boards must not steer the terminal; half a character cannot be
# printed at all.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# What a person types to call this command line here and now, such as `bin/actionvm --home /tmp/a`.
INVOCATION: ContextVar[str] = ContextVar("INVOCATION", default="actionvm")
_ADVISED = re.compile(r"(?<![\w./-])actionvm( --home)?(?= [-a-z/])")

# Longer than any line of a table.
PIPE_WIDTH = 100_000

_LONG_TYPES = frozenset(
    {FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_SINT64}
)


def console() -> Console:
    """Return the console of standard output."""
    return _console(sys.stdout)


def error_console() -> Console:
    """Return the console of standard error."""
    return _console(sys.stderr)


def _console(file: TextIO) -> Console:
    """Return a console that colours nothing by itself; for a program every line stays whole."""
    width = None if file.isatty() else PIPE_WIDTH
    return Console(file=file, highlight=False, emoji=False, markup=False, width=width)


def clean(text: str) -> str:
    """Replace what could steer a terminal."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def spelled(advice: str) -> str:
    """Spell the commands in advice, such as `actionvm down`, so that they can be copied."""

    def spell(found: re.Match[str]) -> str:
        program, option, home = INVOCATION.get().partition(" --home ")
        # Advice that names a home of its own keeps it.
        return f"{program} --home" if found[1] else f"{program}{option}{home}"

    return _ADVISED.sub(spell, advice)


def print_json(value: Json) -> None:
    """Print one JSON document on one line, at once."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def to_json(message: Message) -> dict[str, Json]:
    """Return a message with the names of its contract, and all whole numbers as numbers."""
    value: dict[str, Json] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    _unquote(value, message.DESCRIPTOR)  # type: ignore[arg-type]  # the two names of one class
    return value


def _unquote(value: dict[str, Json], descriptor: Descriptor) -> None:
    """Make numbers of 64-bit fields, which the JSON of protobuf writes as strings.

    Maps are from text to text in all our contracts.
    """
    for name, part in value.items():
        field = descriptor.fields_by_name[name]
        if field.type in _LONG_TYPES:
            value[name] = [int(item) for item in part] if isinstance(part, list) else int(str(part))
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for item in part if isinstance(part, list) else [part]:
                # Well-known types, such as timestamps, are strings already.
                if isinstance(item, dict):
                    _unquote(item, field.message_type)


def table(*columns: str, rows: Iterable[Sequence[str | Text]], right: Sequence[str] = ()) -> Table:
    """Return a table; the columns in `right` hold numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(clean(cell)) if isinstance(cell, str) else cell for cell in row))
    return made


def print_error(error: CommandError, *, as_json: bool) -> None:
    """Say what is wrong, its code, its place, and the way out."""
    if as_json:
        fields = asdict(error)
        del fields["exit_code"]
        print_json({"error": fields})
        return
    target = error_console()
    for problem in error.problems:
        target.print(describe_problem(problem))
    line = Text.assemble(("error ", "bold red"), (f"{error.reason}: ", "bold"))
    target.print(line + Text(clean(spelled(error.message))))
    # Of a manifest the lines above name every field.
    if error.field and not error.problems and error.field not in error.message:
        target.print(f"  field: {clean(error.field)}")
    if error.fix:
        target.print(f"  way out: {clean(spelled(error.fix))}")


def describe_problem(problem: Problem) -> Text:
    """Return `file:line:column: error CODE field: message (fix)`."""
    place = f":{problem.line}:{problem.column}" if problem.line else ""
    style = "bold red" if problem.severity == "error" else "bold yellow"
    line = Text(clean(f"{problem.file}{place}: "))
    line.append(f"{problem.severity} {clean(problem.code)} ", style)
    line.append(clean(f"{problem.field}: " if problem.field else ""))
    line.append(clean(spelled(problem.message)))
    line.append(clean(f" ({spelled(problem.fix)})" if problem.fix else ""), "dim")
    return line
