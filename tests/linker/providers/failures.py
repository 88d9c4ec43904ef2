"""How every provider of remote models fails: with a reason, and without its key."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from email.utils import format_datetime

import pytest

from chassis.errors import ServiceError
from linker.conversation import Delta
from linker.errors import (
    ContextExceeded,
    CredentialRefused,
    ModelNotFound,
    ModelRefused,
    ProviderUnavailable,
    RateLimited,
)
from linker.ports import OpenModel
from tests.fakes.upstream import BEFORE_HEADERS, Fault
from tests.linker.orders import NOW, collect, finish, prompt
from tests.linker.providers.stage import CANARY, SILENCE_SECONDS, Stage, Staged

ERRORS: Mapping[int, type[ServiceError]] = {
    302: ModelRefused,
    400: ModelRefused,
    401: CredentialRefused,
    403: CredentialRefused,
    404: ModelNotFound,
    408: ProviderUnavailable,
    413: ModelRefused,
    422: ModelRefused,
    429: RateLimited,
    500: ProviderUnavailable,
    502: ProviderUnavailable,
    503: ProviderUnavailable,
    529: ProviderUnavailable,
}


class Failures(Staged):
    """The half of the suite about what goes wrong; see `Conformance`."""

    @pytest.mark.parametrize("status", list(ERRORS))
    async def test_an_error_has_its_reason(self, stage: Stage, status: int) -> None:
        headers = {"location": f"{stage.upstream.url}/elsewhere"} if status == 302 else {}
        error = await stage.fail(Fault(status, headers=headers))
        assert type(error) is ERRORS[status]

    @pytest.mark.parametrize("status", [429, 503])
    async def test_an_error_says_when_to_come_back(self, stage: Stage, status: int) -> None:
        error = await stage.fail(Fault(status, headers={"retry-after": "7"}))
        assert isinstance(error, RateLimited | ProviderUnavailable)
        assert error.retry_after_seconds == 7

    async def test_a_date_to_come_back_counts_from_the_date_of_the_answer(
        self, stage: Stage
    ) -> None:
        later = format_datetime(NOW.replace(minute=1), usegmt=True)
        headers = {"retry-after": later, "date": format_datetime(NOW, usegmt=True)}
        error = await stage.fail(Fault(429, headers=headers))
        assert isinstance(error, RateLimited)
        assert error.retry_after_seconds == 60

    async def test_nothing_is_tried_twice(self, stage: Stage) -> None:
        await stage.fail(Fault(503))
        assert sum(map(stage.upstream.is_generation, stage.upstream.seen)) == 1

    async def test_a_conversation_that_does_not_fit_is_told_apart(self, stage: Stage) -> None:
        error = await stage.fail(self.subject.too_long)
        assert isinstance(error, ContextExceeded)
        assert error.input_tokens == 300_000

    @pytest.mark.parametrize("status", [400, 401, 429, 500])
    async def test_a_provider_that_quotes_the_key_does_not_spread_it(
        self, stage: Stage, status: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        error = await stage.fail(Fault(status, text=f"the key {CANARY} will not do"))
        told = [str(error), repr(error), repr(error.metadata), caplog.text]
        told += traceback.format_exception(error)
        model = await stage.model()
        told += [repr(vars(each)) for each in (error, stage.provider, model)]
        told += [repr(getattr(part, "__dict__", part)) for part in vars(stage.provider).values()]
        assert CANARY not in "\n".join(told)
        assert "will not do" in str(error)

    async def test_a_stream_that_is_cut_says_so(self, stage: Stage) -> None:
        assert type(await stage.fail(Fault(cuts=True))) is ProviderUnavailable

    async def test_a_stream_that_ends_early_says_so(self, stage: Stage) -> None:
        assert type(await stage.fail(Fault(ends_early=True))) is ProviderUnavailable

    @pytest.mark.parametrize("garbage", [b"data: {not json\n\n", b"data: [1]\n\n"])
    async def test_what_nobody_understands_is_told(self, stage: Stage, garbage: bytes) -> None:
        frame = self.subject.garbage(garbage)
        assert type(await stage.fail(Fault(garbage=frame))) is ProviderUnavailable

    async def test_what_was_used_before_a_stream_broke_is_told(self, stage: Stage) -> None:
        deltas = await self._deltas_until_cut(stage)
        assert deltas[-1].tokens.input > 0
        assert deltas[-1].tokens.output > 0

    async def _deltas_until_cut(self, stage: Stage) -> list[Delta]:
        stage.upstream.faults.append(Fault(cuts=True))
        deltas: list[Delta] = []
        with pytest.raises(ProviderUnavailable):
            async for event in (await stage.model()).generate(prompt()):
                assert isinstance(event, Delta)
                deltas.append(event)
        return deltas

    async def test_a_slow_drip_is_fine(self, stage: Stage) -> None:
        stage.upstream.faults.append(Fault(gap_seconds=SILENCE_SECONDS / 8))
        async with self._impatient(stage) as model:
            text = (await finish(model.generate(prompt(tokens_max=8)))).text
        assert len(text.split()) == 8

    @pytest.mark.parametrize("place", [BEFORE_HEADERS, 3])
    async def test_silence_is_an_error(self, stage: Stage, place: int) -> None:
        stage.upstream.faults.append(Fault(hangs_after=place))
        async with self._impatient(stage) as model:
            with pytest.raises(ProviderUnavailable):
                await finish(model.generate(prompt()))

    @asynccontextmanager
    async def _impatient(self, stage: Stage) -> AsyncIterator[OpenModel]:
        """Open the model at a provider that waits for less long."""
        settings = replace(stage.settings, silence_seconds=SILENCE_SECONDS)
        provider = self.subject.build(settings)
        yield await provider.open(self.subject.model, stage.key)
        await provider.close()

    async def test_a_provider_that_is_not_there_is_unavailable(self, stage: Stage) -> None:
        provider = self.subject.build(
            replace(stage.settings, url=f"http://127.0.0.1:9{self.subject.prefix}")
        )
        with pytest.raises(ProviderUnavailable):
            await provider.open(self.subject.model, stage.key)
        await provider.close()

    async def test_closing_a_generation_closes_the_connection_at_once(self, stage: Stage) -> None:
        stage.upstream.faults.append(Fault(hangs_after=4))
        model = await stage.model()
        async with aclosing(model.generate(prompt())) as events:
            await anext(events)
        await stage.upstream.until_left()

    async def test_a_cancelled_task_closes_the_connection_at_once(self, stage: Stage) -> None:
        stage.upstream.faults.append(Fault(hangs_after=BEFORE_HEADERS))
        model = await stage.model()
        task = asyncio.ensure_future(collect(model.generate(prompt())))
        await stage.upstream.until_asked()
        task.cancel()
        await stage.upstream.until_left()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_after_an_error_the_next_one_is_served(self, stage: Stage) -> None:
        await stage.fail(Fault(500))
        await stage.fail(Fault(cuts=True))
        assert (await stage.finish(prompt())).text

    async def test_a_key_that_is_not_there_is_refused(self, stage: Stage) -> None:
        if not self.subject.needs_key:
            return
        with pytest.raises(CredentialRefused):
            await stage.provider.open(self.subject.model)
