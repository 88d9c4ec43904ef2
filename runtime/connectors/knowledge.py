"""The action `knowledge.search`: what the agent may read, found by words."""

from __future__ import annotations

from pydantic import JsonValue

from ..ports import Knowledge
from . import Descriptor, Order, Result, closed_object

PASSAGES_MAX = 3

_DESCRIPTOR = Descriptor(
    name="knowledge.search",
    description="Finds passages in the documents that the agent knows.",
    parameters_schema={
        "type": "object",
        "properties": {"query": {"type": "string", "minLength": 1, "maxLength": 100}},
        "required": ["query"],
        "additionalProperties": False,
    },
    effect="read",
    needs_credential=False,
    settings_schema={"type": "object", "additionalProperties": False},
    output_schema=closed_object(
        passages={
            "type": "array",
            "items": closed_object(document={"type": "string"}, text={"type": "string"}),
            "maxItems": PASSAGES_MAX,
        }
    ),
)


class KnowledgeSearch:
    """Searches the agent's own collections, and no others."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge

    @property
    def descriptor(self) -> Descriptor:
        """Return what the catalogue says."""
        return _DESCRIPTOR

    async def perform(self, order: Order) -> Result:
        """Search; an agent without collections finds nothing."""
        query = order.arguments["query"]
        assert isinstance(query, str), "arguments are valid under the schema"
        if not order.collections or not query.strip():
            return Result({"passages": []})
        found = await self._knowledge.search(order.collections, query, PASSAGES_MAX)
        passages: list[JsonValue] = [
            {"document": passage.document, "text": passage.text} for passage in found
        ]
        return Result({"passages": passages})

    async def find(self, _order: Order) -> Result | None:
        """Return None: a search leaves no trace, and may be repeated."""
        return None
