"""Parameters of a template fill single scalars, whatever their values are."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.problems import Code
from assembler.template import read_parameters
from chassis.errors import InvalidField
from chassis.problems import Flaw, suggest
from chassis.source import find_unprintable

from .workbench import MANIFEST, Workbench, changed

_TYPED = (
    MANIFEST.replace(
        "  board_url:",
        "  seed: {type: integer, minimum: 1}\n"
        "  heat: {type: number, default: 0.5}\n"
        "  must: {type: boolean, default: true}\n"
        "  board_url:",
    )
    .replace("seed: 1", 'seed: "${{ parameters.seed }}"')
    .replace("temperature: 0.7", 'temperature: "${{parameters.heat}}"')
    .replace("required: true", 'required: "${{  parameters.must  }}"')
)


async def _payload(text: str, **parameters: str | float | bool) -> dict[str, object]:
    assembly = await Workbench().assemble(text, parameters=parameters)
    payload: dict[str, object] = json.loads(assembly.bundle.payload)
    return payload


async def test_a_default_fills_a_placeholder() -> None:
    payload = await _payload(MANIFEST)

    assert '"url": "http://127.0.0.1:7480"' in json.dumps(payload["actions"])


async def test_a_given_value_replaces_the_default() -> None:
    payload = await _payload(MANIFEST, board_url="https://board.example")

    assert '"url": "https://board.example"' in json.dumps(payload["actions"])


async def test_a_scalar_that_is_one_placeholder_takes_the_type_of_the_parameter() -> None:
    payload = await _payload(_TYPED, seed=7)
    model = payload["model"]

    assert isinstance(model, dict)
    assert (model["seed"], type(model["seed"]), model["temperature"]) == (7, int, 0.5)


async def test_inside_a_text_every_value_becomes_text() -> None:
    text = _TYPED.replace("Summarise what", '"Seed ${{ parameters.seed }}, ${{ parameters.must }}:')
    payload = await _payload(text.replace("then post it.", 'then post it."'), seed=7)

    assert payload["instructions"] == "Seed 7, true: moved, in two sentences, then post it."


@settings(max_examples=100)
@given(st.text(max_size=40).filter(lambda text: text and not find_unprintable(text)))
async def test_a_parameter_never_becomes_structure(value: str) -> None:
    text = changed("Summarise what moved", "Summarise ${{ parameters.board_url }}").replace(
        '{url: "${{ parameters.board_url }}"}', '{url: "http://b"}'
    )
    payload = await _payload(text, board_url=value)
    plain = await _payload(text, board_url="x")

    assert payload == {
        **plain,
        "instructions": f"Summarise {value}, in two sentences, then post it.",
    }


@pytest.mark.parametrize(
    "value",
    [
        'x"}\n  budget: {gas: 1000000, per: day}',
        "http://b\nrequired: false",
        "${{ parameters.board_url }}",
        "&a *a",
        "!!python/object/apply:os.system [ls]",
    ],
)
async def test_an_injection_stays_a_text(value: str) -> None:
    text = MANIFEST.replace(
        "description: Writes and posts a short market brief",
        'description: "${{ parameters.about }}"',
    )
    text = text.replace("  board_url:", "  about: {type: string}\n  board_url:")
    payload = await _payload(text, about=value)

    assert payload["agent"] == {
        "name": "market-brief",
        "version": "1.0.0",
        "description": value,
    }


@pytest.mark.parametrize(
    ("parameters", "code", "field"),
    [
        ({}, Code.PARAMETER_MISSING, "parameters.seed"),
        ({"seed": "7"}, Code.PARAMETER_INVALID, "parameters.seed"),
        ({"seed": 0}, Code.PARAMETER_INVALID, "parameters.seed"),
        ({"seed": True}, Code.PARAMETER_INVALID, "parameters.seed"),
        ({"seed": 7, "sed": 7}, Code.PARAMETER_UNKNOWN, "parameters.sed"),
        ({"seed": 7, "heat": 3}, Flaw.OUT_OF_RANGE, "spec.model.temperature"),
    ],
)
async def test_a_wrong_parameter_is_one_problem(
    parameters: dict[str, str | int], code: Code, field: str
) -> None:
    problems = await Workbench().validate(_TYPED, parameters=parameters)

    assert [(problem.code, problem.field) for problem in problems] == [(code, field)]


async def test_an_agent_takes_no_parameters() -> None:
    text = changed("kind: Template", "kind: Agent").replace(
        "${{ parameters.board_url }}", "http://b"
    )
    text = text.replace(
        'parameters:\n  board_url: {type: string, default: "http://127.0.0.1:7480"}\n', ""
    )
    problems = await Workbench().validate(text, parameters={"seed": 1})

    assert [(problem.code, problem.field) for problem in problems] == [
        (Code.PARAMETER_UNKNOWN, "parameters.seed")
    ]


async def test_an_agent_has_no_placeholders() -> None:
    text = changed("kind: Template", "kind: Agent")
    text = text.replace(
        'parameters:\n  board_url: {type: string, default: "http://127.0.0.1:7480"}\n', ""
    )
    problems = await Workbench().validate(text)

    assert [(problem.code, problem.field) for problem in problems] == [
        (Code.PLACEHOLDER_INVALID, "spec.actions[1].settings.url")
    ]


def test_parameters_are_read_as_json() -> None:
    assert read_parameters('{"a": 1, "b": "x", "c": true, "d": 0.5}') == {
        "a": 1,
        "b": "x",
        "c": True,
        "d": 0.5,
    }


def test_no_parameters_are_none() -> None:
    assert read_parameters("") == {}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{", "parameters"),
        ("[]", "parameters"),
        ("[" * 60_000, "parameters"),
        ('{"a": 1, "a": 2}', "parameters"),
        ('{"a": NaN}', "parameters"),
        ('{"a": 1e999}', "parameters.a"),
        (f'{{"a": {"9" * 5_000}}}', "parameters"),
        (f'{{"a": {2**53}}}', "parameters.a"),
        ('{"a": null}', "parameters.a"),
        ('{"a": {"b": 1}}', "parameters.a"),
        ('{"a": [1]}', "parameters.a"),
        ('{"a": "\\u0000"}', "parameters.a"),
        ('{"a": "\\ud800"}', "parameters.a"),
    ],
)
def test_parameters_that_are_no_scalars_in_json_are_refused(text: str, field: str) -> None:
    with pytest.raises(InvalidField) as raised:
        read_parameters(text)

    assert raised.value.field == field


def test_advice_is_not_looked_for_among_thousands_of_names() -> None:
    """Each comparison is cheap, and a manifest has room for a hundred million of them."""
    names = [f"parameter-{number:05d}" for number in range(5_000)]
    assert suggest("parameter-0000x", names) == ""
