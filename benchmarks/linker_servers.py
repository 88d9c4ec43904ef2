"""The servers that `benchmarks/linker.py` compares, each in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp
import grpc

from actionvm.action.v1.action_pb2 import Usage
from actionvm.linker.v1 import linker_pb2 as pb
from actionvm.linker.v1 import linker_pb2_grpc
from linker.conversation import Conversation, Message, Role
from linker.links import ModelConfig, link_name
from tests.grpc_fixtures import token_of
from tests.linker.orders import ACCOUNT, RUN

ROOT = Path(__file__).resolve().parent.parent
CONTEXT_TOKENS = 16_384
SLOTS = 16
START_SECONDS = 120
ANSWER_SECONDS = 600
TEMPERATURE, TOP_K, TOP_P = 1.0, 40, 0.95


@dataclass(frozen=True)
class Ask:
    """What is asked for: free text, or, with actions, one call of them."""

    conversation: Conversation
    tokens_max: int
    seed: int


@dataclass(frozen=True)
class Got:
    """What came of it: how many tokens, when each piece came, and the call if it was one."""

    tokens: int
    times: tuple[float, ...]
    call: tuple[str, str] | None = None


class Server(Protocol):
    """Something that answers over a socket."""

    name: str

    async def say(self, ask: Ask) -> Got:
        """Return a whole answer."""


class OpenAiServer:
    """A server of the protocol of OpenAI."""

    def __init__(self, name: str, url: str, session: aiohttp.ClientSession) -> None:
        self.name = name
        self._url = url
        self._session = session

    async def say(self, ask: Ask) -> Got:
        """Return a whole answer; free text is streamed."""
        body = {
            "model": "bench",
            "messages": [_message(turn) for turn in ask.conversation.messages],
            "max_tokens": ask.tokens_max,
            "seed": ask.seed,
        }
        if ask.conversation.actions:
            return await self._call(ask, body)
        body |= {"temperature": TEMPERATURE, "top_k": TOP_K, "top_p": TOP_P, "stream": True}
        times, tokens = [], 0
        async with self._session.post(f"{self._url}/v1/chat/completions", json=body) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    for choice in json.loads(line[6:])["choices"]:
                        if choice["delta"].get("content"):
                            times.append(time.perf_counter())
                        # Not each token shows: a part of a character waits for the next.
                        is_full = choice.get("finish_reason") == "length"
                        tokens = ask.tokens_max if is_full else len(times)
        return Got(tokens, tuple(times))

    async def _call(self, ask: Ask, body: dict[str, object]) -> Got:
        tools = [
            {
                "type": "function",
                "function": {
                    "name": action.name,
                    "description": action.description,
                    "parameters": json.loads(action.parameters_schema),
                },
            }
            for action in ask.conversation.actions
        ]
        body |= {"temperature": 0, "tools": tools, "tool_choice": "required"}
        async with self._session.post(f"{self._url}/v1/chat/completions", json=body) as answer:
            told = await answer.json()
        now = (time.perf_counter(),)
        if answer.status != 200:  # noqa: PLR2004  # OK
            return Got(0, now)
        calls = told["choices"][0]["message"].get("tool_calls") or []
        found = [(one["function"]["name"], one["function"]["arguments"]) for one in calls]
        return Got(told["usage"]["completion_tokens"], now, found[0] if found else None)


class LinkerServer:
    """Ours, over gRPC, with the whole path: links, gas (a fake that is here), checks."""

    name = "linker"

    def __init__(self, channel: grpc.aio.Channel, model: str) -> None:
        self._stub = linker_pb2_grpc.LinkerServiceStub(channel)
        self._link = link_name(ModelConfig(f"local/{model}"))
        self._metadata = (("authorization", f"Bearer {token_of('runtime')}"),)

    async def say(self, ask: Ask) -> Got:
        """Return a whole answer."""
        is_call = bool(ask.conversation.actions)
        request = pb.GenerateRequest(
            request_id=str(uuid.uuid4()),
            link=self._link,
            account=ACCOUNT,
            run=RUN,
            messages=[
                pb.Message(role=_ROLES[turn.role], text=turn.text)
                for turn in ask.conversation.messages
            ],
            tokens_max=ask.tokens_max,
            seed=ask.seed,
            temperature=0 if is_call else TEMPERATURE,
            top_k=0 if is_call else TOP_K,
            top_p=0 if is_call else TOP_P,
        )
        for action in ask.conversation.actions:
            request.actions.add(
                name=action.name,
                description=action.description,
                parameters_schema=action.parameters_schema,
                effect=1,
            )
        if is_call:
            request.action_choice = pb.ACTION_CHOICE_REQUIRED
        times: list[float] = []
        finished = pb.Finished()
        async for event in self._stub.Generate(request, metadata=self._metadata):
            if event.WhichOneof("event") == "finished":
                finished = event.finished
            elif event.text_delta:
                times.append(time.perf_counter())
        tokens = sum(
            one.amount for one in finished.usages if one.meter == Usage.METER_OUTPUT_TOKENS
        )
        calls = [(one.action, one.arguments) for one in finished.calls]
        return Got(tokens, tuple(times), calls[0] if calls else None)


_ROLES = {
    Role.SYSTEM: pb.Message.ROLE_SYSTEM,
    Role.USER: pb.Message.ROLE_USER,
    Role.ASSISTANT: pb.Message.ROLE_ASSISTANT,
}


def _message(turn: Message) -> dict[str, str]:
    return {"role": turn.role.value, "content": turn.text}


# --- Processes -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def open_linker(model: Path, *, threads: int) -> AsyncIterator[LinkerServer]:
    """Start our linker in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.linker_process", str(model), str(threads)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)  # noqa: ASYNC220  # before anything is measured
    try:
        assert child.stdout is not None, "as asked for"
        address = (await asyncio.to_thread(child.stdout.readline)).strip()
        async with grpc.aio.insecure_channel(address) as channel:
            yield LinkerServer(channel, model.stem)
    finally:
        child.terminate()
        child.wait()


