"""The action `llm.ask`: the model of the agent answers a prompt, for code that needs words."""

from __future__ import annotations

from . import Descriptor, closed_object
from .own import Own

ASK = "llm.ask"
PROMPT_CHARACTERS_MAX = 32_768

_ASK = Descriptor(
    name=ASK,
    description="Answers a prompt with the model of the agent.",
    parameters_schema={
        "type": "object",
        "properties": {
            "prompt": {"type": "string", "minLength": 1, "maxLength": PROMPT_CHARACTERS_MAX},
            "tokens_max": {"type": "integer", "minimum": 1, "maximum": 32_768},
        },
        "required": ["prompt"],
        "additionalProperties": False,
    },
    effect="read",
    needs_credential=False,
    settings_schema={"type": "object", "additionalProperties": False},
    output_schema=closed_object(text={"type": "string"}),
)


def asking_action() -> Own:
    """Return it."""
    return Own(_ASK)
