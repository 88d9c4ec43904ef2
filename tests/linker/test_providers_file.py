"""The file of providers becomes settings, or every mistake in it is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linker.providers.registry import DEFAULTS
from linker.providers_file import (
    BYTES_MAX,
    ProvidersFileInvalid,
    parse_providers,
    read_providers,
)
from linker.settings import ModelSettings, ProviderSettings, RateBudget

FARM = """\
providers:
  farm:
    kind: openai-compatible
    url: "http://gpu:8000/v1"
    rate: {requests_per_minute: 600, tokens_per_minute: 1000000, in_flight_max: 32}
    models: {llama-3-8b: {context_tokens: 8192}}
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(ProvidersFileInvalid) as caught:
        parse_providers("f", text.encode())
    return str(caught.value).splitlines()


def problem_of(
    field: str, *, kind: str = "openai-compatible", url: str = "https://a.example"
) -> str:
    text = f"providers:\n  farm:\n    kind: {kind}\n    url: '{url}'\n    {field}\n"
    problems = problems_of(text)
    assert len(problems) == 1, problems
    return problems[0]


def url_problem(url: str, field: str = "") -> str:
    return problem_of(field, url=url)


def test_a_file_becomes_settings_beside_the_built_in_ones() -> None:
    found = parse_providers("providers.yaml", FARM.encode())
    assert found["farm"] == ProviderSettings(
        name="farm",
        kind="openai-compatible",
        url="http://gpu:8000/v1",
        models={"llama-3-8b": ModelSettings(context_tokens=8192)},
        rate=RateBudget(requests_per_minute=600, tokens_per_minute=1_000_000, in_flight_max=32),
    )
    assert found.keys() - {"farm"} == DEFAULTS.keys()


def test_without_a_file_the_public_providers_are_there() -> None:
    names = {"anthropic", "bedrock", "gemini", "huggingface", "openai", "sagemaker"}
    assert read_providers(None).keys() == names


def test_a_provider_of_the_file_takes_the_place_of_a_built_in_one() -> None:
    text = "providers: {openai: {kind: openai, rate: {in_flight_max: 4}}}"
    assert parse_providers("f", text.encode())["openai"].rate.in_flight_max == 4


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProvidersFileInvalid, match=r"none\.yaml:1:1: cannot be read: No such"):
        read_providers(tmp_path / "none.yaml")


def test_all_mistakes_are_said_at_once_with_their_lines_and_the_way_out() -> None:
    text = """\
providers:
  Farm: {kind: openai}
  farm:
    kind: openai-compatibel
    url: https://a.example/v1
    colour: red
    rate: {requests_per_minut: 1, in_flight_max: -1}
    models: {llama: {context_tokens: many}}
  empty: {url: https://a.example}
  azure: {kind: azure-ml}
"""
    assert problems_of(text) == [
        "f:2:3: providers.Farm: String should match pattern '^[a-z0-9][a-z0-9-]{0,30}\\z'",
        (
            "f:4:11: providers.farm.kind: there is no kind `openai-compatibel` "
            "(Did you mean `openai-compatible`?)"
        ),
        (
            "f:6:5: providers.farm.colour: there is no such field (There is: `allow_http`, "
            "`connect_seconds`, `kind`, `models`, `options`, `rate`, `silence_seconds`, `url`.)"
        ),
        (
            "f:7:12: providers.farm.rate.requests_per_minut: there is no such field "
            "(Did you mean `requests_per_minute`?)"
        ),
        (
            "f:7:50: providers.farm.rate.in_flight_max: Input should be greater than or equal to 0 "
            "(write calls at once, 0 for any number)"
        ),
        (
            "f:8:38: providers.farm.models.llama.context_tokens: Input should be a valid integer "
            "(write tokens, such as 131072)"
        ),
        (
            "f:9:3: providers.empty.kind: is required "
            "(write who speaks to it, such as openai-compatible)"
        ),
        (
            "f:10:3: providers.azure.url: azure-ml needs one "
            "(write it like https://models.example.com/v1)"
        ),
    ]


