"""What every connector does in runs: allowed, asked about, counted, repeated, and kept secret."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog.testing

from chassis.errors import PeerUnavailable
from runtime import patience
from runtime.conductor import Conductor
from runtime.connectors import Connector, Descriptor, Order, Quota, Result
from runtime.facts import UNKNOWN, ActionFinished
from tests.fakes.front import Fault, Says
from tests.fakes.runtime_ports import answer, calls
from tests.runtime.connectors.stand import Staged, Stand, Subject, shows_key
from tests.runtime.worlds import RUN, World, with_actions


class Limited:
    """A connector with quotas of the test: the clock of a world does not go on by itself."""

    def __init__(self, inner: Connector, *quotas: Quota) -> None:
        self._inner = inner
        self.descriptor: Descriptor = replace(inner.descriptor, quotas=quotas)

    async def perform(self, order: Order) -> Result:
        """Perform a call."""
        return await self._inner.perform(order)

    async def find(self, order: Order) -> Result | None:
        """Find what came of one."""
        return await self._inner.find(order)


def _world(
    folder: Path, stand: Stand, *, times: int = 1, connector: Connector | None = None
) -> World:
    """Return a world whose agent makes the call so many times, and then says that it is done."""
    world = World(folder, services=[connector or stand.connector])
    call = (stand.connector.descriptor.name, json.dumps(dict(stand.order.arguments)))
    answers = iter([calls(call)] * times)
    world.model.answers = lambda _: next(answers, answer("Done."))
    return world


async def _results(world: World) -> list[ActionFinished]:
    return [event for event in await world.events() if isinstance(event, ActionFinished)]


def _contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


class Runs(Staged):
    """A call in a run."""

    @pytest.fixture(autouse=True)
    def _quiet(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(patience, "RETRY_SECONDS_MIN", 0.001)
        with structlog.testing.capture_logs():
            yield

    async def test_what_is_denied_uses_no_key_and_sends_nothing(
        self, stand: Stand, tmp_path: Path
    ) -> None:
        world = _world(tmp_path, stand)
        await world.create(with_actions(stand.action(approval="deny")))
        await world.play()
        assert (stand.arrived, stand.keys_used) == (0, 0)

    async def test_what_a_person_is_asked_about_uses_no_key_before(
        self, stand: Stand, tmp_path: Path
    ) -> None:
        world = _world(tmp_path, stand)
        await world.create(with_actions(stand.action(approval="ask")))
        conductor = Conductor(world.stage())
        await conductor.start()
        try:
            await world.until(RUN, lambda run: run.approval)
        finally:
            await conductor.stop()
        assert (stand.arrived, stand.keys_used) == (0, 0)

    async def test_a_dry_run_writes_nothing(self, stand: Stand, tmp_path: Path) -> None:
        if stand.connector.descriptor.effect == "read":
            return
        world = _world(tmp_path, stand)
        await world.create(with_actions(stand.action()), dry_run=True)
        await world.play()
        [result] = await _results(world)
        assert json.loads(result.result)["dry_run"] is True
        assert (stand.arrived, stand.keys_used) == (0, 0)

    async def test_its_quotas_hold(self, stand: Stand, tmp_path: Path) -> None:
        if not stand.connector.descriptor.quotas:
            return
        quotas = stand.connector.descriptor.quotas
        hourly = [replace(quota, count=1, seconds=3_600.0) for quota in quotas]
        limited = Limited(stand.connector, *hourly)
        world = _world(tmp_path, stand, times=2, connector=limited)
        await world.create(with_actions(stand.action()))
        await world.play()
        first, second = await _results(world)
        assert (first.reason, second.reason) == ("", "QUOTA_EXCEEDED")
        assert stand.effects() == 1

    @pytest.mark.parametrize("fault", ["lost", "failed", "503", "429"])
    async def test_a_write_happens_once_or_nobody_knows(
        self, subject: Subject, stand: Stand, fault: str, tmp_path: Path
    ) -> None:
        descriptor = stand.connector.descriptor
        if descriptor.effect == "read" or not stand.service:
            return
        kinds: dict[str, Fault] = {"lost": "lost", "503": Says(503), "429": Says(429)}
        stand.fail_next(kinds.get(fault, "failed"), subject)
        world = _world(tmp_path, stand, connector=Limited(stand.connector))
        await world.create(with_actions(stand.action()))
        await world.play()
        [result] = await _results(world)
        can_tell = descriptor.is_idempotent or descriptor.is_reconcilable or fault == "429"
        assert result.reason == ("" if can_tell else UNKNOWN)
        assert stand.effects() == (1 if can_tell else fault == "lost")

    async def test_its_key_shows_nowhere(
        self,
        subject: Subject,
        stand: Stand,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level("DEBUG")
        faults: list[Fault] = ["failed", Says(400), Says(503), Says(200, b"<html>")]
        seen: list[object] = []
        with structlog.testing.capture_logs() as logs:
            for fault in faults if stand.service else []:
                stand.fail_next(fault, subject)
                try:
                    seen.append(await stand.connector.perform(stand.order))
                except PeerUnavailable as error:
                    seen += [*traceback.format_exception(error), repr(error)]
            world = _world(tmp_path, stand)
            await world.create(with_actions(stand.action()))
            await world.play()
        seen += [logs, world.model.prompts, await world.events(), caplog.text]
        assert not shows_key(repr(seen).encode())
        world.engine.dispose()
        files = _contents(tmp_path)
        assert subject.name.encode() in files
        assert not shows_key(files)
