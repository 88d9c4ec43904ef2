"""The person outside: asks again when a service is away, and watches a run to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from grpc import aio

from actionvm.action.v1 import action_pb2
from actionvm.assembler.v1 import assembler_pb2, assembler_pb2_grpc
from actionvm.gas.v1 import budgets_pb2, gas_pb2, gas_pb2_grpc
from actionvm.keymanager.v1 import keymanager_pb2, keymanager_pb2_grpc
from actionvm.runtime.v1 import runtime_pb2, runtime_pb2_grpc, schedules_pb2, schedules_pb2_grpc
from chassis.identity import OPERATOR

from .world import World

# A world in which this much goes wrong in a row is a bug, not bad luck.
ATTEMPTS_MAX = 200
_RETRIED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}

Answer = TypeVar("Answer")


class Operator:
    """Calls the services as the command line does."""

    def __init__(self, world: World) -> None:
        def channel(target: str) -> Any:  # noqa: ANN401  # stands for aio.Channel
            return world.channel(OPERATOR, target)

        self._assembler: Any = assembler_pb2_grpc.AssemblerServiceStub(channel("assembler"))
        self._gas = gas_pb2_grpc.GasServiceStub(channel("gas"))
        self._keymanager = keymanager_pb2_grpc.KeymanagerServiceStub(channel("keymanager"))
        self._runtime: Any = runtime_pb2_grpc.RuntimeServiceStub(channel("runtime"))
        self._schedules: Any = schedules_pb2_grpc.ScheduleServiceStub(channel("runtime"))

    async def make_key(self, name: str) -> None:
        """Have a key made that nobody ever sees."""
        request = keymanager_pb2.PutSecretRequest(
            request_id=f"put-{name}",
            name=f"secrets/{name}",
            kind=keymanager_pb2.KIND_ED25519,
            generate=True,
        )
        await _until_answered(lambda: self._keymanager.PutSecret(request))

    async def assemble(self, manifest: str, files: dict[str, str]) -> action_pb2.Bundle:
        """Return the bundle of a manifest."""
        request = assembler_pb2.AssembleAgentRequest()
        request.manifest.file = "agent.yaml"
        request.manifest.content = manifest.encode()
        for path, text in files.items():
            request.manifest.files.add(path=path, content=text.encode())

        async def attempt() -> action_pb2.Bundle:
            bundle: action_pb2.Bundle | None = None
            async for event in self._assembler.AssembleAgent(request):
                if event.HasField("assembly"):
                    bundle = event.assembly.bundle
            assert bundle is not None, "an assembly ends with a bundle"
            return bundle

        return await _until_answered(attempt)

    async def start(self, bundle: str, request_id: str, *, dry_run: bool = False) -> str:
        """Start a run and return its name."""
        request = runtime_pb2.StartRunRequest(
            request_id=request_id,
            bundle_name=bundle,
            input='"How did ether move?"',
            dry_run=dry_run,
        )
        response = await _until_answered(lambda: self._runtime.StartRun(request))
        return str(response.run.name)

    async def watch(
        self, run: str, on_event: Callable[[runtime_pb2.WatchRunResponse], Awaitable[None]]
    ) -> list[runtime_pb2.WatchRunResponse]:
        """Return the journal of a run, once it has ended."""
        journal: list[runtime_pb2.WatchRunResponse] = []

        async def attempt() -> None:
            request = runtime_pb2.WatchRunRequest(name=run, after_sequence=len(journal))
            async for event in self._runtime.WatchRun(request):
                if event.sequence:
                    journal.append(event)
                await on_event(event)

        while not journal or not journal[-1].HasField("finished"):
            await _until_answered(attempt)
        return journal

    async def runs(self) -> list[runtime_pb2.Run]:
        """Return all runs, newest first."""
        request = runtime_pb2.ListRunsRequest(page_size=1_000)
        return [*(await _until_answered(lambda: self._runtime.ListRuns(request))).runs]

    async def cancel(self, run: str) -> None:
        """Ask a run to stop."""
        await _until_answered(
            lambda: self._runtime.CancelRun(runtime_pb2.CancelRunRequest(name=run))
        )

    async def replay(self, run: str) -> list[runtime_pb2.ReplayRunResponse]:
        """Return how a run goes when it is executed again."""
        request = runtime_pb2.ReplayRunRequest(name=run)

        async def attempt() -> list[runtime_pb2.ReplayRunResponse]:
            return [event async for event in self._runtime.ReplayRun(request)]

        return await _until_answered(attempt)

    async def pause(self, run: str) -> None:
        """Ask a run to begin nothing new."""
        request = runtime_pb2.PauseRunRequest(name=run)
        await _until_answered(lambda: self._runtime.PauseRun(request))

    async def resume(self, run: str) -> None:
        """Ask a run to go on."""
        request = runtime_pb2.ResumeRunRequest(name=run)
        await _until_answered(lambda: self._runtime.ResumeRun(request))

    async def signal(self, run: str, request_id: str) -> None:
        """Send the signal go, unless the run has ended."""
        request = runtime_pb2.SignalRunRequest(name=run, request_id=request_id, signal="go")
        try:
            await _until_answered(lambda: self._runtime.SignalRun(request))
        except aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.FAILED_PRECONDITION:
                raise

    async def decide(self, approval: runtime_pb2.Approval, *, allow: bool) -> None:
        """Decide about a call; another answer of ours may have come before, or the end."""
        request = runtime_pb2.DecideApprovalRequest(
            name=approval.name, allow=allow, arguments_digest=approval.arguments_digest
        )
        try:
            await _until_answered(lambda: self._runtime.DecideApproval(request))
        except aio.AioRpcError as error:
            if error.code() not in {
                grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.FAILED_PRECONDITION,
            }:
                raise

    async def schedule(self, request: schedules_pb2.CreateScheduleRequest) -> str:
        """Make a schedule and return its name."""
        made = await _until_answered(lambda: self._schedules.CreateSchedule(request))
        return str(made.schedule.name)

    async def pause_schedule(self, name: str) -> None:
        """Let nothing more fire."""
        request = schedules_pb2.UpdateScheduleRequest(name=name, paused=True)
        await _until_answered(lambda: self._schedules.UpdateSchedule(request))

    async def firings(self, schedule: str) -> list[schedules_pb2.Firing]:
        """Return all firings of a schedule, newest first."""
        request = schedules_pb2.ListFiringsRequest(schedule=schedule, page_size=1_000)
        return [*(await _until_answered(lambda: self._schedules.ListFirings(request))).firings]

    async def approvals(self) -> list[runtime_pb2.Approval]:
        """Return what waits for a person."""
        request = runtime_pb2.ListApprovalsRequest()
        return [*(await _until_answered(lambda: self._runtime.ListApprovals(request))).approvals]

    async def budgets(self, account: str) -> gas_pb2.GetBudgetResponse:
        """Return the budgets of an account; none before its first step."""
        request = gas_pb2.GetBudgetRequest(account=account)
        try:
            return await _until_answered(lambda: self._gas.GetBudget(request))
        except aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            return gas_pb2.GetBudgetResponse()

    async def entries(self) -> list[gas_pb2.Entry]:
        """Return the ledger; a story has no more entries than a page."""
        request = gas_pb2.ListEntriesRequest(page_size=1_000)
        page = await _until_answered(lambda: self._gas.ListEntries(request))
        assert not page.next_page_token, "a story is short"
        return [*page.entries]

    async def drifts(self) -> list[budgets_pb2.TokenDrift]:
        """Return who counted tokens how."""
        request = budgets_pb2.ListTokenDriftRequest()
        return [*(await _until_answered(lambda: self._gas.ListTokenDrift(request))).drifts]


async def _until_answered(call: Callable[[], Awaitable[Answer]]) -> Answer:
    for _ in range(ATTEMPTS_MAX):
        try:
            return await call()
        except aio.AioRpcError as error:
            if error.code() not in _RETRIED:
                raise
        await asyncio.sleep(0.3)
    raise AssertionError("nobody answers any more")
