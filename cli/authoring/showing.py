"""Shows trials: a table of cases, what differs, and the lines that an exception came through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from chassis.canonical import Json
from sandbox.outcome import Outcome

from ..output import clean, table
from .cases import Case
from .differences import Difference, shown
from .flaws import column_of, path_of, render_line
from .sources import Authored
from .trials import Trial

_STYLES = {"-": "red", "+": "green", "@": "cyan"}


def cases_table(cases: Sequence[Case], trials: Sequence[Trial]) -> Table:
    """Return a row for each case."""
    rows = [
        (
            Text("✗", "bold red") if one.differences else Text("✓", "green"),
            case.name,
            case.action,
            str(one.calls),
            f"{one.outcome.fuel:,}",
            f"{one.gas:,}",
            _time_text(one.seconds),
        )
        for case, one in zip(cases, trials, strict=True)
    ]
    columns = ("", "case", "action", "calls", "fuel", "gas", "time")
    return table(*columns, rows=rows, right=("calls", "fuel", "gas", "time"))


def render_failure(authored: Authored, case: Case, trial: Trial) -> RenderableType:
    """Return what differs in a case, what it failed of, and what it wrote."""
    parts: list[RenderableType] = [Text(f"\n✗ {clean(case.name)}", "bold red")]
    for one in trial.differences:
        parts += _render_difference(one)
    if trial.outcome.reason:
        parts.append(render_ending(authored, trial.outcome))
    if trial.outcome.logs:
        logs = [f"  {line}" for line in trial.outcome.logs]
        parts += [Text("  log", "bold"), *_indented(logs)]
    return Group(*parts)


def render_ending(authored: Authored, outcome: Outcome) -> RenderableType:
    """Return how an execution failed, with the lines of the author only."""
    lines: list[Text] = []
    for frame in outcome.frames:
        column = column_of(authored, frame.file, frame.line, frame.column)
        place = f"{path_of(authored, frame.file)}:{frame.line}:{column}"
        lines.append(Text(clean(f"  {place} in {frame.function}")))
        lines += render_line(authored, frame.file, frame.line, column)
    lines.append(Text(clean(f"  {outcome.reason}: {outcome.message}"), "bold"))
    return Group(*lines)


def render_trial(authored: Authored, trial: Trial) -> RenderableType:
    """Return what came of one execution."""
    outcome = trial.outcome
    parts: list[RenderableType] = []
    if outcome.logs:
        parts += [Text("log", "bold"), *_indented(outcome.logs)]
    if outcome.logs_dropped:
        parts.append(Text(f"  … {outcome.logs_dropped} more lines"))
    for one in trial.differences:
        parts += _render_difference(one)
    if outcome.reason:
        parts += [Text("failed", "bold red"), render_ending(authored, outcome)]
    else:
        parts += [Text("result", "bold"), *_indented(shown(outcome.value))]
    cost = f"{outcome.fuel:,} fuel, {trial.gas:,} gas, {_time_text(trial.seconds)}"
    return Group(*parts, Text(cost, "dim"))


def trial_to_json(trial: Trial) -> dict[str, Json]:
    """Return a trial for programs."""
    outcome = trial.outcome
    failure: Json = None
    if outcome.reason:
        frames = [asdict(frame) for frame in outcome.frames]
        failure = {"reason": outcome.reason, "message": outcome.message, "frames": frames}
    return {
        "result": outcome.value,
        "failure": failure,
        "logs": [*outcome.logs],
        "logs_dropped": outcome.logs_dropped,
        "calls": trial.calls,
        "differences": [
            {"about": one.about, "expected": [*one.expected], "actual": [*one.actual]}
            for one in trial.differences
        ],
        "fuel": outcome.fuel,
        "gas": trial.gas,
        "milliseconds": round(trial.seconds * 1_000, 1),
    }


def _render_difference(one: Difference) -> list[Text]:
    lines = [Text(f"  {clean(line)}", _STYLES.get(line[:1], "")) for line in one.lines()]
    legend = Text(" (- expected, + came)", "dim") if lines else Text()
    return [Text(f"  {clean(one.about)}", "bold") + legend, *lines]


def _indented(lines: Sequence[str]) -> list[Text]:
    return [Text(f"  {clean(line)}") for line in lines]


def _time_text(seconds: float) -> str:
    return f"{seconds * 1_000:.0f} ms"
