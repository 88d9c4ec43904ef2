"""OpenAI, Azure OpenAI and servers that are compatible, through the suite."""

from __future__ import annotations

from linker.providers.openai import OpenAiProvider
from linker.settings import ModelSettings
from tests.fakes.openai_chat import OpenAiChat
from tests.fakes.upstream import Fault
from tests.linker.providers.conformance import Conformance
from tests.linker.providers.failures import Failures
from tests.linker.providers.stage import Subject

TOO_LONG = Fault(
    400,
    "context_length_exceeded",
    "This model's maximum context length is 128000 tokens. However, your messages resulted in "
    "300000 tokens. Please reduce the length of the messages.",
)


class TestOpenAiChat(Conformance, Failures):
    """OpenAI's chat completions."""

    subject = Subject(
        OpenAiProvider,
        lambda: OpenAiChat(("gpt-4o", "text-embedding-3-small")),
        kind="openai",
        model="gpt-4o",
        too_long=TOO_LONG,
        prefix="/v1",
        embeds="text-embedding-3-small",
    )


class TestCompatible(Conformance, Failures):
    """A server like vLLM, without a key, whose models have slashes."""

    subject = Subject(
        OpenAiProvider,
        lambda: OpenAiChat(("owner/model-7b", "embedder"), dimensions=8),
        kind="openai-compatible",
        model="owner/model-7b",
        too_long=TOO_LONG,
        prefix="/v1",
        settings=ModelSettings(context_tokens=32_768),
        constrains=False,
        takes_images=False,
        needs_key=False,
    )
