"""Tells receivers over HTTP that a call waits for a person: at least once, and signed.

What waits is in the journal; beside it is only who was told. Whoever is killed between telling and
keeping that tells it again, with the same id and the same body. Arguments are not told: a model
wrote them, and could have put into them whatever it has read.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from chassis.canonical import Json, time_text
from chassis.clock import Clock
from chassis.courier import ATTEMPTS_MAX, Courier, pause_after
from chassis.errors import ServiceError
from chassis.log import log
from chassis.receivers import receiver_name
from chassis.seal import Seal

from .journal.port import Journal, Waiting
from .told import Telling, Told

TYPE = "com.actionvm.runtime.approval-awaited.v1"
SOURCE = "actionvm/runtime"
# So often somebody looks what waits.
LOOK_SECONDS = 1.0
# What one receiver gets at once.
IN_FLIGHT_MAX = 8
PAGE_SIZE = 1_000


@dataclass(frozen=True)
class Question:
    """A call that waits, as receivers know it."""

    id: str
    body: bytes


def question_of(waiting: Waiting) -> Question:
    """Return what is told of a call that waits; always the same for the same."""
    awaited = waiting.awaited
    name = f"{waiting.run.name}/approvals/{awaited.call.id}"
    # The name of the rule; behind it may stand what the model wrote.
    rule, _, detail = awaited.rule.partition(": ")
    answer = f"{name} --arguments-sha256 {awaited.arguments_sha256}"
    content: Json = {
        "specversion": "1.0",
        "id": f"{name}/{waiting.sequence}",
        "source": SOURCE,
        "type": TYPE,
        "subject": waiting.run.account,
        "time": time_text(waiting.create_time),
        "datacontenttype": "application/json",
        "data": {
            "name": name,
            "run": waiting.run.name,
            "account": waiting.run.account,
            "action": awaited.call.action,
            "rule": awaited.rule if detail in {"ask", ""} else rule,
            "approval": awaited.approval,
            "arguments_sha256": awaited.arguments_sha256,
            "show": f"actionvm approvals show {name}",
            "approve": f"actionvm approvals approve {answer}",
            "deny": f"actionvm approvals deny {answer}",
        },
    }
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return Question(f"{name}/{waiting.sequence}", body)


class Questions:
    """Tells each of some URLs of every call that waits."""

    def __init__(
        self,
        journal: Journal,
        told: Told,
        *,
        courier: Courier,
        seal: Seal,
        clock: Clock,
        dice: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._journal = journal
        self._told = told
        self._courier = courier
        self._seal = seal
        self._clock = clock
        self._dice = dice
        self._sleep = sleep

    @asynccontextmanager
    async def telling(self, urls: Sequence[str]) -> AsyncIterator[None]:
        """Tell while the block runs; what is under way at its end is told again."""
        tasks = [asyncio.create_task(self._keep_telling(url)) for url in urls]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def tell(self, url: str) -> None:
        """Tell one receiver once of what it is due to hear, and forget what waits no longer."""
        receiver, now = receiver_name(url), self._clock.now()
        questions = {question.id: question for question in await self._waiting()}
        tellings = {one.question: one for one in await asyncio.to_thread(self._told.of, receiver)}
        if gone := tellings.keys() - questions.keys():
            await asyncio.to_thread(self._told.forget, receiver, gone)
        slots = asyncio.Semaphore(IN_FLIGHT_MAX)

        async def tell(question: Question) -> None:
            telling = tellings.get(question.id) or Telling(receiver, question.id, 0, now, False)  # noqa: FBT003  # as a row
            if not telling.is_over and telling.next_attempt_time <= now:
                async with slots:
                    await self._send(url, question, telling)

        await asyncio.gather(*map(tell, questions.values()))

    async def _send(self, url: str, question: Question, telling: Telling) -> None:
        headers = self._seal.headers(
            telling.receiver, event_id=question.id, time=self._clock.now(), body=question.body
        )
        headers["content-type"] = "application/cloudevents+json; charset=utf-8"
        answer = await self._courier.post(url, headers, question.body)
        count = telling.attempt_count + 1
        is_over = not answer.error or count >= ATTEMPTS_MAX
        pause = pause_after(count, answer, self._dice)
        after = Telling(telling.receiver, question.id, count, self._clock.now() + pause, is_over)
        await asyncio.to_thread(self._told.keep, after)
        log.info(
            "question.told",
            receiver=telling.receiver,
            question=question.id,
            attempt=count,
            is_over=is_over,
            error=answer.error,
        )

    async def _waiting(self) -> list[Question]:
        """Return all that waits, longest first."""
        found = list[Waiting]()
        while page := await self._journal.waiting(
            PAGE_SIZE, after=found[-1].place if found else ("", 0, 0)
        ):
            found += page
            if len(page) < PAGE_SIZE:
                break
        return [question_of(one) for one in found]

    async def _keep_telling(self, url: str) -> None:
        while True:
            try:
                await self.tell(url)
            except ServiceError as error:
                log.warning("questions.wait", reason=error.reason)
            except Exception as error:  # noqa: BLE001  # one receiver must not stop the others
                log.error("questions.failed", receiver=receiver_name(url), exc_info=error)
            await self._sleep(LOOK_SECONDS)