@contextlib.asynccontextmanager
async def open_peers(
    model: Path, *, threads: int, names: Sequence[str]
) -> AsyncIterator[list[OpenAiServer]]:
    """Start those of the peers that are installed."""
    async with contextlib.AsyncExitStack() as stack:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        # Some of them close connections that were quiet for a while, unseen by the next request.
        connector = aiohttp.TCPConnector(force_close=True)
        session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        await stack.enter_async_context(session)
        servers = []
        for name in names:
            port = _free_port()
            command = _command(name, model, port, threads)
            if command is None:
                continue
            child = subprocess.Popen(  # noqa: ASYNC220  # before anything is measured
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(_end, child)
            server = OpenAiServer(name, f"http://127.0.0.1:{port}", session)
            if await _is_up(session, port, child):
                servers.append(server)
            else:
                print(f"{name} did not start", file=sys.stderr)
        yield servers


PEERS = (
    "llama-server -kvu",
    "llama-server -no-kvu",
    "xllamacpp",
    "llama_cpp.server",
    "llama-cpp-python examples/server",
)
_XLLAMACPP = """
import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.port, params.cpuparams.n_threads = int(sys.argv[2]), int(sys.argv[3])
params.cpuparams_batch.n_threads = params.cpuparams.n_threads
params.n_ctx, params.n_parallel, params.kv_unified = int(sys.argv[4]), int(sys.argv[5]), True
server = xllamacpp.Server(params)
time.sleep(10**6)
"""
# It asks for the library that reads images, which is not built, and not used here.
_EXAMPLE = """
import runpy, sys, types
import llama_cpp
images = types.ModuleType("llama_cpp.mtmd_cpp")
images.__getattr__ = lambda name: object
sys.modules["llama_cpp.mtmd_cpp"] = llama_cpp.mtmd_cpp = images
script, config = sys.argv[1:]
sys.argv = [script, "-C", config]
runpy.run_path(script, run_name="__main__")
"""


def _command(name: str, model: Path, port: int, threads: int) -> list[str] | None:
    """Return how to start a peer in its best mode; None if it is not installed."""
    found = sorted(_cache().glob("peers-*"))
    if not found:
        return None
    peers, python = found[-1], str(found[-1] / "venv/bin/python")
    if name.startswith("llama-server"):
        program = peers / "llama-server"
        options = f"-c {CONTEXT_TOKENS} -np {SLOTS} -t {threads} -tb {threads} --jinja --no-webui"
        mode = name.split()[1]
        if not program.exists():
            return None
        return [str(program), "-m", str(model), "--port", str(port), *options.split(), mode]
    if not Path(python).exists():
        return None
    if name == "xllamacpp":
        numbers = (port, threads, CONTEXT_TOKENS, SLOTS)
        return [python, "-c", _XLLAMACPP, str(model), *map(str, numbers)]
    if name == "llama_cpp.server":
        options = f"--n_ctx {CONTEXT_TOKENS} --n_threads {threads} --n_threads_batch {threads}"
        more = ["--port", str(port), "--interrupt_requests", "false"]
        return [python, "-m", "llama_cpp.server", "--model", str(model), *options.split(), *more]
    config = {
        "server": {"port": port},
        "model": {
            "path": str(model),
            "alias": "bench",
            "n_ctx": CONTEXT_TOKENS,
            "n_batch": 512,
            "n_ubatch": 512,
            "n_seq_max": SLOTS,
            "threads": threads,
            "threads_batch": threads,
            "store_logits": False,
        },
    }
    file = model.with_suffix(f".{port}.json")
    file.write_text(json.dumps(config))
    return [python, "-c", _EXAMPLE, str(peers / "source/examples/server/server.py"), str(file)]


def _cache() -> Path:
    """Return the folder that `install-peers` fills."""
    known = os.environ  # noqa: TID251  # a script has no config
    shared = Path(known.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "actionvm"
    return Path(known.get("ACTIONVM_CACHE", shared))


async def _is_up(session: aiohttp.ClientSession, port: int, child: subprocess.Popen[bytes]) -> bool:
    """Wait until a server answers; false if it ends, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with session.get(f"http://127.0.0.1:{port}/v1/models") as answer:
                if answer.status == 200:  # noqa: PLR2004  # OK
                    return True
        await asyncio.sleep(0.2)
    return False


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
