"""Tools of MCP servers as actions, one for each: `mcp.SERVER.TOOL`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from mcp import MCPError
from mcp_types import CallToolResult, TextContent, Tool
from pydantic import JsonValue

from chassis.errors import PeerUnavailable
from chassis.log import log

from ...egress.client import Egress
from .. import Connector, Descriptor, Order, Result, closed_object
from ..keyed import told
from ..webtext import cut, size
from .servers import Server
from .sessions import Session, open_session

ANSWER_BYTES_MAX = 64 * 1024
TOOLS_MAX = 256
_DESCRIPTION_MAX = 1_024
_MESSAGE_MAX = 300
_SCHEMA_BYTES_MAX = 32 * 1024
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_TEXT: JsonValue = {"type": "string"}


class McpTool:
    """Calls a tool. What the server says of it is believed as far as the operator trusts it."""

    def __init__(self, session: Session, tool: Tool, name: str) -> None:
        self._session = session
        self._tool = tool.name
        self._is_structured = bool(tool.output_schema)
        hints = tool.annotations
        is_read = bool(hints and hints.read_only_hint)
        self.descriptor = Descriptor(
            name=f"mcp.{session.name}.{name}",
            description=(tool.description or tool.title or tool.name)[:_DESCRIPTION_MAX],
            parameters_schema=tool.input_schema,
            effect="read" if is_read else "write",
            needs_credential=False,
            settings_schema=closed_object(),
            is_idempotent=is_read or bool(hints and hints.idempotent_hint),
            output_schema=tool.output_schema or closed_object(text=_TEXT),
        )

    async def perform(self, order: Order) -> Result:
        """Call it, and tell what it says."""
        try:
            result = await self._session.call(self._tool, order.arguments)
        except MCPError as error:
            # The server has answered, and says that it did not do it.
            return told("REFUSED", _said(error.message))
        if result.is_error:
            return told("TOOL_FAILED", _said(_words(result)))
        if not self._is_structured:
            return Result({"text": cut(_words(result), ANSWER_BYTES_MAX)})
        if not isinstance(result.structured_content, Mapping):
            return told("ANSWER_INVALID", "it was done; the result is not what is declared")
        structured: JsonValue = {**result.structured_content}
        if size(structured) > ANSWER_BYTES_MAX:
            return told("ANSWER_TOO_LARGE", "it was done; the result is too long to be told")
        return Result(structured)

    async def find(self, order: Order) -> Result | None:
        """Never happens: MCP has no way to ask what came of a call."""
        raise AssertionError(order.key)


@asynccontextmanager
async def mcp_tools(
    servers: Mapping[str, Server], egress: Egress
) -> AsyncIterator[dict[str, Connector]]:
    """Yield the actions of all servers that answer, while the block runs."""
    sessions = [open_session(name, server, egress) for name, server in servers.items()]
    try:
        offered = await asyncio.gather(*(_offered(session) for session in sessions))
        yield {one.descriptor.name: one for found in offered for one in found}
    finally:
        await asyncio.gather(*(session.close() for session in sessions), return_exceptions=True)


async def _offered(session: Session) -> list[Connector]:
    """Return the actions of a server; none if it does not answer."""
    try:
        tools = await session.tools()
    except PeerUnavailable:
        return []
    found: dict[str, Connector] = {}
    for tool in tools[:TOOLS_MAX]:
        name = re.sub(r"[^a-z0-9_-]", "-", tool.name.lower())
        if why := _problem(tool, name, found):
            log.warning("mcp.tool_left_out", server=session.name, tool=tool.name[:80], why=why)
            continue
        found[name] = McpTool(session, tool, name)
    return [*found.values()]


def _problem(tool: Tool, name: str, found: Mapping[str, Connector]) -> str:
    if not _NAME.fullmatch(name):
        return "its name does not begin with a letter, or is too long"
    if name in found:
        return "another tool has the same name"
    for schema in (tool.input_schema, tool.output_schema or {}):
        if size(schema) > _SCHEMA_BYTES_MAX:
            return "a schema is too long"
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            return error.message[:_MESSAGE_MAX]
    return ""


def _words(result: CallToolResult) -> str:
    """Return what a result says; what is no text is named."""
    return "\n".join(
        one.text if isinstance(one, TextContent) else f"[{one.type}]" for one in result.content
    )


def _said(words: str) -> str:
    return words.strip()[:_MESSAGE_MAX] or "the server does not say why"