@pytest.mark.parametrize(
    "url",
    [
        "https://models.example.com/v1",
        "http://localhost:8000/v1",
        "http://127.0.0.1:8000",
        "http://[::1]:8000",
        "http://10.1.2.3:8000",
        "http://[fd00::1]:8000",
        "http://gpu:8000/v1",
        "http://gpu.models.svc.cluster.local:8000",
    ],
)
def test_a_url_that_nobody_else_can_read_is_taken(url: str) -> None:
    text = f"providers: {{farm: {{kind: openai-compatible, url: '{url}'}}}}"
    assert parse_providers("f", text.encode())["farm"].url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://models.example.com/v1",
        "http://8.8.8.8",
        "http://169.254.169.254",
        "http://[fe80::1]",
        "http://2130706433",
        "http://0x7f000001",
    ],
)
def test_plain_http_leaves_the_network_only_where_it_is_allowed(url: str) -> None:
    assert "in the clear" in url_problem(url)
    text = f"providers: {{f: {{kind: openai-compatible, url: '{url}', allow_http: true}}}}"
    assert parse_providers("f", text.encode())["f"].url == url


@pytest.mark.parametrize(
    "url",
    [
        "https://canary:secret@a.example",
        "https://canary@a.example",
        "https://a.example/v1?api-key=canary",
        "https://a.example/v1#canary",
    ],
)
def test_a_key_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    problem = url_problem(url)
    assert "the key manager" in problem
    assert "canary" not in problem


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example",
        "https://",
        "https:///v1",
        "https://a b.example",
        "https://a.example:99999",
        "https://[::1",
        "https://a.example\\@b.example",
        "file:///etc/passwd",
        "a.example",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    assert "providers.farm.url:" in url_problem(url)


@pytest.mark.parametrize("name", ["api_key", "token", "aws_secret_access_key", "password"])
def test_an_option_that_would_hold_a_secret_is_refused(name: str) -> None:
    problem = problem_of(f"options: {{{name}: canary}}")
    assert f"providers.farm.options.{name}" in problem
    assert "the key manager" in problem
    assert "canary" not in problem


def test_a_field_that_would_hold_a_secret_is_refused_with_where_it_belongs() -> None:
    problem = problem_of("api_key: canary")
    assert "the key manager" in problem
    assert "canary" not in problem


def test_the_name_of_the_local_models_is_taken() -> None:
    text = "providers: {local: {kind: openai}}"
    assert problems_of(text) == [
        "f:1:13: providers.local: is the name of the models of this machine (choose another one)"
    ]


def test_an_alias_bomb_is_refused_before_it_is_built() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join(f'*{a}' for _ in range(9))}]" for a, b in ("ab", "bc", "cd")]
    assert any(
        "anchors and aliases are not taken" in line for line in problems_of("\n".join(lines))
    )


@pytest.mark.parametrize(
    "text",
    [
        "#" * (BYTES_MAX + 1),
        "[" * 100_000,
        "providers: [" + "1, " * 30_000 + "]",
        "providers: {" + ", ".join(f"p{n}: {{kind: openai}}" for n in range(101)) + "}",
        "providers: !!python/object/apply:os.system [id]",
        "providers: {farm: {kind: openai, connect_seconds: .inf}}",
        "providers: {farm: {kind: openai, connect_seconds: 1e999}}",
        "providers: {farm: {kind: openai, kind: openai}}",
        "---\nproviders: {}\n---\nproviders: {}",
        "- 1",
        "",
    ],
    ids=range(11),
)
def test_a_hostile_file_is_refused(text: str) -> None:
    assert problems_of(text)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_give_providers_or_problems(content: bytes) -> None:
    try:
        parse_providers("f", content)
    except ProvidersFileInvalid as error:
        assert error.problems
