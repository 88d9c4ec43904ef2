"""Where values of secrets come from: a file, the terminal without echo, standard input, `.env`."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import typer

from .errors import CommandError
from .manifest import read_limited

VALUE_BYTES_MAX = 64 * 1024
FILE_BYTES_MAX = 1024 * 1024

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_value(file: Path | None) -> bytes:
    """Read one value; what an editor or `echo` adds at its end is no part of it."""
    if file is not None:
        value = read_limited(file, VALUE_BYTES_MAX, what="the value", field="--value-file")
    elif sys.stdin.isatty():
        value = typer.prompt("value", hide_input=True).encode()
    else:
        value = sys.stdin.buffer.read(VALUE_BYTES_MAX + 1)
    value = value.rstrip(b"\r\n")
    if not value or len(value) > VALUE_BYTES_MAX:
        raise CommandError(
            f"the value has {len(value)} bytes; 1 to {VALUE_BYTES_MAX} are allowed",
            reason="INVALID_FIELD",
            field="value",
            fix="pass it with --value-file, or on standard input",
        )
    return value


def read_values(file: Path | None, prefix: str) -> dict[str, bytes]:
    """Return secret id -> value of a `.env` or JSON file, or of the environment below a prefix.

    A name such as `OPENAI_API_KEY` becomes the id `openai-api-key`; a prefix is not part of it.
    """
    # Not settings of this program, but values to store.
    found = dict(os.environ) if file is None else _read_file(file)  # noqa: TID251
    chosen = {
        secret_id(name.removeprefix(prefix)): value
        for name, value in found.items()
        if name.startswith(prefix) and value
    }
    if not chosen:
        raise CommandError(
            f"{file or 'the environment'} has no values" + (f" for {prefix}*" if prefix else ""),
            reason="INVALID_FIELD",
            field="--prefix" if prefix else "FILE",
            fix="a line of a .env file is NAME=value",
        )
    return {name: value.encode() for name, value in chosen.items()}


def secret_id(name: str) -> str:
    """Return the id that a name of an environment variable becomes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _read_file(file: Path) -> Mapping[str, str]:
    content = read_limited(file, FILE_BYTES_MAX, what=str(file), field="FILE")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _unreadable(file, "it is not UTF-8 text") from error
    if text.lstrip().startswith("{"):
        return _json_values(file, text)
    return dict(_env_values(file, text))


def _json_values(file: Path, text: str) -> Mapping[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(file, "it is not JSON") from error
    # Secrets of several parts, such as those of OAuth 1.0a, are objects.
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in found.items()
    }


def _env_values(file: Path, text: str) -> Iterator[tuple[str, str]]:
    """Yield what the lines assign; the value of a line that is wrong is not repeated."""
    for number, line in enumerate(text.splitlines(), start=1):
        assigned = line.strip().removeprefix("export ").strip()
        if not assigned or assigned.startswith("#"):
            continue
        name, equals, value = assigned.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not _NAME.fullmatch(name):
            raise _unreadable(file, f"line {number} is not NAME=value")
        quote = value[:1]
        if quote in {'"', "'"}:
            if len(value) < len('""') or value[-1] != quote:
                raise _unreadable(file, f"line {number} has no closing quote")
            value = value[1:-1]
        else:
            value = value.partition(" #")[0].rstrip()
        yield name, value


def _unreadable(file: Path, problem: str) -> CommandError:
    return CommandError(
        f"{file}: {problem}",
        reason="FILE_INVALID",
        field="FILE",
        fix='write lines NAME=value, or JSON such as {"NAME": "value"}',
    )
