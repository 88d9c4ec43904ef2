"""Doctor says what this machine can run, and the way out where it cannot."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from chassis.canonical import Json
from cli.machine import Finding, Verdict, ask_linker, check_machine

FOLDER = Path("models")
GIGABYTE = 10**9
CARD: Json = {"name": "A card", "memory_bytes": 24 * GIGABYTE}


def model(name: str, *, size: int = GIGABYTE, problem: str = "") -> Json:
    return {"name": name, "memory_bytes": size, "problem": problem}


def check(check: str, **told: Json) -> Finding:
    """Return what is found of one check, on a machine of which some is told."""
    machine: dict[str, Json] = {
        "cores": 8,
        "threads": 4,
        "memory_bytes": 16 * GIGABYTE,
        "memory_bytes_for_models": 12 * GIGABYTE,
        "context_tokens": 8192,
        "llama": "0.3.36",
        "features": ["AVX2"],
        "backends": [],
        "cards": [],
        "models": [model("good")],
    }
    assert told.keys() <= machine.keys()
    done = subprocess.CompletedProcess([], 0, stdout=json.dumps(machine | told), stderr="")
    found = {one.check: one for one in check_machine(FOLDER, lambda _: done)}
    return found[check]


def test_a_model_that_fits_is_said_to() -> None:
    found = check("local/good")
    assert (found.verdict, found.detail) == (Verdict.OK, "fits: needs 1.0 GB of 12.0 GB")


def test_a_model_that_does_not_fit_comes_with_the_settings_that_would_help() -> None:
    found = check("local/large", models=[model("large", size=40 * GIGABYTE)])
    assert found.verdict is Verdict.NOTE
    assert found.detail == "needs 40.0 GB, models may take 12.0 GB"
    assert "LINKER_CONTEXT_TOKENS (8192)" in found.fix
    assert "LINKER_MEMORY_BYTES" in found.fix


def test_a_broken_model_is_named_with_its_problem() -> None:
    found = check("local/bad", models=[model("bad", problem="it is cut off")])
    assert (found.verdict, found.detail) == (Verdict.NOTE, "it is cut off")


def test_a_machine_without_models_cannot_run_any() -> None:
    assert check("models", models=[]).verdict is Verdict.FAIL


def test_more_threads_than_cores_are_noted() -> None:
    assert check("cores", threads=9).verdict is Verdict.NOTE
    assert check("cores", threads=8).verdict is Verdict.OK


def test_more_memory_for_models_than_there_is_is_noted() -> None:
    assert check("memory", memory_bytes_for_models=17 * GIGABYTE).verdict is Verdict.NOTE


def test_a_slow_build_is_noted_unless_a_card_computes() -> None:
    assert check("llama.cpp", features=[]).verdict is Verdict.NOTE
    assert check("llama.cpp", features=[], backends=["CUDA"]).verdict is Verdict.OK


def test_cards_are_named_and_a_build_that_finds_none_is_noted() -> None:
    assert check("graphics card", cards=[CARD]).detail == "A card (24.0 GB)"
    assert check("graphics card", backends=["CUDA"]).verdict is Verdict.NOTE


@pytest.mark.parametrize(
    ("code", "stderr", "words"),
    [
        (-signal.SIGILL, "", "was built for another processor"),
        (1, "Traceback\nImportError: no llama_cpp\n", "ImportError: no llama_cpp"),
        (-signal.SIGSEGV, "", f"exited with {-signal.SIGSEGV}"),
    ],
)
def test_a_llama_that_does_not_load_is_to_be_built_again(
    code: int, stderr: str, words: str
) -> None:
    done = subprocess.CompletedProcess([], code, stdout="", stderr=stderr)
    (found,) = check_machine(FOLDER, lambda _: done)
    assert (found.verdict, found.detail) == (Verdict.FAIL, words)
    assert "make setup" in found.fix


def test_a_llama_that_hangs_is_not_waited_for() -> None:
    def hang(_: Path) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired("linker", 60)

    (found,) = check_machine(FOLDER, hang)
    assert found.verdict is Verdict.FAIL


@pytest.mark.native
def test_the_program_of_the_linker_tells_what_doctor_understands(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    found = {one.check: one for one in check_machine(tmp_path, ask_linker)}
    assert found["llama.cpp"].verdict is Verdict.OK
    assert found["local/broken"].detail == "it is cut off"
