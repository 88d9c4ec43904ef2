"""Requests to the linker for tests, and a linker that hears them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from actionvm.action.v1.action_pb2 import Action
from actionvm.linker.v1 import linker_pb2 as pb
from actionvm.linker.v1 import linker_pb2_grpc
from chassis.server import Hosted
from linker.conversation import Prompt
from linker.links import ModelConfig, link_name
from linker.providers.scripted import Line, ScriptedProvider
from linker.service import LinkerService, hosted
from tests.fakes.gas_meter import FakeGasMeter
from tests.linker.orders import ACCOUNT, RUN, make_linker
from tests.linker.shelves import make_shelf

Stub: TypeAlias = linker_pb2_grpc.LinkerServiceStub

MODEL = "local/actor"
LINK = link_name(ModelConfig(MODEL))
CANARY = "canary-7f3a"
DEEP = "[" * 100_000


def say(prompt: Prompt) -> Line:
    text = prompt.conversation.messages[-1].text
    if text == f"crash {CANARY}":
        raise RuntimeError("llama_decode answered 1")
    return Line(f"You said {len(text)} letters to {CANARY}.")


@asynccontextmanager
async def serve() -> AsyncIterator[Hosted]:
    """Return a linker with one link."""
    provider = ScriptedProvider(say, models=("actor",), context_tokens=40_000)
    linker = make_linker(provider, FakeGasMeter())
    await linker.link(ModelConfig(MODEL))
    yield hosted(LinkerService(linker, make_shelf(Path("/nonexistent"))))


def message(role: str, text: str = "", **more: Any) -> pb.Message:  # noqa: ANN401  # any field
    return pb.Message(role=pb.Message.Role.Value(f"ROLE_{role}"), text=text, **more)


def act(**more: Any) -> Action:  # noqa: ANN401  # any field
    fields: dict[str, Any] = {
        "name": "board.post",
        "description": "Posts.",
        "parameters_schema": '{"type": "object"}',
        "effect": Action.EFFECT_WRITE,
        **more,
    }
    return Action(**fields)


def request(**more: Any) -> pb.GenerateRequest:  # noqa: ANN401  # any field
    fields: dict[str, Any] = {
        "request_id": "r",
        "link": LINK,
        "account": ACCOUNT,
        "run": RUN,
        "messages": [message("USER", "Hello")],
        "tokens_max": 50,
        **more,
    }
    return pb.GenerateRequest(**fields)


def acting(**more: Any) -> dict[str, Any]:  # noqa: ANN401  # any field
    return {"actions": [act()], "action_choice": pb.ACTION_CHOICE_AUTO, **more}


PNG = pb.Image(media_type="image/png", data=b"\x89PNG\r\n\x1a\n and so on")


def showing(media_type: str, data: bytes) -> pb.Message:
    return message("USER", images=[PNG, pb.Image(media_type=media_type, data=data)])
