"""Where two runs part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import unified_diff
from itertools import zip_longest

from .encoding import encode
from .facts import EffectDrafted, EffectSent, Event, RunFinished, RunStarted
from .journal.port import Record

# Of the difference that people read.
LINES_MAX = 200


@dataclass(frozen=True)
class Parting:
    """The first place where two journals differ; one may have ended before it."""

    sequence: int
    left: Record | None
    right: Record | None
    difference: str


def compare(left: Sequence[Record], right: Sequence[Record]) -> Parting | None:
    """Return where two runs part; None if they went the same way.

    Their names, times and bills are their own: they are no difference.
    """
    for number, (one, other) in enumerate(zip_longest(left, right), start=1):
        texts = _text(one), _text(other)
        if texts[0] != texts[1]:
            lines = unified_diff(texts[0], texts[1], "left", "right", n=3, lineterm="")
            return Parting(number, one, other, "\n".join([*lines][:LINES_MAX]))
    return None


def _text(record: Record | None) -> list[str]:
    if record is None:
        return []
    kind, fact = encode(_without_identity(record.event))
    return [kind, *json.dumps(json.loads(fact), indent=1, ensure_ascii=False).splitlines()]


def _without_identity(event: Event) -> Event:
    match event:
        case RunStarted():
            return replace(event, callers=(), origin="")
        case EffectSent():
            run = "called" if event.run else ""
            return replace(event, idempotency_key="", run=run, time=None)
        case EffectDrafted():
            return replace(event, draft="")
        case RunFinished():
            receipt = replace(event.receipt, run="", sha256="", size_bytes=0, signature=None)
            return replace(event, receipt=receipt)
        case _:
            return event
