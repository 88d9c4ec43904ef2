"""Tests of what people see of quotes, budgets and tenants."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from actionvm.gas.v1 import budgets_pb2
from actionvm.gas.v1 import gas_pb2 as pb
from chassis.canonical import Json, canonical_json

from .conftest import FakeSystem, Invoke
from .fakes import BUNDLE, make_payload

BERLIN = "Europe/Berlin"


# --- Quotes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("usage", ["tokens=1", "images", "images=-1", f"images={2**63}"])
def test_a_usage_that_is_none_is_refused(system: FakeSystem, invoke: Invoke, usage: str) -> None:
    result = invoke("gas", "quote", "model x", "--usage", usage)

    assert result.exit_code == 2
    assert "--usage" in result.stderr


def test_a_meter_that_is_none_is_refused_with_the_meters(
    system: FakeSystem, invoke: Invoke
) -> None:
    assert "output_tokens" in invoke("gas", "quote", "model x", "--usage", "tokens=1").stderr


def quoted(invoke: Invoke, what: str) -> Any:  # noqa: ANN401  # JSON
    output = invoke("gas", "quote", what, "--json").stdout
    return json.loads(output.splitlines()[-1])["quote"]


def test_a_run_costs_at_most_all_its_steps_and_all_its_calls(
    system: FakeSystem, invoke: Invoke
) -> None:
    # Two steps of 900 tokens read and 100 written, and one post.
    assert quoted(invoke, "fake")["gas"]["gas_most"] == 2 * 1000 + 1


def test_a_run_costs_at_least_one_step_and_the_calls_that_it_needs(
    system: FakeSystem, invoke: Invoke
) -> None:
    assert quoted(invoke, "fake")["gas"]["gas_least"] == 2 + 1


def test_a_run_with_code_costs_all_that_the_code_may_use_and_call(
    system: FakeSystem, invoke: Invoke
) -> None:
    limits: Json = {"fuel": 7_000, "host_calls": 5, "memory_bytes": 1, "wall_seconds": 1}
    post = {"name": "board.post", "program": "catalogue:board.post", "approval": "allow"}
    grants: list[Json] = [
        post | {"required": False, "limits": {"per_run": 4}},
        post | {"name": "web.get", "required": False, "limits": {"per_run": 0}},
        post | {"name": "web.send", "approval": "deny", "limits": {}},
    ]
    scores: Json = {
        "name": "score",
        "program": "code:x",
        "approval": "allow",
        "required": False,
        "limits": {"per_run": 3},
        "code": {"limits": limits, "grants": grants},
    }
    posts: Json = post | {"required": True, "limits": {"per_run": 1}}
    system.assembler.payloads[BUNDLE] = make_payload(actions=[scores, posts])

    # Two steps, three executions of 7 thousand instructions and 5 calls, one post and four of the
    # code, 15 calls of the web.
    assert quoted(invoke, "fake")["gas"]["gas_most"] == 2 * 1000 + 3 * (7 + 5) + 1 + 4 + 15


def test_a_run_of_a_model_whose_time_has_a_price_costs_its_time_too(
    system: FakeSystem, invoke: Invoke
) -> None:
    system.gas.gas_of_time = 1

    # Ten minutes for each step.
    assert quoted(invoke, "fake")["gas"]["gas_most"] == 2 * (1000 + 600_000) + 1
    assert quoted(invoke, "fake")["gas"]["gas_least"] == 2 + 1


def test_an_action_without_a_limit_is_called_at_most_16_times_a_step(
    system: FakeSystem, invoke: Invoke
) -> None:
    action: dict[str, Json] = {
        "name": "knowledge.search",
        "program": "catalogue:knowledge.search",
        "approval": "allow",
        "required": False,
        "limits": {},
    }
    system.assembler.payloads = {BUNDLE: make_payload(actions=[action])}

    assert quoted(invoke, "fake")["gas"]["gas_most"] == 2 * 1000 + 2 * 16


def test_an_action_that_is_denied_costs_nothing(system: FakeSystem, invoke: Invoke) -> None:
    action: dict[str, Json] = {"name": "board.post", "approval": "deny"}
    system.assembler.payloads = {BUNDLE: make_payload(actions=[action])}

    assert quoted(invoke, "fake")["gas"]["gas_most"] == 2 * 1000


def test_a_manifest_is_assembled_before_it_is_quoted(
    system: FakeSystem, invoke: Invoke, manifest: Path
) -> None:
    assert quoted(invoke, str(manifest))["account"] == "agents/fake"
    assert len(system.assembler.requests) == 1


def test_an_agent_that_is_asked_is_quoted_once_for_each_call(
    system: FakeSystem, invoke: Invoke
) -> None:
    inner = f"bundles/{'cd' * 32}"
    ask: dict[str, Json] = {
        "name": "translator.ask",
        "program": f"agent:{inner}",
        "approval": "allow",
        "required": False,
        "limits": {"per_run": 3},
    }
    system.assembler.payloads = {
        BUNDLE: make_payload(actions=[ask]),
        inner: make_payload(actions=[], agent={"name": "translator"}),
    }

    assert quoted(invoke, "fake")["gas"]["gas_most"] == 2000 + 3 * 2000


def test_a_quote_shows_what_it_assumes(system: FakeSystem, invoke: Invoke) -> None:
    output = invoke("gas", "quote", "fake").stdout

    assert "the mean of 5" in output
    assert "0.002001 USD" in output


def test_a_quote_above_the_budget_says_so(system: FakeSystem, invoke: Invoke) -> None:
    system.assembler.payloads = {BUNDLE: make_payload(budget={"gas": 9, "period": "day"})}

    assert "allows 9 gas (day)" in invoke("gas", "quote", "fake").stdout


def test_a_quote_above_the_limit_of_a_run_says_so(system: FakeSystem, invoke: Invoke) -> None:
    system.assembler.payloads = {BUNDLE: make_payload(limits={"steps": 2, "gas": 9})}

    assert "allows 9 gas a run" in invoke("gas", "quote", "fake").stdout


def test_an_agent_that_nobody_assembled_is_told_with_the_way_out(
    system: FakeSystem, invoke: Invoke
) -> None:
    result = invoke("gas", "quote", "nobody")

    assert result.exit_code == 2
    assert "agent.yaml" in result.stderr


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[" * 100_000,
        b"[]",
        canonical_json({"format": "other"}),
        make_payload(model={}),
        make_payload(actions=["board.post"]),
        make_payload(limits={"steps": 2**40}),
    ],
    ids=range(7),
)
def test_a_bundle_that_cannot_be_read_is_refused(
    system: FakeSystem, invoke: Invoke, payload: bytes
) -> None:
    system.assembler.payloads = {BUNDLE: payload}

    result = invoke("gas", "quote", "fake")

    assert result.exit_code == 2
    assert "BUNDLE_INVALID" in result.stderr


# --- Budgets and tenants -------------------------------------------------------------------------


def budget_set(system: FakeSystem) -> pb.Budget:
    (request,) = system.gas.requests
    assert isinstance(request, pb.SetBudgetRequest)
    return request.budget


def test_a_budget_is_set_in_the_name_of_the_operator(system: FakeSystem, invoke: Invoke) -> None:
    invoke("gas", "budget", "set", "fake", "50_000", "--per", "hour", "--zone", BERLIN)

    assert budget_set(system) == pb.Budget(
        account="agents/fake",
        origin=pb.Budget.ORIGIN_OPERATOR,
        period=pb.Budget.PERIOD_HOUR,
        gas_limit=50_000,
        time_zone=BERLIN,
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--window", "36h"), "in the last 36h;"),
        (("--per", "total"), "in total;"),
        (("--zone", BERLIN), f"a day in {BERLIN};"),
    ],
)
def test_a_budget_that_was_set_is_told_in_a_sentence(
    system: FakeSystem, invoke: Invoke, options: tuple[str, ...], words: str
) -> None:
    assert f"allows 5 gas {words}" in invoke("gas", "budget", "set", "fake", "5", *options).stdout


def test_a_sliding_budget_has_a_window(system: FakeSystem, invoke: Invoke) -> None:
    invoke("gas", "budget", "set", "tenants/lab", "5", "--window", "36h", "--soft")

    budget = budget_set(system)
    assert budget.account == "tenants/lab"
    assert budget.period == pb.Budget.PERIOD_SLIDING
    assert budget.window.ToTimedelta().total_seconds() == 36 * 3600
    assert budget.soft


def test_a_budget_can_be_for_one_run_and_one_item(system: FakeSystem, invoke: Invoke) -> None:
    run = "3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b"

    invoke(
        "gas", "budget", "set", "fake", "5", "--run", run, "--item", "model openai/*", "--id", "x"
    )

    budget = budget_set(system)
    assert (budget.run, budget.item, budget.id) == (f"runs/{run}", "model openai/*", "x")


@pytest.mark.parametrize(
    "options",
    [("--window", "7d", "--per", "day"), ("--window", "7 days"), ("--window", "-1h")],
    ids=" ".join,
)
def test_a_window_that_is_none_is_refused(
    system: FakeSystem, invoke: Invoke, options: tuple[str, ...]
) -> None:
    assert invoke("gas", "budget", "set", "fake", "5", *options).exit_code == 2
    assert not system.gas.requests


@pytest.mark.parametrize("gas", ["many", "1e6", "1.5", "", str(2**63)])
def test_gas_that_is_no_whole_number_is_refused(
    system: FakeSystem, invoke: Invoke, gas: str
) -> None:
    assert invoke("gas", "budget", "set", "fake", gas).exit_code == 2


def test_a_list_of_budgets_has_those_of_the_tenant(system: FakeSystem, invoke: Invoke) -> None:
    name = "tenants/default/budgets/operator.default"
    system.gas.budgets["tenants/default"] = [pb.Budget(name=name, gas_limit=9)]

    assert name in invoke("gas", "budget", "list", "fake").stdout


def test_a_list_without_budgets_teaches_how_to_set_one(system: FakeSystem, invoke: Invoke) -> None:
    system.gas.budgets["agents/fake"] = []

    assert "gas budget set fake 100000" in invoke("gas", "budget", "list", "fake").stdout


def test_a_budget_shows_how_far_it_is_used(system: FakeSystem, invoke: Invoke) -> None:
    budget = pb.Budget(
        name="agents/fake/budgets/operator.default",
        period=pb.Budget.PERIOD_SLIDING,
        gas_limit=200,
        gas_spent=130,
        soft=True,
    )
    budget.window.FromSeconds(7 * 86_400)
    system.gas.budgets["agents/fake"] = [budget]

    line = invoke("gas", "budget", "list", "fake").stdout.splitlines()[1]

    words = ["fake/budgets/operator.default", "last 7d", "everything", "200 (soft)", "130", "65 %"]
    assert re.split(" {2,}", line.strip()) == words


def test_a_budget_is_deleted_by_the_name_in_the_list(system: FakeSystem, invoke: Invoke) -> None:
    invoke("gas", "budget", "delete", "fake/budgets/operator.default")

    assert system.gas.requests == [
        budgets_pb2.DeleteBudgetRequest(name="agents/fake/budgets/operator.default")
    ]


def test_an_agent_is_put_into_a_tenant(system: FakeSystem, invoke: Invoke) -> None:
    invoke("gas", "tenant", "fake", "lab")

    assert system.gas.requests == [
        budgets_pb2.SetTenantRequest(account="agents/fake", tenant="tenants/lab")
    ]


def test_the_tenant_of_an_agent_is_shown_without_a_change(
    system: FakeSystem, invoke: Invoke
) -> None:
    assert "tenants/default" in invoke("gas", "tenant", "fake").stdout
    assert not system.gas.requests
