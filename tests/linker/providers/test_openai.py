"""OpenAI, Azure OpenAI and servers that are compatible, through the suite."""

from __future__ import annotations

from linker.providers.openai import OpenAiProvider
from linker.settings import ModelSettings
from tests.fakes.openai_chat import AzureOpenAi, OpenAiChat
from tests.fakes.openai_responses import OpenAiResponses
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
        options={"constrains_output": "true"},
        settings=ModelSettings(context_tokens=32_768),
        takes_images=False,
        needs_key=False,
    )


class TestResponses(Conformance, Failures):
    """OpenAI's Responses."""

    subject = Subject(
        OpenAiProvider,
        lambda: OpenAiResponses(("gpt-4o",)),
        kind="openai",
        model="gpt-4o",
        too_long=TOO_LONG,
        prefix="/v1",
        options={"api": "responses"},
        takes_seed=False,
        takes_penalties=False,
        takes_stops=False,
    )


class TestAzure(Conformance, Failures):
    """Azure OpenAI at its interface v1: deployments, asked for with an empty conversation."""

    subject = Subject(
        OpenAiProvider,
        lambda: AzureOpenAi(("gpt-4o",)),
        kind="azure-openai",
        model="gpt-4o",
        too_long=TOO_LONG,
        key_header="api-key",
        key_prefix="",
    )


class TestOldAzure(Conformance):
    """Azure OpenAI at its older interface, with a deployment of its own name."""

    subject = Subject(
        OpenAiProvider,
        lambda: AzureOpenAi(("ours",)),
        kind="azure-openai",
        model="ours",
        too_long=TOO_LONG,
        options={"api_version": "2024-10-21"},
        settings=ModelSettings(context_tokens=128_000),
        constrains=False,
        takes_images=False,
        key_header="api-key",
        key_prefix="",
    )
