"""What a run looks like in words: one line for each event, and the receipt as a table."""

from __future__ import annotations

import time
from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from actionvm.action.v1 import action_pb2
from actionvm.assembler.v1 import assembler_pb2
from actionvm.runtime.v1 import runtime_pb2

from .meters import meter_words
from .output import clean, table

# Enough to recognise it; --json has all of it.
TEXT_LENGTH_MAX = 240
INDENT = 4

STATE_STYLES = {
    runtime_pb2.Run.STATE_SUCCEEDED: "bold green",
    runtime_pb2.Run.STATE_FAILED: "bold red",
    runtime_pb2.Run.STATE_CANCELLED: "bold yellow",
}


def state_text(state: runtime_pb2.Run.State.ValueType) -> Text:
    """Return the state of a run in colour."""
    name = runtime_pb2.Run.State.Name(state).removeprefix("STATE_").lower()
    return Text(name, STATE_STYLES.get(state, "cyan"))


def time_text(moment: Timestamp) -> str:
    """Return a time to the second."""
    return f"{moment.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"


def age_text(since: Timestamp) -> str:
    """Return how long ago something was, in one unit."""
    seconds = max(0, round(time.time() - since.ToSeconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def describe_progress(progress: assembler_pb2.Progress) -> Text:
    """Return one stage of an assembly."""
    name = assembler_pb2.Stage.Name(progress.stage).removeprefix("STAGE_").lower()
    return _line(name, progress.detail)


def describe_assembly(assembly: assembler_pb2.Assembly) -> Text:
    """Return what was assembled."""
    # Without its prefix, so that the digest fits into a line of 80 columns.
    digest = assembly.bundle.name.removeprefix("bundles/")
    price = _line("price", f"at most {assembly.step_gas_max} gas a step")
    return Text("\n").join([_line("bundle", digest), price])


def describe_event(event: runtime_pb2.WatchRunResponse) -> Text | None:
    """Return the line of one event; None for those that are no news to a person."""
    match event.WhichOneof("event"):
        case "started":
            dry_run = "as a dry run: nothing is changed outside"
            return _line("started", dry_run if event.started.dry_run else "")
        case "retrieved":
            documents = ", ".join(name.rpartition("/")[2] for name in event.retrieved.documents)
            return _line("knowledge", documents or "nothing fits the input")
        case "generated":
            return _describe_generation(event.generated)
        case "decided":
            return _describe_decision(event.decided)
        case "unsent":
            return _line("unsent", f"{event.unsent.call_id} has not happened")
        case "unknown":
            text = f"{event.unknown.call_id} may have happened; looking for it"
            return _line("unknown", text)
        case "drafted":
            return _line("drafted", f"{event.drafted.call_id} is laid down")
        case "sent":
            run = event.sent.run
            way = f"is answered by {run}" if run else "is on its way"
            return _line("sent", f"{event.sent.call_id} {way}")
        case "acted":
            acted = event.acted
            style = "red" if acted.failed else "green"
            outcome = f"{acted.action} {'failed' if acted.failed else 'done'} ({acted.gas} gas): "
            return _line("result", outcome + _shorten(acted.result), style)
        case _:
            return _describe_waiting(event) or _describe_saying(event)


def gas_of(event: runtime_pb2.WatchRunResponse) -> int:
    """Return what the step that an event tells of has cost."""
    match event.WhichOneof("event"):
        case "generated":
            return event.generated.gas
        case "acted":
            return event.acted.gas
        case _:
            return 0


def render_end(finished: runtime_pb2.RunFinished) -> RenderableType:
    """Return the answer, or why there is none."""
    if finished.state == runtime_pb2.Run.STATE_SUCCEEDED:
        return Group(Text("answer", "bold"), Text(clean(finished.answer)))
    lines = [state_text(finished.state)]
    if finished.HasField("failure"):
        failure = finished.failure
        lines.append(Text(clean(f"{failure.reason}: {failure.message}"), "red"))
    return Group(*lines)


def render_receipt(receipt: action_pb2.Receipt, flaw: str, depth: int = 0) -> RenderableType:
    """Return the bill line by line; `flaw` is what is wrong with it, empty if it was verified.

    Those of runs that were called stand further to the right.
    """
    rows = [
        (str(charge.line), charge.item, describe_usages(charge.usages), str(charge.gas))
        for charge in receipt.charges
    ]
    rows.append(("", "total", "", str(receipt.total_gas)))
    verdict = (
        Text(f"✗ not verified: {flaw}", "bold red")
        if flaw
        else Text("✓ signature verified with keys/receipts", "green")
    )
    bill = table("line", "item", "used", "gas", rows=rows, right=("line", "gas"))
    agent = receipt.account.removeprefix("agents/")
    title = f"receipt of {agent} for the run above" if depth else "receipt"
    run = [Text(clean(receipt.run))] if depth else []
    whole = Group(Text(clean(title), "bold"), *run, bill, verdict)
    return Padding(whole, (1 if depth else 0, 0, 0, INDENT * depth), expand=False)


def describe_usages(usages: Iterable[action_pb2.Usage]) -> str:
    """Return amounts in words, such as `1 connector call`."""
    return ", ".join(_describe_usage(usage) for usage in usages)


def _describe_usage(usage: action_pb2.Usage) -> str:
    words = meter_words(usage.meter)
    return f"{usage.amount} {words.removesuffix('s') if usage.amount == 1 else words}"


def _describe_waiting(event: runtime_pb2.WatchRunResponse) -> Text | None:
    """Return the line of an event that makes a call wait, or ends that."""
    match event.WhichOneof("event"):
        case "awaited":
            awaited = event.awaited
            name = awaited.approval.removeprefix("approvals/")
            way = f"approve {name}" if name else "list"
            told = f"for a person ({awaited.rule}): actionvm approvals {way}"
            return _line("waits", told, "yellow")
        case "approved":
            verb = "allowed" if event.approved.allows else "denied"
            return _line("decided", f"{event.approved.who} has {verb} {event.approved.call_id}")
        case "slept":
            signal = f" or the signal {event.slept.signal}" if event.slept.signal else ""
            return _line("sleeps", f"until {time_text(event.slept.until)}{signal}")
        case "asked":
            calls = (f"{call.action} {_shorten(call.arguments)}" for call in event.asked.calls)
            return _line("asks", ", ".join(calls))
        case "executed":
            return _describe_execution(event.executed)
        case _:
            return None


def _describe_execution(executed: runtime_pb2.CodeExecuted) -> Text:
    """Return the lines of an execution, those that its code wrote below its own."""
    words = f"{executed.reason.lower().replace('_', ' ') or 'ended'} ({executed.fuel:,} fuel)"
    lines = [_line("code", words, "red" if executed.reason else "")]
    lines += [_line("", f"│ {line}", "dim") for line in executed.logs]
    if executed.logs_dropped:
        lines.append(_line("", f"│ … and {executed.logs_dropped} more lines", "dim"))
    return Text("\n").join(lines)


def _describe_saying(event: runtime_pb2.WatchRunResponse) -> Text | None:
    """Return the line of what somebody outside has said."""
    match event.WhichOneof("event"):
        case "cancel_requested":
            return _line("cancel", "was asked for", "yellow")
        case "pause_requested":
            return _line("pause", "was asked for; nothing new begins", "yellow")
        case "resume_requested":
            return _line("resume", "was asked for")
        case "signalled":
            return _line("signal", f"{event.signalled.signal} {_shorten(event.signalled.payload)}")
        case _:
            return None


def _describe_generation(generated: runtime_pb2.GenerationFinished) -> Text:
    calls = ", ".join(f"{call.action} {_shorten(call.arguments)}" for call in generated.calls)
    said = _shorten(generated.text)
    outcome = " ".join(part for part in (said, f"→ {calls}" if calls else "") if part)
    return _line(f"step {generated.step}", f"({generated.gas} gas) {outcome}")


def _describe_decision(decided: runtime_pb2.ActionDecided) -> Text:
    decision = runtime_pb2.ActionDecided.Decision
    name = decision.Name(decided.decision).removeprefix("DECISION_").lower().replace("_", " ")
    style = "green" if decided.decision == decision.Value("DECISION_ALLOW") else "yellow"
    rule = f" ({decided.rule})" if decided.rule else ""
    return _line("decision", f"{name} {decided.call.action}{rule}", style)


def _line(name: str, detail: str, style: str = "") -> Text:
    return Text.assemble((f"{name:<10} ", "bold cyan"), (clean(detail), style))


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= TEXT_LENGTH_MAX else f"{text[:TEXT_LENGTH_MAX]}…"
