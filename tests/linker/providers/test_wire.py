"""What remote providers share."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.canonical import Json
from linker.conversation import FinishReason, WrittenCall
from linker.errors import CredentialRefused, ProviderUnavailable, RateLimited
from linker.providers.known import OPENAI, find_known, overlaid
from linker.providers.wire import (
    Answer,
    Failure,
    FailureTold,
    from_wire,
    is_strict,
    retry_after_seconds,
    to_wire,
)
from linker.settings import ModelSettings
from tests.linker.orders import POST_SCHEMA, prompt

ROOT = Path(__file__).resolve().parent.parent.parent.parent
PACKAGES = ("openai", "anthropic", "google.genai", "boto3", "botocore", "torch", "huggingface_hub")

NAMES = st.from_regex(re.compile(r"[a-z0-9_.-]{1,64}"), fullmatch=True)


def test_the_linker_starts_without_the_packages_of_providers() -> None:
    program = f"import sys, linker.__main__; sys.exit(any(p in sys.modules for p in {PACKAGES}))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


@given(name=NAMES)
def test_names_of_actions_come_back_from_the_wire(name: str) -> None:
    sent = to_wire(name)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", sent)
    assert from_wire(sent) == name


def test_a_name_reads_well_on_the_wire() -> None:
    assert [to_wire(name) for name in ("board.post", "a.z", "a..1", "read_all")] == [
        "boardPost",
        "aZz",
        "aZZ1",
        "read_all",
    ]


def test_of_an_answer_that_was_cut_only_whole_calls_are_kept() -> None:
    answer = Answer(prompt(), reason=FinishReason.LENGTH)
    answer.add_call(0, "boardPost", '{"text": "Up."')
    answer.add_call(1, "boardRead", "{}")
    assert answer.finish("far/model").calls == (WrittenCall("board.read", "{}"),)


def test_arguments_that_are_nested_deeply_are_no_call() -> None:
    answer = Answer(prompt(), reason=FinishReason.LENGTH)
    answer.add_call(0, "boardPost", "[" * 100_000)
    assert answer.finish("far/model").calls == ()


def test_an_answer_that_does_not_stop_is_stopped() -> None:
    answer = Answer(prompt())
    with pytest.raises(FailureTold):
        while True:
            answer.add("x" * 1_000_000)


def test_an_answer_without_an_end_is_none() -> None:
    with pytest.raises(ProviderUnavailable):
        Answer(prompt()).finish("far/model")


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (POST_SCHEMA, False),
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        ({"type": "object", "properties": {}}, False),
        (
            {
                "type": "object",
                "properties": {"a": {"anyOf": [{"type": "object"}, {"type": "null"}]}},
                "required": ["a"],
                "additionalProperties": False,
            },
            False,
        ),
        (
            {
                "type": "object",
                "properties": {"type": {"type": "string"}, "properties": {"type": "array"}},
                "required": ["properties", "type"],
                "additionalProperties": False,
            },
            True,
        ),
    ],
)
def test_a_schema_is_strict_if_providers_can_keep_to_it(schema: Json, strict: bool) -> None:  # noqa: FBT001  # of the table
    assert is_strict(json.loads(json.dumps(schema))) is strict


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "Sun, 22 Nov 2026 12:01:00 GMT"}, 0),
    ],
    ids=str,
)
def test_what_retry_after_says_is_understood(headers: dict[str, str], seconds: float) -> None:
    assert retry_after_seconds(headers) == seconds


def test_a_quota_that_is_spent_is_no_matter_of_time() -> None:
    spent = Failure("You exceeded your quota", 429, "insufficient_quota")
    assert isinstance(spent.error("far/m"), CredentialRefused)
    assert isinstance(Failure("Slow down", 429).error("far/m"), RateLimited)


def test_a_problem_is_short_and_on_one_line() -> None:
    error = Failure("no\n" * 10_000, 500).error("far/m")
    assert isinstance(error, ProviderUnavailable)
    assert len(error.problem) <= 300
    assert "\n" not in error.problem


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o-mini-2024-07-18", "gpt-4o"),
        ("gpt-4", "gpt-4"),
        ("gpt-4-32k-0613", "gpt-4-32k"),
        ("gpt-5-chat-latest", "gpt-5-chat"),
        ("o3-mini", "o3-mini"),
    ],
)
def test_a_model_is_known_by_the_longest_name_of_its_family(model: str, family: str) -> None:
    assert find_known(OPENAI, model) is OPENAI[family]


def test_a_model_of_no_family_is_not_guessed_at() -> None:
    assert find_known(OPENAI, "gpt-4ever") is None
    assert find_known(OPENAI, "gpt-6-luna") is None


def test_what_the_operator_says_of_a_model_counts() -> None:
    settings = ModelSettings(context_tokens=9, takes_images=False, embedding_dimensions=3)
    known = overlaid(OPENAI["gpt-4o"], settings)
    assert (known.context_tokens, known.takes_images, known.embedding_dimensions) == (9, False, 3)
