"""A message board on the other side of a bad network."""

from __future__ import annotations

import httpx

from tests.fakes.board import FakeBoard

from .world import World, check_alive


class SimulatedBoard(httpx.AsyncBaseTransport):
    """Answers late, and loses requests and answers, as often as the world breaks connections."""

    def __init__(self, world: World) -> None:
        self.board = FakeBoard()
        self._world = world

    @property
    def post_count(self) -> int:
        """Return how many posts readers see."""
        return len(self.board.posts)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry a request to the board, perhaps."""
        check_alive()
        world = self._world
        await world.delay()
        if world.draws(world.faults.break_probability):
            world.note("board request lost")
            raise httpx.ConnectError("request lost", request=request)
        world.note(f"board {request.method}")
        response = await self.board.handle_async_request(request)
        await world.delay()
        if world.draws(world.faults.break_probability):
            world.note("board answer lost")
            raise httpx.ReadTimeout("answer lost", request=request)
        return response
