"""Makes of the runner what is kept as its snapshot: imported once, when `build.py` builds it.

What a cold call takes is mostly the pages of the snapshot that it writes to.
"""

from __future__ import annotations

import array
import gc
import json
import random
import sys
import types

from . import OBJECTS_MARK, runner

_PARTS_OF_CODE = ("co_consts", "co_names", "co_varnames", "co_cellvars", "co_freevars", "co_name")
_FILLINGS_MAX = 100_000
_ROW = 16
# As often as makes the interpreter specialize what it executes.
_REHEARSALS = 24
_REHEARSAL = """\
from __future__ import annotations
from actionvm_sdk import CallError, Context, action

@action(capabilities=["a.b"])
def play(ctx: Context, text: str, raises: bool, limit: int = 5) -> dict[str, int]:
    ctx.log(text)
    print(text, ctx.now())
    ctx.call("a.b", text=text)
    if raises:
        raise ValueError(text)
    return {"length": len(text) * limit}
"""


class _Nobody:
    """A host that answers to the rehearsal."""

    def ask(self, _calls: str) -> str:
        return '[{"value": {}, "reason": "", "message": ""}]'

    def log(self, text: str) -> None:
        pass

    def now(self) -> float:
        return 0.0


def _rehearse() -> None:
    """Do what calls do, until Python has learnt it: instances then share those pages."""
    world, kept = runner.WitWorld(), (sys.stdout, sys.stderr, list(sys.meta_path))
    compiled = ""
    for _ in range(_REHEARSALS):
        compiled = json.loads(world.compile(json.dumps({"rehearsal.py": _REHEARSAL})))["code"]
    for number in range(_REHEARSALS):
        # Once, it also fails.
        arguments = {"text": "a", "raises": number == 0}
        call = {"action": "play", "arguments": arguments, "seed": 1}
        played = runner.execute(_Nobody(), compiled, "rehearsal.py", json.dumps(call))
    assert played == '{"value": {"length": 5}}', played
    sys.stdout, sys.stderr, sys.meta_path[:] = kept
    del sys.modules["rehearsal"]


def _objects() -> bytes:
    """Return the addresses of all objects, each with that of its type, between two marks."""
    found: list[object] = gc.get_objects()
    seen: dict[int, object] = {}
    while found:
        one = found.pop()
        if id(one) not in seen:
            seen[id(one)] = one
            found += gc.get_referents(one)
            if isinstance(one, types.CodeType):
                # The collector does not look into them.
                found += [getattr(one, name) for name in _PARTS_OF_CODE]
    pairs = (number for at, one in seen.items() for number in (at, id(type(one))))
    return OBJECTS_MARK + array.array("I", [len(seen), *pairs]).tobytes() + OBJECTS_MARK


def _fill_holes() -> list[bytes | None]:
    """Take all that was freed in small pieces; return what must be kept.

    Otherwise each object of a call would lie in another page, which the instance has to copy.
    """
    fillings: list[bytes | None] = [None] * _FILLINGS_MAX
    count = 0
    for size in (*range(4_096, 512, -64), *range(512, 8, -8)):
        row, before = 0, 0
        while row < _ROW and count < _FILLINGS_MAX:
            filling = bytes(size)
            # In a row they come from one large piece, which may stay.
            row = row + 1 if 0 < id(filling) - before < size + 64 else 0
            fillings[count] = filling
            before = id(filling)
            count += 1
        for number in range(count - row, count):
            fillings[number] = None
        count -= row
    return fillings


_rehearse()
# componentize-py calls it before the first call: 2,500 bytes would be handed over one by one.
random.seed = lambda *_, **__: None  # until `execute`
gc.collect()
_listed = _objects()
_kept = _fill_holes()
# Pages that the collector never touches again stay shared between instances.
gc.freeze()
