"""A process of the runtime that dies by SIGKILL before or after one call of its journal or a port.

It plays a scene in a folder: the journal is a file of SQLite, and the board is another file, to
which every effect adds a line. The gas system and the signer are in the process, and idempotent.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx

from chassis.canonical import Json
from chassis.clock import SystemClock
from runtime import conductor as conducting
from runtime.conductor import Conductor
from runtime.facts import (
    ApprovalDecided,
    CancelRequested,
    PauseRequested,
    ResumeRequested,
    SignalSent,
    State,
)
from runtime.ports import Generation, Prompt
from sandbox.ports import Asked, Host, Order
from tests.fakes.board import FakeBoard
from tests.fakes.runtime_ports import Answers, FakeModel, acts_then_answers, answer, calls
from tests.fakes.sandboxes import ScriptedSandbox
from tests.runtime.crashes import Fuse, Fused
from tests.runtime.offices import delegates, open_office
from tests.runtime.worlds import (
    POST,
    RUN,
    SEARCH,
    SLEEP,
    WAIT,
    FakeClock,
    World,
    code_action,
    with_actions,
)

MANY = {"limits": {"per_run": 0}}


class FileBoard(httpx.AsyncBaseTransport):
    """Keeps every post that arrives; it drops no duplicates, so that each of them counts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            wanted = request.url.params["key"]
            found = [post for key, post in self.posts() if key == wanted]
            return httpx.Response(200, json={"posts": found[:1]})
        text = json.loads((await request.aread()).decode())["text"]
        key = request.headers["Idempotency-Key"]
        post = {"id": key, "text": text}
        with self._path.open("a") as board:
            board.write(f"{json.dumps([key, post])}\n")
        return httpx.Response(201, json=post)

    def posts(self) -> list[tuple[str, dict[str, str]]]:
        """Return the key and the content of all that has arrived."""
        if not self._path.exists():
            return []
        return [tuple(json.loads(line)) for line in self._path.read_text().splitlines()]


class Points(Fuse):
    """Names every moment by its call and how often that was made; dies at the one of a name."""

    def __init__(self, last: str) -> None:
        super().__init__(1)
        self.passed: list[str] = []
        self._counts = Counter[str]()
        self._last = last

    def moment(self) -> None:
        """Pass; `Named` says where."""

    def reach(self, name: str) -> None:
        """Pass a moment, or die there."""
        self._counts[name] += 1
        point = f"{name} {self._counts[name]}"
        self.passed.append(point)
        if point == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


class _Port(Fuse):
    """The moments of one call: one before, and one after each of its answers."""

    def __init__(self, points: Points, name: str) -> None:
        super().__init__(1)
        self._points, self._name = points, name
        self._is_over = False

    def moment(self) -> None:
        side = "after" if self._is_over else "before"
        self._is_over = True
        self._points.reach(f"{side} {self._name}")


class Named:
    """A journal or a port whose calls have moments with names."""

    def __init__(self, target: object, name: str, points: Points) -> None:
        self._target, self._name, self._points = target, name, points

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever the target has
        if not callable(getattr(self._target, name)):
            return getattr(self._target, name)

        def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  # passed through
            port = _Port(self._points, f"{self._name}.{name}")
            return getattr(Fused(self._target, port), name)(*arguments, **named)

        return call


@dataclass(frozen=True)
class Scene:
    """What a run does, and what people outside do while it runs; they ask again after a crash."""

    create: Callable[[World], Awaitable[object]]
    answers: Answers = acts_then_answers
    outsider: Callable[[World, Conductor], Awaitable[None]] | None = None


def once(*wanted: tuple[str, str]) -> Answers:
    """Return a model that makes these calls at once, then answers."""

    def answers(prompt: Prompt) -> Generation:
        return answer("I did it.") if len(prompt.messages) > 2 else calls(*wanted)

    return answers


def _usual(*actions: dict[str, Any]) -> Callable[[World], Awaitable[object]]:
    return lambda world: world.create(with_actions(*actions))


async def _approve(world: World, conductor: Conductor) -> None:
    await world.until(RUN, lambda run: run.approval or run.end_time)
    for waiting in await world.journal.waiting(10):
        asked = waiting.awaited
        decided = ApprovalDecided(
            asked.call.id, asked.arguments_sha256, allows=True, who="people/ann"
        )
        await conductor.post(RUN, decided, request_id="yes")


