"""HTTP for MCP over the egress: names are resolved once, and private addresses refused."""

from __future__ import annotations

import httpx2

from ...egress import Lost, Refused, Request, Unreached
from ...egress.addresses import HostRule, read_rules
from ...egress.client import Egress

ANSWER_BYTES_MAX = 1024 * 1024
_CARRIED = ("accept", "content-type", "last-event-id")
_OURS = "mcp-"
# The egress has taken them off.
_DROPPED = ("content-encoding", "content-length", "transfer-encoding", "connection")


class EgressTransport(httpx2.AsyncBaseTransport):
    """Sends each request by itself, and reads its answer to the end.

    So no server keeps a stream open to say what nobody has asked: those requests are answered as
    by a server that has none (405).
    """

    def __init__(self, egress: Egress, host: str) -> None:
        self._egress = egress
        self._rules: tuple[HostRule, ...] = read_rules([host])

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Ask; raise what httpx2 raises where nothing was sent, or an answer got lost."""
        if request.method == "GET":
            return httpx2.Response(405, request=request)
        asked = Request(
            request.method,
            str(request.url),
            headers={
                name: value
                for name, value in request.headers.items()
                if name in _CARRIED or name.startswith(_OURS)
            },
            body=await request.aread(),
            is_bound=True,
        )
        try:
            answer = await self._egress.ask(asked, self._rules, bytes_max=ANSWER_BYTES_MAX)
        except (Refused, Unreached) as error:
            raise httpx2.ConnectError(str(error), request=request) from error
        except Lost as error:
            raise httpx2.ReadError(str(error), request=request) from error
        if answer.is_cut:
            raise httpx2.ReadError("the answer is too long", request=request)
        headers = {name: one for name, one in answer.headers.items() if name not in _DROPPED}
        return httpx2.Response(answer.status, headers=headers, content=answer.body, request=request)
