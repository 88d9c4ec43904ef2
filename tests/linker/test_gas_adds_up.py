"""Whatever becomes of requests: what was used is charged, and the rest is given back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from sqlalchemy import text

from actionvm.gas.v1 import gas_pb2, gas_pb2_grpc
from chassis.config import ServiceConfig
from chassis.errors import ServiceError
from chassis.server import start_server
from chassis.tls import Bearer
from gas.prices import Meter, PriceTable
from gas.service import GasService
from gas.service import hosted as hosted_gas
from linker.clients import GasClient
from linker.conversation import Conversation, Delta, Finished, FinishReason, Prompt, Tokens
from linker.errors import ModelRefused, ProviderUnavailable, QueueFull, RateLimited
from linker.linker import Linker
from linker.links import ListedModel, ModelConfig, ModelFacts, Target
from linker.orders import Order, Payer
from linker.ports import Key
from linker.providers.talking import OnlyTalks
from linker.routing.backoff import Backoff
from tests.gas.ledgers import Ledger, budget, open_ledger, run_name
from tests.grpc_fixtures import identities_json, token_of
from tests.linker.orders import ACCOUNT, make_linker, prompt

CALLS = 1_000
RUNS = 10
ITEMS = ("main/m", "spare/m", "last/m")
# Whole gas per token, so that sums are exact.
PRICES = PriceTable(
    {
        f"model {item}": {
            Meter.INPUT_TOKENS: 1_000 * weight,
            Meter.OUTPUT_TOKENS: 3_000 * weight,
            Meter.REASONING_TOKENS: 4_000 * weight,
            Meter.CACHED_INPUT_TOKENS: 0,
            Meter.CACHE_WRITE_TOKENS: 2_000 * weight,
        }
        for weight, item in enumerate(ITEMS, start=1)
    }
)


def price(weight: int, used: Tokens) -> int:
    read = used.input + 2 * used.cache_write
    return weight * (read + 3 * used.output + 4 * used.reasoning)


class Moody(OnlyTalks):
    """A model that fails in every way it can; `used` is what all its tries have used."""

    def __init__(self, name: str, dice: random.Random) -> None:
        self.name = name
        self.facts = ModelFacts(1_000, takes_actions=True, constrains_output=False)
        self.used: list[Tokens] = []
        self._dice = dice

    async def models(self) -> Sequence[ListedModel]:
        return []

    async def close(self) -> None:
        pass

    async def open(self, model: str, key: Key | None = None) -> Moody:
        return self

    async def count_tokens(self, conversation: Conversation) -> int | None:
        return 50 if self._dice.random() < 0.5 else None

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        place = len(self.used)
        self.used.append(Tokens())
        self._may_fail(0.3)
        tokens = self._read()
        self.used[place] = tokens
        yield Delta("", tokens)
        self._may_fail(0.2)
        for _ in range(self._dice.randrange(4)):
            await asyncio.sleep(0)
            kind = self._dice.choice(("output", "reasoning"))
            tokens = Tokens(**{**vars(tokens), kind: getattr(tokens, kind) + 1})
            self.used[place] = tokens
            yield Delta(*(("word ", tokens) if kind == "output" else ("", tokens, "hm ")))
            self._may_fail(0.1)
        yield Finished(FinishReason.STOP, "word", (), tokens)

    def _read(self) -> Tokens:
        """Return what reading takes: some was known, some is kept."""
        known = self._dice.randrange(20)
        if self._dice.random() < 0.5:
            return Tokens(input=50 - known, cached_input=known)
        return Tokens(cache_write=50 - known, cached_input=known)

    def _may_fail(self, probability: float) -> None:
        if self._dice.random() < probability:
            raise self._dice.choice(
                (
                    ProviderUnavailable(self.name, "529"),
                    ProviderUnavailable(self.name, "503"),
                    RateLimited(self.name, "429", 0.0),
                    QueueFull(32),
                    ModelRefused(self.name, "no"),
                    RuntimeError("a bug"),
                )
            )


@asynccontextmanager
async def served(ledger: Ledger, folder: Path) -> AsyncIterator[str]:
    (folder / "identities.json").write_text(identities_json())
    config = ServiceConfig(
        listen="127.0.0.1:0",
        data_dir=folder,
        identities_file=folder / "identities.json",
        token_file=folder / "token",
        tls="off",
    )
    server = await start_server(config, hosted_gas(GasService(ledger.store)))
    yield server.address
    await server.grpc_server.stop(0)


async def call(linker: Linker, order: Order, dice: random.Random) -> None:
    """Ask once, and go away when the dice say so."""
    patience = dice.choice((0, 1, 2, 99))
    try:
        async with aclosing(linker.generate(order)) as events:
            async for _ in events:
                patience -= 1
                if patience < 0:
                    return
    except (ServiceError, RuntimeError):
        pass


async def drive(linker: Linker, link: str, dice: random.Random) -> None:
    numbers = iter(range(CALLS))

    async def caller() -> None:
        for number in numbers:
            payer = Payer(f"r{number}", ACCOUNT, run_name(number % RUNS))
            asked = asyncio.ensure_future(
                call(linker, Order(link, payer, prompt(tokens_max=60)), dice)
            )
            if dice.random() < 0.2:
                for _ in range(dice.randrange(30)):
                    await asyncio.sleep(0)
                asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    await asyncio.gather(*(caller() for _ in range(20)))
    await linker.close()


async def test_held_is_charged_and_given_back(tmp_path: Path) -> None:
    dice = random.Random(7)
    ledger = open_ledger(tmp_path / "gas.db", prices=PRICES)
    ledger.set_budget(budget(10**12))
    models = [Moody(item, dice) for item in ITEMS]
    async with served(ledger, tmp_path) as address:
        channel = Bearer(token_of("linker")).connect(address, "peer")
        linker = make_linker(
            models[0],
            GasClient(channel),
            "main",
            backoff=Backoff(tries_max=2, seconds_first=0.0),
            spare=models[1],
            last=models[2],
        )
        fallbacks = tuple(Target(item) for item in ITEMS[1:])
        link = await linker.link(ModelConfig(ITEMS[0], fallbacks=fallbacks))
        linker._router.breakers.rest_seconds = lambda *_: 0.0  # type: ignore[method-assign]  # all are to be asked
        await drive(linker, link.name, dice)
        await channel.close(None)
        closer = Bearer(token_of("runtime")).connect(address, "peer")
        stub = gas_pb2_grpc.GasServiceStub(closer)
        for number in range(RUNS):
            await stub.CloseRun(gas_pb2.CloseRunRequest(run=run_name(number), account=ACCOUNT))
        await closer.close(None)

    with ledger.store._engine.connect() as connection:
        holds = connection.execute(text("SELECT state, gas, charged_gas FROM hold")).all()
    assert {state for state, *_ in holds} == {"settled", "released"}
    assert sum(held for _, held, _ in holds) == sum(
        charged + (held - charged) for _, held, charged in holds
    )
    used = sum(
        price(weight, tokens)
        for weight, model in enumerate(models, start=1)
        for tokens in model.used
    )
    assert sum(charged for *_, charged in holds) == used
    assert all(any(tokens != Tokens() for tokens in model.used) for model in models)
