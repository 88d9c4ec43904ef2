"""Tests of models list, add, pull and remove against fakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from actionvm.linker.v1 import linker_pb2 as pb

from .conftest import FakeSystem, Invoke
from .fake_linker import HubUnavailable

PULL = ("models", "pull", "owner/llama-GGUF", "folder/Llama-Q4_K_M.gguf")
MODEL = "local/Llama-Q4_K_M"


def documents(output: str) -> list[dict[str, Any]]:
    """Return the JSON documents of an output, one per line."""
    return [json.loads(line) for line in output.splitlines()]


def test_a_pull_says_how_an_agent_uses_the_model(system: FakeSystem, invoke: Invoke) -> None:
    result = invoke(*PULL)

    assert result.exit_code == 0, result.output
    assert f"{MODEL} is ready: llama, 8.0 B, Q4_K_M, 4.9 GB" in result.stdout
    assert f"    use: {MODEL}" in result.stdout


def test_a_pull_asks_for_what_was_typed(system: FakeSystem, invoke: Invoke) -> None:
    options = ("--name", "llama", "--revision", "v1", "--sha256", "AB" * 32)

    assert invoke(*PULL, *options).exit_code == 0

    assert system.linker.pulls == [
        pb.PullModelRequest(
            model="local/llama",
            repository="owner/llama-GGUF",
            file="folder/Llama-Q4_K_M.gguf",
            revision="v1",
            sha256="ab" * 32,
        )
    ]


def test_a_model_that_exceeds_the_memory_of_this_machine_comes_with_a_warning(
    system: FakeSystem, invoke: Invoke
) -> None:
    assert "warning: this machine has" in invoke(*PULL).stdout


def test_a_pull_tells_programs_how_far_it_is_and_what_it_has(
    system: FakeSystem, invoke: Invoke
) -> None:
    first, second, model = documents(invoke(*PULL, "--json").stdout)

    assert first == {"received_bytes": 2, "total_bytes": 5}
    assert second == {"received_bytes": 5, "total_bytes": 5}
    assert (model["name"], model["licence"]) == (MODEL, "llama3")


def test_a_pull_goes_on_when_the_linker_comes_back(system: FakeSystem, invoke: Invoke) -> None:
    system.linker.breaks.append(StatusCode.UNAVAILABLE)

    assert invoke(*PULL).exit_code == 0
    assert len(system.linker.pulls) == 2


def test_a_hub_that_is_down_is_told_at_once_without_blaming_a_service(
    system: FakeSystem, invoke: Invoke
) -> None:
    system.linker.breaks.append(HubUnavailable("no route"))

    result = invoke(*PULL, "--json")

    error = documents(result.stdout)[-1]["error"]
    assert (result.exit_code, error["reason"], error["fix"]) == (3, "HUB_UNAVAILABLE", "")
    assert len(system.linker.pulls) == 1


def test_adding_sends_an_absolute_path_and_the_name_of_the_file(
    system: FakeSystem, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    assert invoke("models", "add", "mine.gguf").exit_code == 0

    path = str(tmp_path / "mine.gguf")
    assert system.linker.adds == [pb.AddModelRequest(model="local/mine", path=path)]


def test_removing_needs_a_yes(system: FakeSystem, invoke: Invoke) -> None:
    result = invoke("models", "remove", "babbler", stdin="")

    assert result.exit_code == 2
    assert "local/babbler was not removed" in result.stderr
    assert "local/babbler" in system.linker.models


def test_a_model_is_removed_with_or_without_its_prefix(system: FakeSystem, invoke: Invoke) -> None:
    assert documents(invoke("models", "remove", "babbler", "--yes", "--json").stdout) == [
        {"removed": "local/babbler"}
    ]
    result = invoke("models", "remove", "local/babbler", "--yes")

    assert (result.exit_code, system.linker.models) == (2, {})
    assert "there is no model local/babbler" in result.stderr


def test_a_list_says_what_a_model_is_and_why_it_would_not_load(
    system: FakeSystem, invoke: Invoke
) -> None:
    system.linker._take("local/llama")
    system.linker.models["local/bad"] = pb.Model(name="local/bad", problem="it is \x1b[31mcut off")

    lines = {
        line.split()[0]: line.rstrip() for line in invoke("models", "list").stdout.splitlines()
    }

    llama = lines["local/llama"].split()
    assert llama[1:6] == ["llama", "8.0", "B", "Q4_K_M", "8,192"]
    assert llama[-1] == "llama3"
    assert "unusable: it is \ufffd[31mcut off" in lines["local/bad"]
    assert lines["local/babbler"].endswith("loaded")
