"""A real gas system that is killed between a delivery and its mark, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from actionvm.action.v1.action_pb2 import Usage
from actionvm.gas.v1 import gas_pb2, gas_pb2_grpc, market_pb2, market_pb2_grpc
from chassis.tls import Bearer
from tests.fakes.receiver import Fault, Post, Receiver, is_genuine
from tests.grpc_fixtures import identities_json, token_of

if TYPE_CHECKING:
    from actionvm.gas.v1.gas_pb2_grpc import GasServiceAsyncStub
    from actionvm.gas.v1.market_pb2_grpc import MarketplaceServiceAsyncStub

ROOT = Path(__file__).resolve().parents[3]
KEY = b"canary-key-" * 3
URL_TOKEN = "canary-url"
ACCOUNTS = ("agents/killed-a", "agents/killed-b")
EVENTS = 12
# The number of the posts during which it is killed, before they are answered.
KILLED_AT = (1, 5, 9)


@dataclass
class Running:
    """A gas system as a process, and channels to it."""

    process: asyncio.subprocess.Process
    gas: GasServiceAsyncStub
    runtime: GasServiceAsyncStub
    market: MarketplaceServiceAsyncStub


@dataclass
class Story:
    """What a test looks at when all is over."""

    receiver: Receiver
    secret: str
    log: bytes
    folder: Path


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return asyncio.run(_live_and_die(tmp_path_factory.mktemp("killed")))


def test_every_event_arrives_once_after_duplicates_are_dropped(story: Story) -> None:
    assert sorted(event["sequence"] for event in story.receiver.events) == [
        f"{number:019}" for number in range(1, EVENTS + 1)
    ]


def test_the_events_of_an_account_arrive_in_order(story: Story) -> None:
    by_account = defaultdict(list)
    for event in story.receiver.events:
        by_account[event["subject"]].append(event["sequence"])

    assert sorted(by_account) == sorted(ACCOUNTS)
    assert all(found == sorted(found) for found in by_account.values())


def test_what_was_delivered_and_not_marked_is_delivered_again(story: Story) -> None:
    count = Counter(post.event["id"] for post in story.receiver.accepted)
    killed = {story.receiver.posts[number].event["id"] for number in KILLED_AT}

    assert all(count[event] >= 2 for event in killed)


def test_a_repeated_event_says_the_same(story: Story) -> None:
    bodies = defaultdict(set)
    for post in story.receiver.posts:
        bodies[post.headers["webhook-id"]].add(post.body)

    assert {len(different) for different in bodies.values()} == {1}


def test_an_independent_receiver_verifies_every_signature(story: Story) -> None:
    assert all(is_genuine(post, story.secret, now=time.time()) for post in story.receiver.posts)


def test_a_signature_is_for_one_body_and_one_secret(story: Story) -> None:
    post = story.receiver.posts[0]
    other = Post(post.headers, post.body.replace(b"agents/", b"agents\\/"))

    assert not is_genuine(other, story.secret, now=time.time())
    assert not is_genuine(post, "whsec_" + "A" * 43 + "=", now=time.time())


def test_no_secret_is_in_a_log_or_a_file(story: Story) -> None:
    secret = story.secret.removeprefix("whsec_").encode()
    written = [path.read_bytes() for path in story.folder.rglob("gas.db*")]

    assert len(written) >= 1
    assert all(KEY not in content and secret not in content for content in [*written, story.log])
    assert URL_TOKEN.encode() not in story.log


async def _live_and_die(folder: Path) -> Story:
    receiver, log = Receiver(), bytearray()
    # It takes what comes while it is killed, and whoever sent it never hears of that.
    receiver.faults.extend(
        Fault(resets=True, takes=True) if number in KILLED_AT else None for number in range(20)
    )
    async with receiver.listening():
        async with _running(folder, log) as gas:
            await _spend(gas)
            request = market_pb2.CreateWebhookRequest(
                request_id="hook",
                webhook=market_pb2.Webhook(url=f"{receiver.url}?token={URL_TOKEN}"),
            )
            created = await gas.market.CreateWebhook(request)
        secret, replay = created.secret, market_pb2.ReplayWebhookRequest(name=created.webhook.name)
        for number in KILLED_AT:
            async with _running(folder, log) as gas:
                receiver.on_post = _killer(gas.process, receiver, after=number + 1)
                if number == KILLED_AT[0]:
                    # It may be killed before it answers.
                    await asyncio.gather(gas.market.ReplayWebhook(replay), return_exceptions=True)
                await asyncio.wait_for(gas.process.wait(), 60)
        async with _running(folder, log):
            await receiver.until(lambda one: len(one.events) == EVENTS)
    return Story(receiver, secret, bytes(log), folder)


def _killer(
    process: asyncio.subprocess.Process, receiver: Receiver, *, after: int
) -> Callable[[Post], None]:
    def kill(_: Post) -> None:
        if len(receiver.posts) == after:
            process.kill()

    return kill


async def _spend(gas: Running) -> None:
    """Make all events."""
    for account in ACCOUNTS:
        budget = gas_pb2.Budget(
            account=account,
            origin=gas_pb2.Budget.ORIGIN_OPERATOR,
            period=gas_pb2.Budget.PERIOD_TOTAL,
            gas_limit=10**9,
        )
        await gas.gas.SetBudget(gas_pb2.SetBudgetRequest(budget=budget))
    for number in range(EVENTS):
        usages = [Usage(meter=Usage.METER_INPUT_TOKENS, amount=1)]
        reserve = gas_pb2.ReserveGasRequest(
            request_id=f"r{number}",
            account=ACCOUNTS[number % 2],
            run=f"runs/{uuid.UUID(int=number, version=4)}",
            item="model local/babbler",
            usages=usages,
        )
        hold = (await gas.runtime.ReserveGas(reserve)).hold.name
        await gas.runtime.SettleGas(gas_pb2.SettleGasRequest(hold=hold, usages=usages))


@asynccontextmanager
async def _running(folder: Path, log: bytearray) -> AsyncIterator[Running]:
    (folder / "key").write_bytes(KEY)
    (folder / "identities.json").write_text(identities_json())
    environment = {
        **os.environ,  # noqa: TID251  # a child process needs PATH and its kind
        "GAS_LISTEN": "127.0.0.1:0",
        "GAS_DATA_DIR": str(folder / "data"),
        "GAS_IDENTITIES_FILE": str(folder / "identities.json"),
        "GAS_TLS": "off",
        "GAS_WEBHOOK_KEY_FILE": str(folder / "key"),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gas"),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    address = ""
    while not address:
        line = await process.stdout.readline()
        log += line
        assert line, log.decode()
        if b"service.started" in line:
            address = json.loads(line)["address"]
    rest = asyncio.create_task(process.stdout.read())
    try:
        async with (
            Bearer(token_of("operator")).connect(address, "peer") as operator,
            Bearer(token_of("runtime")).connect(address, "peer") as runtime,
        ):
            yield Running(
                process,
                gas_pb2_grpc.GasServiceStub(operator),
                gas_pb2_grpc.GasServiceStub(runtime),
                market_pb2_grpc.MarketplaceServiceStub(operator),
            )
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
        log += await rest
