"""Receivers hear of every call that waits for a person, at least once, and of nothing secret."""

from __future__ import annotations

import asyncio
import json
import random
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from chassis.courier import ATTEMPTS_MAX, Answer
from chassis.receivers import receiver_name
from chassis.seal import Seal
from runtime.conductor import Conductor
from runtime.config import RECEIVERS_MAX, RuntimeConfig
from runtime.facts import ApprovalDecided, State
from runtime.questions import Questions
from runtime.told import Told, open_told
from tests.fakes.runtime_ports import answer, calls
from tests.runtime.worlds import POST, RUN, World, with_actions

HERE, THERE = "https://here.example.com/a", "https://there.example.com/b"
SECRET = "the PIN of the owner is 271828"  # what an agent should not say
ARGUMENTS = json.dumps({"text": SECRET})
BOUND = {"kind": "bound", "name": "short", "field": "text", "measure": "length", "ask_above": "3"}
SEAL = Seal(32 * b"k")


@dataclass
class FakeCourier:
    """Keeps what it was given; fails as often as it is told, for one URL or for all."""

    posts: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    failures: int = 0
    dead: str = ""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.posts.append((url, dict(headers), body))
        if url == self.dead:
            return Answer("HTTP 500")
        self.failures -= 1
        return Answer("HTTP 503") if self.failures >= 0 else Answer()


@dataclass
class Desk:
    """A world in which a run waits for a person, and who tells of it."""

    world: World
    conductor: Conductor
    courier: FakeCourier = field(default_factory=FakeCourier)

    def questions(self, courier: FakeCourier | None = None) -> Questions:
        """Return who tells, as after a restart."""
        return Questions(
            self.world.journal,
            Told(open_told(self.world.folder / "told.db")),
            courier=courier or self.courier,
            seal=SEAL,
            clock=self.world.clock,
            dice=random.Random(1),
        )

    async def decide(self) -> None:
        """Let a person say yes."""
        [waiting] = await self.world.journal.waiting(9)
        digest = waiting.awaited.arguments_sha256
        note = ApprovalDecided(waiting.awaited.call.id, digest, allows=True, who="alice")
        await self.conductor.post(RUN, note, request_id="yes")
        await self.world.until_ended()


@asynccontextmanager
async def opened(folder: Path, **change: object) -> AsyncIterator[Desk]:
    """Open a desk for the length of a block."""
    world = World(folder)
    world.model.answers = lambda prompt: (
        calls(("board.post", ARGUMENTS)) if len(prompt.messages) == 2 else answer("done")
    )
    await world.create(with_actions({**POST, "required": False, "policy": [BOUND], **change}))
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.until(RUN, lambda run: run.approval)
    yield Desk(world, conductor)
    await conductor.stop()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(tmp_path) as desk:
        yield desk


def event(desk: Desk) -> dict[str, Any]:
    """Return the one event that was sent."""
    [(_, _, body)] = desk.courier.posts
    content: dict[str, Any] = json.loads(body)
    return content


async def test_a_question_is_told_once_and_signed(desk: Desk) -> None:
    await desk.questions().tell(HERE)
    await desk.questions().tell(HERE)

    [(url, headers, body)] = desk.courier.posts
    signed = SEAL.headers(
        receiver_name(HERE), event_id=headers["webhook-id"], time=desk.world.clock.now(), body=body
    )
    assert (url, headers) == (
        HERE,
        {**signed, "content-type": "application/cloudevents+json; charset=utf-8"},
    )
    assert event(desk)["id"] == headers["webhook-id"]
    assert event(desk)["data"]["rule"] == "rule short"
    assert event(desk)["type"] == "com.actionvm.runtime.approval-awaited.v1"


async def test_nothing_that_a_model_wrote_is_told(desk: Desk) -> None:
    await desk.questions().tell(HERE)

    [(_, headers, body)] = desk.courier.posts
    told = body.decode() + json.dumps(headers)
    assert SECRET not in told
    assert "271828" not in told
    assert "board-key" not in told
    assert "http://" not in told


async def test_what_is_told_suffices_to_decide(desk: Desk) -> None:
    await desk.questions().tell(HERE)
    data = event(desk)["data"]

    words = shlex.split(data["approve"])
    awaited = await desk.world.journal.awaited(RUN, "step-1-1")
    assert words == [
        *("actionvm", "approvals", "approve", f"{RUN}/approvals/step-1-1"),
        *("--arguments-sha256", awaited.arguments_sha256),
    ]
    assert shlex.split(data["deny"]) == [*words[:2], "deny", *words[3:]]


