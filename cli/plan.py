"""What a run of a bundle may do at least and at most, so that it can be priced before it starts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import prices_pb2

from .errors import CommandError

FORMAT = "actionvm.bundle/v1"
# The runtime takes no more calls from one step; the contract of a quote counts so far.
STEP_CALLS_MAX = 16
CALLS_MAX = 10_000
# Where time has a price, the linker holds so much of it for each generation, and charges no more.
MILLISECONDS_MAX = 10 * 60 * 1_000

Meter = action_pb2.Usage


@dataclass(frozen=True)
class Asked:
    """Another agent that a run may ask, at least and at most so often."""

    name: str
    bundle: str
    count_least: int
    count_most: int

    @property
    def count_likely(self) -> int:
        """Return the middle, rounded up, as quotes of the gas system take it."""
        return (self.count_least + self.count_most + 1) // 2


@dataclass(frozen=True)
class Plan:
    """Everything that a run may pay for."""

    account: str
    calls: tuple[prices_pb2.PlannedCall, ...]
    asked: tuple[Asked, ...]
    # Of a run and of the period of its agent; what needs more fails.
    run_gas: int
    budget_gas: int
    budget_period: str

    @property
    def model(self) -> prices_pb2.PlannedCall:
        """Return the generations."""
        return self.calls[0]


def read_plan(payload: bytes) -> Plan:
    """Return the plan of a bundle, whose form is in docs/architecture.md."""
    try:
        return _plan(json.loads(payload))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise CommandError(
            f"the bundle cannot be read: {error}",
            reason="BUNDLE_INVALID",
            field="PROGRAM",
            fix="assemble it again: actionvm assemble FILE",
        ) from error


def with_time(plan: Plan) -> Plan:
    """Return the same plan for a model whose time has a price."""
    model = prices_pb2.PlannedCall()
    model.CopyFrom(plan.model)
    model.usages.add(meter=Meter.METER_INFERENCE_MILLISECONDS, most=MILLISECONDS_MAX)
    return replace(plan, calls=(model, *plan.calls[1:]))


def _plan(bundle: Any) -> Plan:  # noqa: ANN401  # JSON that the assembler made
    if bundle["format"] != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    steps = int(bundle["limits"]["steps"])
    # An action may be called by the model, and by the code of several others.
    counts: dict[str, tuple[int, int]] = {}
    code: list[prices_pb2.PlannedCall] = []
    asked: list[Asked] = []
    for action, least, most in _performed(bundle["actions"], steps):
        name = action["name"]
        origin, _, program = action["program"].partition(":")
        if origin == "agent":
            asked.append(Asked(name.removesuffix(".ask"), program, least, most))
        elif origin == "code":
            code.append(_code_call(action, least, most))
        else:
            before = counts.get(name, (0, 0))
            counts[name] = (before[0] + least, min(before[1] + most, CALLS_MAX))
    calls = [_model_call(bundle["model"], steps)]
    calls += [_connector_call(name, least, most) for name, (least, most) in counts.items()]
    calls += code
    return Plan(
        account=f"agents/{bundle['agent']['name']}",
        calls=tuple(calls),
        asked=tuple(asked),
        run_gas=int(bundle["limits"].get("gas") or bundle["budget"]["gas"]),
        budget_gas=int(bundle["budget"]["gas"]),
        budget_period=str(bundle["budget"]["period"]),
    )


def _performed(actions: Any, steps: int) -> Iterator[tuple[Any, int, int]]:  # noqa: ANN401  # as above
    """Yield what may be done, at least and at most so often; also what code was granted."""
    for action in actions:
        if action["approval"] == "deny":
            continue
        most = min(_per_run(action), STEP_CALLS_MAX * steps, CALLS_MAX)
        yield action, 1 if action["required"] else 0, most
        code = action.get("code")
        for grant in code["grants"] if code else ():
            if grant["approval"] != "deny":
                host_calls = most * int(code["limits"]["host_calls"])
                yield grant, 0, min(_per_run(grant), host_calls, CALLS_MAX)


def _per_run(action: Any) -> int:  # noqa: ANN401  # as above
    return int(action["limits"].get("per_run") or CALLS_MAX)


def _connector_call(name: str, least: int, most: int) -> prices_pb2.PlannedCall:
    usage = prices_pb2.UsageRange(meter=Meter.METER_CONNECTOR_CALLS, least=1, most=1)
    item = f"action {name}"
    return prices_pb2.PlannedCall(item=item, count_least=least, count_most=most, usages=[usage])


def _code_call(action: Any, least: int, most: int) -> prices_pb2.PlannedCall:  # noqa: ANN401  # as above
    limits = action["code"]["limits"]
    usages = [
        # By the thousand instructions.
        prices_pb2.UsageRange(
            meter=Meter.METER_SANDBOX_FUEL, least=1, most=limits["fuel"] // 1_000
        ),
        prices_pb2.UsageRange(meter=Meter.METER_HOST_CALLS, least=0, most=limits["host_calls"]),
    ]
    item = f"code {action['name']}"
    return prices_pb2.PlannedCall(item=item, count_least=least, count_most=most, usages=usages)


def _model_call(model: Any, steps: int) -> prices_pb2.PlannedCall:  # noqa: ANN401  # as above
    """Return the generations: at least one, at most one for each step."""
    context, written = int(model["context_tokens"]), int(model["tokens_max"])
    if context <= 0:
        raise CommandError(
            f"nobody knows how much model {model['name']} reads at most",
            reason="QUOTE_UNBOUNDED",
            field="spec.model",
            fix="price one call: actionvm gas quote 'model …' --usage input_tokens=8000",
        )
    read = max(1, context - written)
    usages = [
        prices_pb2.UsageRange(meter=Meter.METER_INPUT_TOKENS, least=1, most=read),
        prices_pb2.UsageRange(meter=Meter.METER_OUTPUT_TOKENS, least=1, most=written),
    ]
    item = f"model {model['name']}"
    return prices_pb2.PlannedCall(item=item, count_least=1, count_most=steps, usages=usages)
