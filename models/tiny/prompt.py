"""Renders dialogues exactly as the linker renders the conversations of agents."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from linker.conversation import Conversation
from linker.providers.template import ChatTemplate

TEMPLATE = Path(__file__).parent.parent / "actionvm-tiny" / "template.jinja"

END = "<|end|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
CONTROLS = ("<|system|>", USER, ASSISTANT, "<|tool|>", END)
# Longer texts that are one token, so that choosing to call is one decision. They are text to a
# grammar, as control tokens are not.
FRAMES = ('<tool_call>\n{"name": "', '", "arguments": {', "}}\n</tool_call>", "\\n")


@cache
def template() -> ChatTemplate:
    """Return the linker's own renderer with the template of the model."""
    return ChatTemplate(TEMPLATE.read_text(encoding="utf-8"), bos="", eos="", controls=CONTROLS)


def training_text(conversation: Conversation) -> str:
    """Return a whole dialogue as text; the opener of a further turn at its end is dropped."""
    return template().render(conversation).removesuffix(ASSISTANT)
