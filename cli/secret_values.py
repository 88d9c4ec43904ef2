"""Where values of secrets come from: a file, the terminal without echo, standard input, `.env`."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer
from dotenv.parser import parse_stream

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
    found = list(os.environ.items()) if file is None else _read_file(file)  # noqa: TID251
    where = str(file or "the environment")
    chosen: dict[str, bytes] = {}
    names: dict[str, str] = {}
    for name, value in found:
        if not (name.startswith(prefix) and value):
            continue
        id_ = secret_id(name.removeprefix(prefix))
        if id_ in names:
            raise _unreadable(where, f"{names[id_]!a} and {name!a} would both be the secret {id_}")
        names[id_], chosen[id_] = name, _encoded(where, name, value)
    if not chosen:
        raise CommandError(
            f"{where} has no values" + (f" for {prefix}*" if prefix else ""),
            reason="INVALID_FIELD",
            field="--prefix" if prefix else "FILE",
            fix="a line of a .env file is NAME=value",
        )
    return chosen


def secret_id(name: str) -> str:
    """Return the id that a name of an environment variable becomes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _encoded(where: str, name: str, value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        # The error would repeat the value.
        raise _unreadable(where, f"the value of {name!a} is no text") from None


def _read_file(file: Path) -> Sequence[tuple[str, str]]:
    content = read_limited(file, FILE_BYTES_MAX, what=str(file), field="FILE")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(str(file), "it is not UTF-8 text") from error
    if text.lstrip().startswith("{"):
        return _json_values(str(file), text)
    return list(_env_values(str(file), text))


def _json_values(where: str, text: str) -> Sequence[tuple[str, str]]:
    try:
        # Of members that are there twice, the last would win in silence.
        found = json.loads(text, object_pairs_hook=_Members)
    except (ValueError, RecursionError) as error:
        raise _unreadable(where, "it is not JSON") from error
    values = []
    for name, value in found.pairs:
        if value is None:
            raise _unreadable(where, f"the value of {name!a} is null")
        # Secrets of several parts, such as those of OAuth 1.0a, are objects.
        values.append((name, value if isinstance(value, str) else json.dumps(_plain(value))))
    return values


class _Members:
    """The members of a JSON object, also those that are there twice."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        self.pairs = pairs


def _plain(value: object) -> object:
    """Return a value of JSON; of a member that is there twice, the last."""
    if isinstance(value, _Members):
        return {name: _plain(member) for name, member in value.pairs}
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _env_values(where: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield what the lines assign; the value of a line that is wrong is not repeated."""
    for found in parse_stream(io.StringIO(text)):
        line = found.original.line
        if found.error:
            raise _unreadable(where, f"line {line} is not NAME=value, or its quote has no end")
        if found.key is None:
            # A comment, or nothing.
            continue
        if found.value is None or not _NAME.fullmatch(found.key):
            raise _unreadable(where, f"line {line} is not NAME=value")
        yield found.key, found.value


def _unreadable(where: str, problem: str) -> CommandError:
    return CommandError(
        f"{where}: {problem}",
        reason="FILE_INVALID",
        field="FILE",
        fix='write lines NAME=value, or JSON such as {"NAME": "value"}',
    )
