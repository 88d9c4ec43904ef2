"""Renders a conversation as the model was trained to read it, with the template of its file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import NoReturn

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chassis.canonical import Json

from ..conversation import Action, Conversation, Message, Role
from .plain import in_words

# What a model without a template gets. It offers no actions.
CHATML = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""

RENDERED_BYTES_MAX = 16 * 1024 * 1024
# How many steps all `range` loops of one rendering may take together.
RANGE_STEPS_MAX = 100_000
CALL_OPENER = "<tool_call>"
_PROBE = "probe-zq"
_HELLO = Message(Role.USER, "Hello")
_OFFER = Conversation((_HELLO,), (Action(_PROBE, "", '{"type": "object"}'),))
# The template of Mixtral refuses a system that speaks.
_INSTRUCTIONS = Conversation((Message(Role.SYSTEM, _PROBE), _HELLO))

_ROLES = {
    Role.SYSTEM: "system",
    Role.USER: "user",
    Role.ASSISTANT: "assistant",
    Role.ACTION: "tool",
}


class TemplateFailed(ValueError):
    """The template does not compile, or refuses the conversation."""


class ChatTemplate:
    """The template of one model, in a sandbox: a file of weights is not a program.

    `controls` are the texts of the model's control tokens. A conversation cannot contain them: a
    character without width is put into each.
    """

    def __init__(self, source: str, *, bos: str, eos: str, controls: Iterable[str]) -> None:
        try:
            self._template = _Sandbox().from_string(source or CHATML)
        except jinja2.TemplateError as error:
            raise TemplateFailed(f"its chat template does not compile: {error}") from error
        self._bos = bos
        self._eos = eos
        spellings = sorted(filter(None, controls), key=len, reverse=True)
        self._controls = re.compile("|".join(map(re.escape, spellings)) or r"(?!)")
        # Each is asked of the template as it is; the next question takes the answer into account.
        self._has_tools = self._keeps_system = True
        self._has_tools = CALL_OPENER in source and self._renders(_OFFER)
        self._keeps_system = self._renders(_INSTRUCTIONS)
        # A model without a template was not trained to talk.
        self.takes_actions = bool(source) and self._renders(_OFFER)

    def render(self, conversation: Conversation) -> str:
        """Return the prompt. Raises `TemplateFailed`."""
        if not self._has_tools:
            conversation = in_words(conversation, keeps_system=self._keeps_system)
        names = {call.id: call.action for turn in conversation.messages for call in turn.calls}
        pieces = self._generate(
            messages=[self._message(turn, names) for turn in conversation.messages],
            tools=[self._tool(action) for action in conversation.actions] or None,
        )
        return "".join(pieces)

    def _generate(self, **variables: Json) -> Iterator[str]:
        size = 0
        try:
            for piece in self._template.generate(
                **variables,
                add_generation_prompt=True,
                bos_token=self._bos,
                eos_token=self._eos,
                range=_Range(),
                raise_exception=_raise_exception,
            ):
                size += len(piece)
                if size > RENDERED_BYTES_MAX:
                    raise TemplateFailed("its chat template makes too much of the conversation")
                yield piece
        # A template can raise anything that Python's operators raise.
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise TemplateFailed(f"its chat template fails: {error}") from error
        except (AttributeError, MemoryError, RecursionError) as error:
            raise TemplateFailed(f"its chat template fails: {type(error).__name__}") from error

    def _renders(self, probe: Conversation) -> bool:
        """Tell whether what a conversation is about reaches the prompt."""
        try:
            return _PROBE in self.render(probe)
        except TemplateFailed:
            return False

    def _message(self, message: Message, names: dict[str, str]) -> dict[str, Json]:
        rendered: dict[str, Json] = {
            "role": _ROLES[message.role],
            "content": self._defuse(message.text),
        }
        if message.calls:
            rendered["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {
                        "name": call.action,
                        "arguments": json.loads(self._defuse(call.arguments)),
                    },
                }
                for call in message.calls
            ]
        if message.role is Role.ACTION:
            rendered["tool_call_id"] = message.call_id
            rendered["name"] = names.get(message.call_id, "")
        return rendered

    def _tool(self, action: Action) -> dict[str, Json]:
        return {
            "type": "function",
            "function": {
                "name": action.name,
                "description": self._defuse(action.description),
                "parameters": json.loads(self._defuse(action.parameters_schema)),
            },
        }

    def _defuse(self, text: str) -> str:
        return self._controls.sub(lambda found: f"{found[0][0]}\u200b{found[0][1:]}", text)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja without a way to Python, and without the shortest way to fill the memory.

    Longer ways are left: a template comes with weights, which an operator chooses as he chooses a
    program.
    """

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        self.filters["tojson"] = _to_json

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: object, right: object
    ) -> object:
        """Multiply small numbers only."""
        for value in (left, right):
            if not isinstance(value, int | float) or abs(value) > RANGE_STEPS_MAX:
                raise SecurityError(f"{operator} is for small numbers")
        return super().call_binop(context, operator, left, right)


class _Range:
    """`range`, with one allowance for a whole rendering."""

    def __init__(self) -> None:
        self._left = RANGE_STEPS_MAX

    def __call__(self, *bounds: int) -> range:
        steps = range(*bounds)
        self._left -= len(steps)
        if self._left < 0:
            raise SecurityError("the template loops too often")
        return steps


def _to_json(value: Json, indent: int | None = None) -> str:
    # The filter of Jinja escapes for HTML, which no model was trained on.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateRuntimeError(message)
