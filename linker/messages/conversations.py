"""Conversations in messages: turns, calls, and actions on offer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from actionvm.action.v1 import action_pb2
from actionvm.linker.v1 import linker_pb2
from chassis import fields
from chassis.errors import InvalidField

from ..conversation import Action, Call, Conversation, Image, Message, Role
from ..schemas import Malformed, parse_json, parse_object, parse_schema

MESSAGES_MAX = 1_000
TEXT_BYTES_MAX = 1024 * 1024
CONVERSATION_BYTES_MAX = 4 * TEXT_BYTES_MAX
CALLS_MAX = 16
CALL_ID_MAX = 128
IMAGES_MAX = 16
IMAGE_BYTES_MAX = 2 * 1024 * 1024
ACTIONS_MAX = 64
DESCRIPTION_MAX = 1_024
SCHEMA_BYTES_MAX = 16 * 1024

_ACTION_NAME = re.compile(r"[a-z0-9_.-]{1,64}")


def conversation_from_proto(
    messages: Sequence[linker_pb2.Message], actions: Sequence[action_pb2.Action]
) -> Conversation:
    """Return what a model is to read, or refuse it."""
    fields.require_size("messages", messages, size_max=MESSAGES_MAX)
    size = sum(message.ByteSize() for message in messages)
    if size > CONVERSATION_BYTES_MAX:
        problem = f"have {size} bytes together; at most {CONVERSATION_BYTES_MAX} are allowed"
        raise InvalidField("messages", problem)
    called: set[str] = set()
    parsed = []
    for index, message in enumerate(messages):
        field = f"messages[{index}]"
        parsed.append(_message_from_proto(field, message))
        if message.call_id and message.call_id not in called:
            raise InvalidField(f"{field}.call_id", "is of no call in an earlier message")
        called.update(call.id for call in message.calls)
    return Conversation(tuple(parsed), _actions_from_proto(actions))


def _message_from_proto(field: str, message: linker_pb2.Message) -> Message:
    if message.role not in _ROLES:
        raise InvalidField(f"{field}.role", "is required, such as ROLE_USER")
    role = _ROLES[message.role]
    if len(message.text.encode()) > TEXT_BYTES_MAX:
        raise InvalidField(f"{field}.text", f"has more than {TEXT_BYTES_MAX} bytes")
    if message.calls and role is not Role.ASSISTANT:
        raise InvalidField(f"{field}.calls", "are for ROLE_ASSISTANT only")
    fields.require_size(f"{field}.calls", message.calls, size_min=0, size_max=CALLS_MAX)
    if role is Role.ACTION:
        fields.require_size(f"{field}.call_id", message.call_id, size_max=CALL_ID_MAX)
        try:
            parse_json(message.text)
        except Malformed as error:
            raise InvalidField(f"{field}.text", f"{error}") from error
    elif message.call_id:
        raise InvalidField(f"{field}.call_id", "is for ROLE_ACTION only")
    if message.images and role is not Role.USER:
        raise InvalidField(f"{field}.images", "are for ROLE_USER only")
    fields.require_size(f"{field}.images", message.images, size_min=0, size_max=IMAGES_MAX)
    images = (
        _image_from_proto(f"{field}.images[{index}]", image)
        for index, image in enumerate(message.images)
    )
    calls = (
        _call_from_proto(f"{field}.calls[{index}]", call)
        for index, call in enumerate(message.calls)
    )
    return Message(role, message.text, tuple(calls), message.call_id, tuple(images))


_ROLES: dict[int, Role] = {
    linker_pb2.Message.ROLE_SYSTEM: Role.SYSTEM,
    linker_pb2.Message.ROLE_USER: Role.USER,
    linker_pb2.Message.ROLE_ASSISTANT: Role.ASSISTANT,
    linker_pb2.Message.ROLE_ACTION: Role.ACTION,
}


def _image_from_proto(field: str, image: linker_pb2.Image) -> Image:
    if image.media_type not in _IMAGE_STARTS:
        known = ", ".join(sorted(_IMAGE_STARTS))
        raise InvalidField(f"{field}.media_type", f"is none of {known}")
    fields.require_size(f"{field}.data", image.data, size_max=IMAGE_BYTES_MAX)
    if not _IMAGE_STARTS[image.media_type].match(image.data):
        raise InvalidField(f"{field}.data", f"is no {image.media_type}")
    return Image(image.media_type, image.data)


_IMAGE_STARTS = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/webp": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "image/gif": re.compile(rb"GIF8[79]a"),
}


def _call_from_proto(field: str, call: action_pb2.ActionCall) -> Call:
    fields.require_size(f"{field}.id", call.id, size_max=CALL_ID_MAX)
    fields.require_match(f"{field}.action", call.action, _ACTION_NAME, example="board.post")
    try:
        parse_object(call.arguments)
    except Malformed as error:
        raise InvalidField(f"{field}.arguments", f"{error}") from error
    return Call(call.id, call.action, call.arguments)


def _actions_from_proto(actions: Sequence[action_pb2.Action]) -> tuple[Action, ...]:
    fields.require_size("actions", actions, size_min=0, size_max=ACTIONS_MAX)
    parsed = tuple(
        _action_from_proto(f"actions[{index}]", action) for index, action in enumerate(actions)
    )
    names = [action.name for action in parsed]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidField(f"actions[{index}].name", "came before; names are unique")
    return parsed


def _action_from_proto(field: str, action: action_pb2.Action) -> Action:
    fields.require_match(f"{field}.name", action.name, _ACTION_NAME, example="board.post")
    fields.require_size(f"{field}.description", action.description, size_max=DESCRIPTION_MAX)
    schema = action.parameters_schema
    fields.require_size(f"{field}.parameters_schema", schema.encode(), size_max=SCHEMA_BYTES_MAX)
    if action.effect not in (action_pb2.Action.EFFECT_READ, action_pb2.Action.EFFECT_WRITE):
        raise InvalidField(f"{field}.effect", "is required, such as EFFECT_READ")
    try:
        parse_schema(schema)
    except Malformed as error:
        raise InvalidField(f"{field}.parameters_schema", f"{error}") from error
    return Action(action.name, action.description, schema)


def calls_to_proto(calls: Iterable[Call]) -> list[action_pb2.ActionCall]:
    """Return the calls of an answer."""
    return [
        action_pb2.ActionCall(id=call.id, action=call.action, arguments=call.arguments)
        for call in calls
    ]
