"""How quickly agents get answers of a local model: `python benchmarks/linker.py [--quick]`.

Prints one line of JSON per figure. Our linker and its peers are processes that read the same file
with the same threads, and take turns in each round; values are medians over the rounds, and the
ratio is ours to that of the best peer. `make bench-peers` installs the peers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jsonschema
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.lines import write_line
from benchmarks.linker_servers import PEERS, Ask, Got, Server, open_linker, open_peers
from linker.conversation import (
    Action,
    Choice,
    Conversation,
    Delta,
    Message,
    Prompt,
    Role,
    Sampling,
)
from linker.providers.local import LocalProvider
from linker.providers.residents import WritingModel
from models.enlarge import enlarge
from models.evaluate import cases_of, dialogues_of
from models.random_weights import PRESETS, write_random
from models.tiny.dialogues import Kind

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "models" / "actionvm-tiny.gguf"
ACTIONS = 10
CALLS_IN_FLIGHT = 8
# Streams that write while prompts arrive.
STREAMS = 4
WORDS = ("the", "of", "and", "to", "in", "is", "it", "was", "for", "on", "as", "his", "they", "be")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    preset: str
    peers: Sequence[str]
    in_flight: Sequence[int]
    rounds: int
    tokens: int
    shared_words: int
    calls: int


FULL = Size("bench", PEERS, (1, 4, 8, 16), 5, 128, 500, 32)
QUICK = Size("small", PEERS[:1], (1, 8), 1, 24, 150, 8)


def chat(shared: int, own: int, words: int) -> Conversation:
    """Return what many agents have in common, and what one of them adds."""
    common = _words(random.Random(shared), words)  # noqa: S311  # to be repeated
    added = _words(random.Random(-own), 25)  # noqa: S311  # the same
    return Conversation((Message(Role.SYSTEM, common), Message(Role.USER, added)))


def _words(dice: random.Random, count: int) -> str:
    return " ".join(dice.choices(WORDS, k=count))


def errands(first: int, count: int) -> list[Conversation]:
    """Return agents with the same ten actions, and an errand each for the model in the box."""
    asked: dict[str, tuple[Action, str]] = {}
    for dialogue in dialogues_of("known actions", 10 * ACTIONS):
        for case in cases_of(dialogue):
            system, *others = case.prompt.messages
            if case.turn.kind is Kind.ACT and len(others) == 1 and len(asked) < ACTIONS:
                name = case.expected.calls[0].action
                (action,) = (one for one in case.prompt.actions if one.name == name)
                asked.setdefault(name, (action, others[0].text))
    actions = tuple(action for action, _ in asked.values())
    texts = [text for _, text in asked.values()]
    return [
        # The number makes each text one that nobody has read before.
        Conversation(
            (system, Message(Role.USER, f"{number}. {texts[number % len(texts)]}")), actions
        )
        for number in range(first, first + count)
    ]


async def in_flight(server: Server, asks: Sequence[Ask], count: int) -> tuple[list[Got], float]:
    """Return the answers in order, asked so many at a time, and how long they took together."""
    free = asyncio.Semaphore(count)

    async def say(ask: Ask) -> Got:
        async with free:
            return await server.say(ask)

    start = time.perf_counter()
    got = await asyncio.gather(*map(say, asks))
    return got, time.perf_counter() - start


class Bench:
    """Our linker and its peers, and how much is asked of them."""

    def __init__(self, size: Size, ours: Server, peers: Sequence[Server], threads: int) -> None:
        self._size = size
        self._ours = ours
        self._servers = (ours, *peers)
        self._threads = threads
        self._fresh = iter(range(1, 1_000_000))

    async def compare(
        self,
        figure: str,
        unit: str,
        goal: str,
        measure: Callable[[Server], Awaitable[float]],
        *,
        is_cost: bool = False,
    ) -> None:
        """Print a figure beside those of all peers."""
        values: dict[str, list[float]] = {server.name: [] for server in self._servers}
        for number in range(self._size.rounds):
            # Who comes first finds the machine cooler.
            turn = number % len(self._servers)
            for server in (*self._servers[turn:], *self._servers[:turn]):
                values[server.name].append(await measure(server))
        medians = {name: statistics.median(found) for name, found in values.items()}
        peers = {name: value for name, value in medians.items() if name != self._ours.name}
        best = (min if is_cost else max)(peers, key=lambda name: peers[name], default="")
        report(figure, medians[self._ours.name], unit, goal, self._threads, peers, best, is_cost)

    async def free_text(self, count: int) -> None:
        """Measure tokens per second of so many agents whose instructions are the same."""

        async def measure(server: Server) -> float:
            asks = [self._ask(0, next(self._fresh)) for _ in range(count)]
            got, seconds = await in_flight(server, asks, count)
            return sum(one.tokens for one in got) / seconds

        for server in self._servers:
            await server.say(self._ask(0, next(self._fresh)))
        await self.compare(f"free_text_{count}", "tokens/s", ">= 1.0", measure)

    async def cold_burst(self) -> None:
        """Measure agents that arrive together, when one with their instructions was there."""
        firsts: dict[str, list[float]] = {server.name: [] for server in self._servers}

        async def measure(server: Server) -> float:
            shared, agents = next(self._fresh), max(self._size.in_flight)
            await server.say(replace(self._ask(shared, next(self._fresh)), tokens_max=1))
            asks = [self._ask(shared, next(self._fresh)) for _ in range(agents)]
            start = time.perf_counter()
            got, seconds = await in_flight(server, asks, agents)
            waits = [one.times[0] - start for one in got if one.times]
            firsts[server.name].append(1_000 * statistics.median(waits))
            return sum(one.tokens for one in got) / seconds

        await self.compare("cold_burst", "tokens/s", ">= 2.0", measure)
        waits = {name: iter(found) for name, found in firsts.items()}

        async def recall(server: Server) -> float:
            return next(waits[server.name])

        await self.compare("cold_burst_first_token", "ms", ">= 2.0", recall, is_cost=True)

    def _ask(self, shared: int, own: int) -> Ask:
        return Ask(chat(shared, own, self._size.shared_words), self._size.tokens, own)

    async def tool_calls(self) -> None:
        """Measure calls per second with ten schemas, and how many of them are valid."""
        valid: dict[str, list[bool]] = {server.name: [] for server in self._servers}

        async def measure(server: Server) -> float:
            first = self._size.calls * next(self._fresh)
            conversations = errands(first, self._size.calls)
            asks = [Ask(one, 160, 0) for one in conversations]
            got, seconds = await in_flight(server, asks, CALLS_IN_FLIGHT)
            found = [
                is_valid(one.call, ask.actions) for one, ask in zip(got, conversations, strict=True)
            ]
            valid[server.name] += found
            return sum(found) / seconds

        await self.compare("tool_calls", "valid calls/s", ">= 2.0", measure)
        shares = {name: iter([sum(v) / len(v)] * 99) for name, v in valid.items()}

        async def recall(server: Server) -> float:
            return 100 * next(shares[server.name])

        await self.compare("tool_calls_valid", "%", "= 100", recall)


def is_valid(call: tuple[str, str] | None, actions: Sequence[Action]) -> bool:
    """Tell whether a call names an action on offer, and its arguments satisfy the schema."""
    schemas = {action.name: json.loads(action.parameters_schema) for action in actions}
    if call is None or call[0] not in schemas:
        return False
    try:
        jsonschema.validate(json.loads(call[1]), schemas[call[0]])
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


def report(  # noqa: PLR0917  # a line has many parts
    figure: str,
    value: float,
    unit: str,
    goal: str,
    threads: int,
    peers: Mapping[str, float] | None = None,
    best: str = "",
    is_cost: bool = False,  # noqa: FBT001, FBT002  # passed on
) -> None:
    """Print one line."""
    line: dict[str, object] = {"figure": figure, "value": round(value, 2), "unit": unit}
    if peers and best:
        ratio = peers[best] / value if is_cost else value / peers[best] if peers[best] else 0.0
        line |= {"peer": best, "peer_value": round(peers[best], 2), "ratio": round(ratio, 2)}
        line["peers"] = {name: round(found, 2) for name, found in peers.items()}
    write_line(**line, goal=goal, threads=threads)


# --- Inside the engine ---------------------------------------------------------------------------


class Inside:
    """The same model in this process, without gRPC: what the way to the engine costs."""

    name = "in this process"

    def __init__(self, model: WritingModel) -> None:
        self._model = model

    async def say(self, ask: Ask) -> Got:
        """Return a whole answer."""
        sampling = Sampling(ask.tokens_max, temperature=1.0, top_k=40, top_p=0.95, seed=ask.seed)
        prompt = Prompt(ask.conversation, Choice.NONE, sampling)
        times, tokens = [], 0
        async with contextlib.aclosing(self._model.generate(prompt)) as events:
            async for event in events:
                tokens = event.tokens.output
                if isinstance(event, Delta) and event.text:
                    times.append(time.perf_counter())
        return Got(tokens, tuple(times))


async def look_inside(path: Path, ours: Server, size: Size, threads: int) -> None:
    """Measure Python's share of the time, the way over gRPC, and how even the tokens come."""
    provider = LocalProvider(path.parent, threads=threads, context_tokens_max=8192)
    model = await provider.open(path.stem)
    assert isinstance(model, WritingModel), "it writes"
    inside, count = Inside(model), 8
    fresh = iter(range(2_000_000, 3_000_000))

    async def rate(server: Server) -> float:
        asks = [Ask(chat(0, next(fresh), size.shared_words), size.tokens, n) for n in range(count)]
        got, seconds = await in_flight(server, asks, count)
        return sum(one.tokens for one in got) / seconds

    await rate(inside)
    pairs = [(await rate(ours), await rate(inside)) for _ in range(size.rounds)]
    cost = statistics.median(100 * (1 - over / direct) for over, direct in pairs)
    report("grpc_cost", cost, "%", "<= 5", threads)
    async with model._use() as engine:  # noqa: SLF001  # what it costs is nobody else's business
        before = engine.statistics
        await rate(inside)
        after = engine.statistics
    python = after.python_seconds - before.python_seconds
    decode = after.decode_seconds - before.decode_seconds
    report("python_of_decode", 100 * python / decode, "%", "<= 1", threads)
    await _evenness(inside, size, threads, fresh)
    await provider.close()


