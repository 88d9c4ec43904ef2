"""Manifests whose workflow is wrong: what to replace by what, and what comes of it."""

from __future__ import annotations

from assembler.problems import Code
from chassis.problems import Flaw

from .broken import Broken
from .workbench import MANIFEST

WORKFLOW = """\
  workflow:
    steps:
      - {id: find, action: knowledge.search, with: {query: {from: input}}}
      - id: write
        model: Write it.
        with: {facts: {from: steps.find.output}}
        when: input.urgent
      - id: post
        action: board.post
        with: {text: {from: steps.write.output.text}}
        after: [find]
        on_failure: {retry: 1, then: continue, default: none}
    output: steps.write.output.text
"""
MANIFEST_OF_STEPS = MANIFEST + WORKFLOW
_STEPS = "spec.workflow.steps"
_ROWS = [
    ("a step that does nothing", "        model: Write it.\n", "", Code.STEP_EMPTY, 26, 9, "[1]"),
    ("an action of nobody", "action: board.post", "action: board.pst", Code.ACTION_UNKNOWN, 31, 17,
     "[2].action"),
    ("an id that comes twice", "id: post", "id: write", Flaw.DUPLICATE_ITEM, 30, 13, "[2].id"),
    ("a bad id", "id: post", "id: Post-it", Flaw.INVALID_VALUE, 30, 13, "[2].id"),
    ("a step that is not there", "after: [find]", "after: [fnd]", Code.STEP_NOT_FOUND, 33, 17,
     "[2].after[0]"),
    ("a step that needs a later one", "from: steps.find.output}", "from: steps.post.output}",
     Code.STEP_CYCLE, 28, 30, "[1].with.facts.from"),
    ("a step that needs itself", "from: steps.write.output.text}", "from: steps.post.output}",
     Code.STEP_CYCLE, 32, 29, "[2].with.text.from"),
    ("a projection", "when: input.urgent", "when: 'input[*].a'", Code.EXPRESSION_INVALID, 29, 15,
     "[1].when"),
    ("a name of nothing", "when: input.urgent", "when: urgent", Code.EXPRESSION_INVALID, 29, 15,
     "[1].when"),
    ("a step that never happens", "when: input.urgent", "when: '`false`'", Code.STEP_NEVER, 29, 15,
     "[1].when"),
    ("an argument of nobody", "query: {from: input}", "query: {from: input}, more: 1",
     Code.STEP_ARGUMENT, 25, 75, "[0].with.more"),
    ("a value of another type", "text: {from: steps.write.output.text}", "text: 7",
     Code.STEP_ARGUMENT, 32, 22, "[2].with.text"),
    ("an item without a list", "query: {from: input}", "query: {from: item}",
     Code.EXPRESSION_INVALID, 25, 67, "[0].with.query.from"),
    ("a model that is repeated", "when: input.urgent", "each: input", Flaw.CONTRADICTION, 29, 15,
     "[1].each"),
    ("an undoing of nobody", "after: [find]", "undo: {action: rm}", Code.ACTION_UNKNOWN, 33, 24,
     "[2].undo.action"),
    ("an undoing without its input", "after: [find]", "undo: {action: board.post}",
     Code.STEP_ARGUMENT, 33, 9, "[2].undo.with.text"),
    ("a repetition about a later step", "with: {query: {from: input}}}",
     "with: {query: {from: input}}, repeat: {until: steps.post.output, most: 2}}",
     Code.STEP_CYCLE, 25, 92, "[0].repeat.until"),
    ("too many repetitions", "after: [find]", "repeat: {until: input, most: 101}",
     Flaw.OUT_OF_RANGE, 33, 38, "[2].repeat.most"),
    ("items that are to be undone", "after: [find]",
     "each: input\n        undo: {action: board.post, with: {text: no}}", Flaw.CONTRADICTION,
     34, 15, "[2].undo"),
    ("too many retries", "retry: 1", "retry: 11", Flaw.OUT_OF_RANGE, 34, 29,
     "[2].on_failure.retry"),
    ("a wait that is too long", "retry: 1", "retry: 1, backoff: 2h", Flaw.OUT_OF_RANGE, 34, 41,
     "[2].on_failure.backoff"),
    ("a retry after the end", "retry: 1", "retry: 1, backoff: 1h", Code.STEP_LATE, 34, 41,
     "[2].on_failure.backoff"),
    ("a field that no output has", "steps.write.output.text}", "steps.write.output.txt}",
     Code.STEP_OUTPUT, 32, 29, "[2].with.text.from"),
    ("a field of a text", "output: steps.write.output.text", "output: steps.write.output.text.a",
     Code.STEP_OUTPUT, 35, 13, "spec.workflow.output"),
    ("an item of an object", "from: steps.find.output}", "from: 'steps.find.output[0]'}",
     Code.STEP_OUTPUT, 28, 30, "[1].with.facts.from"),
    ("a condition about nothing", "when: input.urgent", "when: steps.find.output.passage",
     Code.STEP_OUTPUT, 29, 15, "[1].when"),
    ("a number for a text", "from: steps.write.output.text}",
     "from: 'steps.find.output.passages[0].score'}", Code.STEP_ARGUMENT, 32, 29,
     "[2].with.text.from"),
    ("items of an object", "after: [find]", "each: steps.find.output", Code.STEP_ARGUMENT, 33, 15,
     "[2].each"),
    ("a field that no item has", "after: [find]",
     "each: steps.find.output.passages\n        repeat: {until: item.none, most: 2}",
     Code.STEP_OUTPUT, 34, 25, "[2].repeat.until"),
    ("an undoing that uses what is not there", "after: [find]",
     "undo: {action: board.post, with: {text: {from: steps.find.output.id}}}", Code.STEP_OUTPUT,
     33, 56, "[2].undo.with.text.from"),
    ("a schema with a pattern", "when: input.urgent", "output: {type: object, pattern: a}",
     Code.SCHEMA_INVALID, 29, 41, "[1].output.pattern"),
    ("an answer of another type", "model: Write it.\n",
     "model: Write it.\n        output: {type: object, properties: {text: {type: integer}}}\n",
     Code.STEP_ARGUMENT, 33, 29, "[2].with.text.from"),
    ("an answer that is no object", "when: input.urgent", "output: {type: string}",
     Code.SCHEMA_INVALID, 29, 24, "[1].output.type"),
    ("an action that is told what to fit", "after: [find]", "output: {type: object}",
     Flaw.CONTRADICTION, 33, 9, "[2].output"),
    ("a model that is tried again for nothing", "when: input.urgent", "on_failure: {retry: 1}",
     Flaw.CONTRADICTION, 29, 21, "[1].on_failure"),
    ("a model that waits", "when: input.urgent",
     "output: {type: object}\n        on_failure: {retry: 1, backoff: 1s}",
     Flaw.CONTRADICTION, 30, 41, "[1].on_failure.backoff"),
    ("a wait before nothing", "retry: 1", "backoff: 10s", Flaw.CONTRADICTION, 34, 31,
     "[2].on_failure.backoff"),
]  # fmt: skip
WORKFLOWS = [
    Broken(
        name,
        MANIFEST_OF_STEPS.replace(old, new, 1),
        code,
        line,
        column,
        _STEPS + field if field.startswith("[") else field,
    )
    for name, old, new, code, line, column, field in _ROWS
]
