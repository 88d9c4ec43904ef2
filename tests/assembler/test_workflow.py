"""A workflow becomes a part of the bundle that the runtime opens, and only where it is said."""

from __future__ import annotations

import json

import pytest

from assembler.problems import Code
from chassis.problems import Flaw
from runtime.bundles import read_program
from tests.specs import ROOT

from .broken_workflows import MANIFEST_OF_STEPS
from .workbench import MANIFEST, Workbench


async def test_the_runtime_opens_the_steps_as_they_were_written() -> None:
    assembly = await Workbench().assemble(
        MANIFEST_OF_STEPS.replace("retry: 1", "retry: 1, backoff: 10s")
    )

    workflow = read_program(assembly.bundle.payload).workflow
    assert workflow is not None
    find, write, post = workflow.steps
    assert (find.action, write.instructions) == ("knowledge.search", "Write it.")
    assert (find.needs, write.when) == (frozenset(), "input.urgent")
    assert (write.needs, post.needs) == (frozenset({"find"}), frozenset({"find", "write"}))
    assert (post.on_failure.retries, post.on_failure.continues) == (1, True)
    assert post.on_failure.default == "none"
    assert post.on_failure.backoff_seconds == 10
    assert workflow.output == "steps.write.output.text"


async def test_a_bundle_without_a_workflow_is_what_it_was() -> None:
    assembly = await Workbench().assemble(MANIFEST)

    assert "workflow" not in json.loads(assembly.bundle.payload)


async def test_the_example_has_no_problems() -> None:
    folder = ROOT / "examples" / "notice-board"
    files = {"notices/ferry.md": (folder / "notices" / "ferry.md").read_bytes()}

    assert await Workbench().validate((folder / "agent.yaml").read_text(), files=files) == []


async def test_all_that_is_wrong_with_steps_is_said_at_once() -> None:
    broken = MANIFEST_OF_STEPS.replace("after: [find]", "after: [fnd]")
    broken = broken.replace("input.urgent", "urgent").replace("id: find,", "id: find, when: '!',")

    assert [problem.line for problem in await Workbench().validate(broken)] == [25, 29, 33]


async def test_an_output_that_does_not_fit_is_told_with_the_way_out() -> None:
    wrong = MANIFEST_OF_STEPS.replace("output: steps.write.output.text", "output: input")
    wrong = wrong.replace("steps.write.output.text}", "steps.find.output.passages}")
    wrong = wrong.replace("steps.find.output}", "steps.find.output.passage}")

    field, kind = await Workbench().validate(wrong)
    assert field.message == "`steps.find.output` never has a `passage`"
    assert field.fix == "Did you mean `passages`?"
    assert kind.message == "`text` of `board.post` takes a text, and this gives a list"


@pytest.mark.parametrize(
    "source",
    [
        "input.text",
        "steps.find.output.passages[0].text",
        "steps.find.output.passages[0].score && steps.write.output.text",
        "steps.find.output.passages[0].score == `1` && 'one' || 'another'",
    ],
)
async def test_what_may_fit_is_no_problem(source: str) -> None:
    fitting = MANIFEST_OF_STEPS.replace("steps.write.output.text}", f'"{source}"}}')

    assert await Workbench().validate(fitting) == []


async def test_what_becomes_of_a_step_otherwise_counts_too() -> None:
    post = "      - {id: last, action: board.post, with: {text: {from: steps.post.output}}}\n"
    either = MANIFEST_OF_STEPS.replace("    output:", f"{post}    output:")

    # It is `none` if the post has failed; what a post gives is not known.
    assert await Workbench().validate(either) == []
    (problem,) = await Workbench().validate(
        either.replace("steps.post.output", "steps.find.output")
    )
    assert problem.code == Code.STEP_ARGUMENT
    default = "{retry: 1, then: continue, default: none}"
    failing = either.replace("{from: input}}", f"{{from: input}}}}, on_failure: {default}")
    failing = failing.replace("steps.post.output", "steps.find.output")
    assert await Workbench().validate(failing) == []


async def test_an_answer_with_a_schema_is_wanted_of_a_model_that_promises_it() -> None:
    note = "output: {type: object, properties: {text: {type: string}}}\n        when: input.urgent"
    workbench = Workbench()
    assembly = await workbench.assemble(MANIFEST_OF_STEPS.replace("when: input.urgent", note))

    assert [wish.needs_answer_schema for wish in workbench.peers.models.wishes] == [True]
    workflow = read_program(assembly.bundle.payload).workflow
    assert workflow
    assert workflow.steps[1].output_schema["properties"] == {"text": {"type": "string"}}


async def test_answers_that_are_asked_for_again_count_as_steps() -> None:
    again = "output: {type: object}\n        on_failure: {retry: 8}\n        when: input.urgent"

    (problem,) = await Workbench().validate(MANIFEST_OF_STEPS.replace("when: input.urgent", again))
    assert problem.field == "spec.limits.steps"
    assert "up to 9 times" in problem.message


async def test_more_answers_than_steps_are_noticed() -> None:
    broken = MANIFEST_OF_STEPS.replace("steps: 8", "steps: 1").replace(
        "  workflow:\n    steps:\n", "  workflow:\n    steps:\n      - {id: plan, model: Plan.}\n"
    )

    (problem,) = await Workbench().validate(broken)
    assert (problem.code, problem.field) == (Flaw.CONTRADICTION, "spec.limits.steps")


async def test_retries_that_come_after_the_end_are_a_warning() -> None:
    late = MANIFEST_OF_STEPS.replace("retry: 1", "retry: 3, backoff: 20s")

    (problem,) = (await Workbench().assemble(late)).warnings
    assert (problem.code, problem.field) == (
        "STEP_LATE",
        "spec.workflow.steps[2].on_failure.backoff",
    )
    # 20 + 40 + 80.
    assert "waits 140s" in problem.message
    assert not (await Workbench().assemble(late.replace("retry: 3", "retry: 2"))).warnings