async def test_a_receiver_that_refuses_is_told_again_later(desk: Desk) -> None:
    desk.courier.failures = 2
    for _ in range(5):
        await desk.questions().tell(HERE)
    assert len(desk.courier.posts) == 1

    for _ in range(5):
        desk.world.clock.advance(10)
        await desk.questions().tell(HERE)
    assert len(desk.courier.posts) == 3
    assert len({(headers["webhook-id"], body) for _, headers, body in desk.courier.posts}) == 1


async def test_a_receiver_that_never_takes_it_is_given_up(desk: Desk) -> None:
    desk.courier.dead = HERE
    for _ in range(ATTEMPTS_MAX + 5):
        await desk.questions().tell(HERE)
        desk.world.clock.time += timedelta(hours=2)
    assert len(desk.courier.posts) == ATTEMPTS_MAX


async def test_one_that_is_told_and_not_kept_is_told_again(desk: Desk) -> None:
    class Killed(Exception):
        pass

    class Killing(FakeCourier):
        async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
            await super().post(url, headers, body)
            raise Killed

    first = Killing()
    with pytest.raises(Killed):
        await desk.questions(first).tell(HERE)
    await desk.questions().tell(HERE)
    [(_, before, body)], [(_, after, again)] = first.posts, desk.courier.posts
    assert (before["webhook-id"], body) == (after["webhook-id"], again)


async def test_what_was_decided_is_told_no_more(desk: Desk) -> None:
    desk.courier.failures = 1
    await desk.questions().tell(HERE)
    await desk.decide()
    assert (await desk.world.run()).state is State.SUCCEEDED
    desk.world.clock.advance(60)
    await desk.questions().tell(HERE)
    assert len(desk.courier.posts) == 1
    assert Told(open_told(desk.world.folder / "told.db")).of(receiver_name(HERE)) == []


async def test_a_question_of_the_policy_of_keys_is_told_too(tmp_path: Path) -> None:
    approval = "approvals/01234567-89ab-4def-8123-000000000001"
    world = World(tmp_path)
    world.signer.approval = approval
    world.approvals.waiting = {approval}
    await world.create()
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.until(RUN, lambda run: run.approval == approval)
    desk = Desk(world, conductor)
    await desk.questions().tell(HERE)
    await conductor.stop()
    assert (event(desk)["data"]["approval"], event(desk)["data"]["rule"]) == (approval, "posts")


async def test_a_receiver_that_is_away_holds_up_no_other(desk: Desk) -> None:
    class Stuck(FakeCourier):
        async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
            if url == THERE:
                await asyncio.Event().wait()
            return await super().post(url, headers, body)

    courier = Stuck()
    async with desk.questions(courier).telling([THERE, HERE]):
        async with asyncio.timeout(30):
            while not courier.posts:  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.002)
    assert [url for url, _, _ in courier.posts] == [HERE]


# --- Settings ------------------------------------------------------------------------------------


def config(folder: Path, **change: object) -> RuntimeConfig:
    peers = ("assembler", "linker", "keymanager", "knowledge", "gas")
    (folder / "key").write_bytes(32 * b"k")
    usual: dict[str, Any] = {f"{peer}_address": "a:1" for peer in peers}
    usual |= {"tls": "off", "listen": "127.0.0.1:1", "data_dir": folder}
    usual |= {"identities_file": folder / "key", "token_file": folder / "key"}
    return RuntimeConfig(**{**usual, **change})


@pytest.mark.parametrize(
    ("urls", "has_key", "told"),
    [
        (HERE, False, "RUNTIME_APPROVAL_KEY_FILE"),
        ("http://here.example.com", True, "must be https"),
        (f"{HERE} ftp://x", True, "https://host/path"),
        ("https://user:password@here.example.com", True, "user or a password"),
        ("http://169.254.169.254/latest", True, "https"),
        (" ".join([HERE] * (RECEIVERS_MAX + 1)), True, "at most"),
    ],
)
def test_settings_that_could_tell_the_wrong_ones_are_refused(
    tmp_path: Path, urls: str, *, has_key: bool, told: str
) -> None:
    (tmp_path / "key").write_bytes(32 * b"k")
    key = tmp_path / "key" if has_key else None
    with pytest.raises(ValidationError, match=told):
        config(tmp_path, approval_webhooks=urls, approval_key_file=key)


def test_settings_with_receivers_and_a_key_are_right(tmp_path: Path) -> None:
    found = config(
        tmp_path, approval_webhooks=f"{HERE} {THERE}", approval_key_file=tmp_path / "key"
    )
    assert found.approval_webhooks.split() == [HERE, THERE]
