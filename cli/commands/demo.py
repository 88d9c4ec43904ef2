"""The command behind `make run`: the whole example, from nothing to a post on a board."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import typer

from actionvm.keymanager.v1 import keymanager_pb2

from ..client import Client
from ..command import AsJson, ask, home_of
from ..errors import CommandError, ExitCode
from ..home import Home
from ..lifecycle import is_free
from ..output import clean, console, spelled
from ..services import HOST, PORT_BASE, ROOT
from ..state import read_alive
from .runs import execute, read_order
from .secrets import read_secrets
from .system import bring_up_detached

EXAMPLE = ROOT / "examples" / "market-brief"
BOARD_KEY = "secrets/board-key"
BOARD_PORT = 7480
BOARD_SECONDS = 15.0
CONNECT_SECONDS = 0.05
INPUT = "What moved the market today?"


@dataclass(frozen=True)
class Board:
    """The small server that stands in for a social network; `data` has one post per line."""

    url: str
    data: Path

    def posts(self) -> list[str]:
        """Return the posts, oldest first, as the board wrote them down."""
        return self.data.read_text().splitlines() if self.data.exists() else []


def demo(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Run the example agent on six real services. What is missing is made first.

    The services keep running; the board of the example ends with this command, so Ctrl-C cancels
    the run.

    Example: actionvm demo
    """
    home = home_of(context)
    if read_alive(home) is None:
        bring_up_detached(home, PORT_BASE)
    ask(context, put_board_key)
    with run_board(home) as board:
        order = read_order(
            str(EXAMPLE / "agent.yaml"), input_text=INPUT, settings=[f"board_url={board.url}"]
        )
        try:
            execute(context, order, as_json=as_json, cancels=True)
        finally:
            if not as_json:
                _tell(home, board)


async def put_board_key(client: Client) -> None:
    """Make the key that signs posts, unless it is there; nobody ever sees it."""
    if any(secret.name == BOARD_KEY for secret in await read_secrets(client)):
        return
    request = keymanager_pb2.PutSecretRequest(
        request_id=str(uuid.uuid4()),
        name=BOARD_KEY,
        kind=keymanager_pb2.KIND_ED25519,
        generate=True,
    )
    await client.keymanager(lambda stub: stub.PutSecret(request))


@contextmanager
def run_board(home: Home) -> Iterator[Board]:
    """Run the board of the example for as long as the block lasts."""
    port = BOARD_PORT if is_free(BOARD_PORT) else _free_port()
    board = Board(f"http://{HOST}:{port}", home.folder / "board.jsonl")
    log = home.log_file("board")
    command = [sys.executable, str(EXAMPLE / "board.py")]
    command += ["--port", str(port), "--data", str(board.data)]
    with log.open("ab") as output, _deaf_to_ctrl_c():
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    with process:
        try:
            _wait_for(process, port, log)
            yield board
        finally:
            process.terminate()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let what is started in a block ignore Ctrl-C: an effect that is under way needs its board."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when the board listens."""
    deadline = time.monotonic() + BOARD_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((HOST, port), CONNECT_SECONDS):
            return
        # The pause until the next try; it ends early when there will be none.
        with suppress(subprocess.TimeoutExpired):
            process.wait(CONNECT_SECONDS)
            break
    raise CommandError(
        "the board of the example does not start",
        reason="BOARD_FAILED",
        fix=f"its log is {log}",
        exit_code=ExitCode.UNREACHABLE,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _tell(home: Home, board: Board) -> None:
    """Say what happened outside, and where to look next."""
    posts = board.posts()
    target = console()
    target.print()
    target.print(f"posts on the board: {len(posts)}")
    if posts:
        target.print(f"the last one: {clean(_text_of(posts[-1]))}")
    target.print()
    target.print(spelled("the services keep running; actionvm down stops them"))
    target.print(spelled("  all runs:    actionvm runs"))
    target.print(f"  the logs:    {home.logs_dir}")
    target.print(f"  the agent:   {EXAMPLE / 'agent.yaml'}")


def _text_of(post: str) -> str:
    """Return the text of a post, or the whole line if it has none."""
    try:
        found = json.loads(post)
    except ValueError:
        return post
    text = found.get("text") if isinstance(found, dict) else None
    return text if isinstance(text, str) else post