async def _signal(world: World, conductor: Conductor) -> None:
    await world.until_kind("SleepStarted")
    await conductor.post(RUN, SignalSent("go", "1"), request_id="go")


async def _pause_and_resume(world: World, conductor: Conductor) -> None:
    await conductor.post(RUN, PauseRequested(), request_id="pause")
    await world.until_kind("PauseRequested")
    await conductor.post(RUN, ResumeRequested(), request_id="resume")


async def _cancel(world: World, conductor: Conductor) -> None:
    # What is under way when a run is cancelled may happen or not.
    await world.until_kind("ActionFinished")
    await conductor.post(RUN, CancelRequested(), request_id="cancel")


_POSTS = tuple(("board.post", json.dumps({"text": f"Post {number}."})) for number in range(2))


async def _post_twice(_order: Order, host: Host) -> Json:
    """Post two texts, one after the other: the code of the scene that has some."""
    told = [await host.ask([Asked("board.post", {"text": f"Post {one}."})]) for one in range(2)]
    return [answer.reason for answers in told for answer in answers]


SCENES = {
    "acts": Scene(_usual(SEARCH, POST)),
    "acts in parallel": Scene(
        _usual(SEARCH | MANY, POST | MANY | {"required": False}),
        once(*_POSTS, ("knowledge.search", '{"query": "ether"}')),
    ),
    "asks a person": Scene(
        _usual({**POST, "approval": "ask", "required": False}), once(_POSTS[0]), _approve
    ),
    "sleeps": Scene(
        _usual(SLEEP, {**POST, "required": False}),
        once(("run.sleep", '{"seconds": 0.02}'), _POSTS[0]),
    ),
    "waits for a signal": Scene(
        _usual(WAIT, {**POST, "required": False}),
        once(("run.wait", '{"signal": "go", "seconds": 30}'), _POSTS[0]),
        _signal,
    ),
    "executes code": Scene(
        _usual(code_action("", {**POST, "limits": {"per_run": 2}})), once(("act", "{}"))
    ),
    "is paused": Scene(_usual(SEARCH, POST), outsider=_pause_and_resume),
    "is cancelled": Scene(
        _usual(SLEEP, {**POST, "required": False}),
        once(("run.sleep", '{"seconds": 30}'), _POSTS[0]),
        _cancel,
    ),
    "asks an agent": Scene(open_office, delegates),
}


def prepare(folder: Path, scene: str) -> None:
    """Keep the run of a scene, which nobody has taken up."""
    world = _world(folder, scene)
    asyncio.run(_prepare(world, SCENES[scene]))


def play(folder: Path, scene: str, last: str = "") -> None:
    """Bring a scene to its end, or die at a point; leave the points that it came by."""
    # What is looked for now and then depends on how busy the machine is.
    conducting.ROUND_SECONDS = 60.0
    points = Points(last)
    asyncio.run(_play(_world(folder, scene), SCENES[scene], points))
    (folder / "points.json").write_text(json.dumps(points.passed))


def _world(folder: Path, scene: str) -> World:
    return World(
        folder,
        board=cast("FakeBoard", FileBoard(folder / "board.jsonl")),
        model=FakeModel(SCENES[scene].answers),
        clock=cast("FakeClock", SystemClock()),
        sandbox=ScriptedSandbox(_post_twice),
    )


async def _prepare(world: World, scene: Scene) -> None:
    await scene.create(world)
    payloads = [sealed.payload.decode() for sealed in world.bundles.bundles.values()]
    (world.folder / "bundles.json").write_text(json.dumps(payloads))
    # All that was written is in the one file now.
    world.engine.dispose()


async def _play(world: World, scene: Scene, points: Points) -> None:
    for payload in json.loads((world.folder / "bundles.json").read_text()):
        # The assembler has it still.
        sealed = world.signer.seal(payload.encode())
        world.bundles.bundles[sealed.name] = sealed
    conductor = Conductor(world.stage(lambda port, name: Named(port, name, points)))
    await conductor.start()
    if scene.outsider:
        await scene.outsider(world, conductor)
    await world.until_ended()
    with suppress(asyncio.CancelledError):
        await conductor.stop()
    assert (await world.run()).state in {State.SUCCEEDED, State.CANCELLED}
