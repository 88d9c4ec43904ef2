"""Actions told in words, for templates that know no tools, such as those of LLaMA 3 and Mixtral."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..conversation import Action, Call, Conversation, Message, Role

_ACTIONS = """\
You can call one function to act. The functions are, each with the JSON Schema of its arguments:
<tools>
{tools}
</tools>
To call one, end your answer with its name and its arguments in this form:
<tool_call>
{{"name": "<name>", "arguments": {{"<argument>": "<value>"}}}}
</tool_call>
Its result comes back as <tool_response>. Answer without a call when none is needed."""


def in_words(conversation: Conversation, *, keeps_system: bool) -> Conversation:
    """Return a conversation of texts alone, in which no two turns of one role follow each other.

    Without `keeps_system`, the system speaks in the first turn of the user.
    """
    messages = list(conversation.messages)
    if conversation.actions:
        told = Message(Role.SYSTEM, _tell_actions(conversation.actions))
        has_system = messages[0].role is Role.SYSTEM
        messages.insert(1 if has_system else 0, told)
    turns: list[Message] = []
    for message in messages:
        turn = Message(_role(message.role, keeps_system=keeps_system), _text(message))
        if turns and turns[-1].role is turn.role:
            turn = Message(turn.role, f"{turns.pop().text}\n\n{turn.text}")
        turns.append(turn)
    return Conversation(tuple(turns))


def _tell_actions(actions: Sequence[Action]) -> str:
    tools = (
        {
            "name": action.name,
            "description": action.description,
            "parameters": json.loads(action.parameters_schema),
        }
        for action in actions
    )
    return _ACTIONS.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))


def _role(role: Role, *, keeps_system: bool) -> Role:
    if role is Role.ACTION or (role is Role.SYSTEM and not keeps_system):
        return Role.USER
    return role


def _text(message: Message) -> str:
    if message.role is Role.ACTION:
        return f"<tool_response>\n{message.text}\n</tool_response>"
    return "\n".join(filter(None, (message.text, *map(_tell_call, message.calls))))


def _tell_call(call: Call) -> str:
    told = {"name": call.action, "arguments": json.loads(call.arguments)}
    return f"<tool_call>\n{json.dumps(told, ensure_ascii=False)}\n</tool_call>"
