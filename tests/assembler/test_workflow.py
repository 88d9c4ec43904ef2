"""A workflow becomes a part of the bundle that the runtime opens, and only where it is said."""

from __future__ import annotations

import json

from chassis.problems import Flaw
from runtime.program import read_program
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
