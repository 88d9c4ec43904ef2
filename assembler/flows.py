"""Checks what flows between steps: that outputs have what is used, and fit where it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chassis.draft import Draft, FieldPath
from chassis.expressions import ExpressionInvalid, Node, read_expression
from chassis.problems import clip, suggest
from chassis.schemas import flaws_of_schema

from .ports import KnownAction
from .problems import Code
from .shapes import ANY, NULL, Shape, shape_of, shape_of_schema
from .workflow import is_reference

# Of a step of the model.
_TEXT = shape_of_schema(
    {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    }
)
_BOOLEAN = Shape(frozenset({"boolean", "null"}))
_INDEX = Shape(frozenset({"integer"}))
_OBJECT = frozenset({"object"})


def check_flows(
    draft: Draft,
    steps: Sequence[FieldPath],
    output: FieldPath,
    actions: Mapping[str, KnownAction],
) -> None:
    """Report what an output never has, and what never fits where it goes; not what is unknown."""
    outputs: dict[str, Shape] = {}
    for path in steps:
        _check_step(draft, path, outputs, actions)
        if name := draft.text((*path, "id")):
            own = _own_output(draft, path, actions)
            outputs[name] = _whole_output(draft, path, own)
    _Flow(draft, outputs).shape(output)


def _check_step(
    draft: Draft,
    path: FieldPath,
    outputs: Mapping[str, Shape],
    actions: Mapping[str, KnownAction],
) -> None:
    before = _Flow(draft, outputs)
    before.shape((*path, "when"))
    given = dict[str, Shape]()
    if draft.text((*path, "each")):
        items = before.shape((*path, "each")) or ANY
        given = {"item": items.items or ANY, "index": _INDEX}
        if "array" not in items.kinds:
            message = f"is done for each item of a list, and this gives {_told(items)}"
            fix = "Use an output that is a list, or remove it."
            draft.report((*path, "each"), Code.STEP_ARGUMENT, message, fix=fix)
    own = {draft.text((*path, "id")): _own_output(draft, path, actions)}
    after = _Flow(draft, {**outputs, **own}, given)
    after.shape((*path, "repeat", "until"))
    before = _Flow(draft, outputs, given)
    for call, flow in ((path, before), ((*path, "undo"), after)):
        action = actions.get(draft.text((*call, "action")))
        arguments = draft.get((*call, "with"))
        for name, value in arguments.items() if isinstance(arguments, Mapping) else ():
            if not is_reference(value):
                continue
            source = (*call, "with", name, "from")
            found = flow.shape(source)
            if action and found:
                _check_argument(draft, source, found, action, str(name))


def _own_output(draft: Draft, path: FieldPath, actions: Mapping[str, KnownAction]) -> Shape:
    """Return what a step that has succeeded gives, for one item if it is done for each."""
    name = draft.text((*path, "action"))
    if not name:
        schema = draft.get((*path, "output"))
        if schema is None:
            return _TEXT
        is_right = isinstance(schema, Mapping) and schema.get("type") == "object"
        return shape_of_schema(schema) if is_right and not flaws_of_schema(schema) else ANY
    return shape_of_schema(actions[name].output_schema) if name in actions else ANY


def _whole_output(draft: Draft, path: FieldPath, own: Shape) -> Shape:
    """Return what later steps see of it, whatever has become of it."""
    if draft.text((*path, "on_failure", "then")) == "continue":
        own |= shape_of([draft.get((*path, "on_failure", "default"))])
    if draft.text((*path, "each")):
        own = Shape(frozenset({"array"}), items=own)
    return own | NULL if draft.text((*path, "when")) else own


def _check_argument(
    draft: Draft, path: FieldPath, found: Shape, action: KnownAction, name: str
) -> None:
    properties = action.parameters_schema.get("properties")
    schema = properties.get(name) if isinstance(properties, Mapping) else None
    wanted = shape_of_schema(schema)
    if schema is None or found.overlaps(wanted):
        return
    message = f"`{clip(name)}` of `{action.name}` takes {_told(wanted)}, and this gives"
    if found.present.kinds & wanted.kinds:
        message = f"{message} none that it takes"
    else:
        message = f"{message} {_told(found)}"
    fix = "Use another output, or let a step between make of it what fits."
    draft.report(path, Code.STEP_ARGUMENT, message, fix=fix)


class _Flow:
    """What expressions give, where outputs of steps and more are of these shapes."""

    def __init__(
        self, draft: Draft, outputs: Mapping[str, Shape], more: Mapping[str, Shape] | None = None
    ) -> None:
        self._draft = draft
        # Other steps are reported elsewhere.
        steps = Shape(_OBJECT, {name: _step(one) for name, one in outputs.items()})
        self._root = Shape(_OBJECT, {"steps": steps, **(more or {})})

    def shape(self, path: FieldPath) -> Shape | None:
        """Return what an expression gives; report it if it looks at what is never there."""
        text = self._draft.text(path)
        if not text:
            return None
        try:
            tree = read_expression(text).tree
        except ExpressionInvalid:
            return None
        found, missing = shape_of_tree(tree, self._root)
        if not missing:
            return found
        message, fix = missing[0]
        self._draft.report(path, Code.STEP_OUTPUT, message, fix=fix)
        return None


def shape_of_tree(tree: Node, root: Shape) -> tuple[Shape, list[tuple[str, str]]]:
    """Return what an expression gives of a root, and what it looks at that is never there.

    Of the latter, each with the way out.
    """
    missing: list[tuple[str, str]] = []
    return _shape(tree, root, "", missing), missing


def _step(output: Shape) -> Shape:
    return Shape(_OBJECT, {"output": output}, frozenset({"output"}), is_closed=True)


def _shape(node: Node, here: Shape, place: str, missing: list[tuple[str, str]]) -> Shape:
    """Return what a part of an expression gives of `here`, which is at a `place`."""
    match node.kind:
        case "literal":
            return shape_of([node.value])
        case "field":
            _check_field(str(node.value), here, place, missing)
            return here.field(str(node.value))
        case "index":
            _check_index(here, place, missing)
            return here.item
        case "subexpression" | "index_expression" | "identity":
            for child in node.children:
                here = _shape(child, here, place, missing)
                place += _text(child)
            return here
        case "or_expression":
            one, other = (_shape(child, here, place, missing) for child in node.children)
            return one.true | other
        case "and_expression":
            one, other = (_shape(child, here, place, missing) for child in node.children)
            return one.false | other
        case _:
            # Comparisons, and what is not so.
            for child in node.children:
                _shape(child, here, place, missing)
            return _BOOLEAN


def _check_index(here: Shape, place: str, missing: list[tuple[str, str]]) -> None:
    if here.present.kinds and "array" not in here.kinds:
        message = f"`{clip(place.lstrip('.'))}` is {_told(here)}, and has no items"
        missing.append((message, "Remove the index."))


def _check_field(name: str, here: Shape, place: str, missing: list[tuple[str, str]]) -> None:
    owner = here.present
    if not owner.kinds:
        return  # it is null, because of what is missing already
    if "object" not in owner.kinds:
        message = f"`{clip(place.lstrip('.'))}` is {_told(owner)}, and has no `{clip(name)}`"
        missing.append((message, "Use it as it is."))
    elif owner.part(name) is None:
        message = f"`{clip(place.lstrip('.'))}` never has a `{clip(name)}`"
        missing.append((message, suggest(name, owner.fields)))


def _text(node: Node) -> str:
    """Return how a part of a chain is written."""
    match node.kind:
        case "field":
            return f".{node.value}"
        case "index":
            return f"[{node.value}]"
        case "subexpression" | "index_expression":
            return "".join(map(_text, node.children))
        case _:
            return "(…)"


def _told(shape: Shape) -> str:
    kinds = shape.present.kinds or shape.kinds
    return " or ".join(told for told, own in _WORDS if kinds & own)


_WORDS = (
    ("a text", frozenset({"string"})),
    ("a number", frozenset({"number"})),
    ("a whole number", frozenset({"integer"})),
    ("true or false", frozenset({"boolean"})),
    ("a list", frozenset({"array"})),
    ("an object", frozenset({"object"})),
    ("null", frozenset({"null"})),
)