async def _evenness(inside: Inside, size: Size, threads: int, fresh: AsyncIterator[int]) -> None:
    """Measure the 99th percentile of waits between tokens, idle and while prompts arrive."""

    async def waits(*, arriving: bool) -> float:
        asks = [
            Ask(chat(0, next(fresh), size.shared_words), 2 * size.tokens, n) for n in range(STREAMS)
        ]
        running = asyncio.gather(*(inside.say(one) for one in asks))
        while arriving and not running.done():
            # Nobody has seen these instructions.
            await inside.say(Ask(chat(next(fresh), 0, size.shared_words), 1, 0))
        gaps: list[float] = []
        for one in await running:
            gaps += [
                after - before for before, after in zip(one.times, one.times[1:], strict=False)
            ]
        return statistics.quantiles(gaps, n=100)[98]

    pairs = [(await waits(arriving=False), await waits(arriving=True)) for _ in range(size.rounds)]
    ratio = statistics.median(busy / idle for idle, busy in pairs)
    report("p99_while_prompts_arrive", ratio, "times the idle one", "<= 1.3", threads)


async def measure(size: Size, *, threads: int) -> None:
    """Write the models, start the servers, and measure everything."""
    with tempfile.TemporaryDirectory() as folder:
        talker, caller = Path(folder) / "talker.gguf", Path(folder) / "caller.gguf"
        write_random(talker, "llama", shape=PRESETS[size.preset], form="q8_0")
        if size.preset == QUICK.preset:
            caller.write_bytes(TINY.read_bytes())
        else:
            enlarge(TINY, caller)
        async with (
            open_linker(talker, threads=threads) as ours,
            open_peers(talker, threads=threads, names=size.peers) as peers,
        ):
            bench = Bench(size, ours, peers, threads)
            for count in size.in_flight:
                await bench.free_text(count)
            await bench.cold_burst()
        # The cache of one that has served is not like that of one that has not.
        async with open_linker(talker, threads=threads) as ours:
            await look_inside(talker, ours, size, threads)
        names = [name for name in size.peers if name.startswith("llama-server")]
        async with (
            open_linker(caller, threads=threads) as ours,
            open_peers(caller, threads=threads, names=names) as peers,
        ):
            await Bench(size, ours, peers, threads).tool_calls()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within 50 seconds")
    parser.add_argument("--rounds", type=int, default=0, help="instead of 5")
    parser.add_argument("--threads", type=int, default=1, help="of llama.cpp, for everybody")
    chosen = parser.parse_args()
    size = QUICK if chosen.quick else FULL
    size = replace(size, rounds=chosen.rounds or size.rounds)
    uvloop.run(measure(size, threads=chosen.threads))


if __name__ == "__main__":
    main()
