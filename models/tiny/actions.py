"""Makes actions that do not exist, and what people say to have them done."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from linker.conversation import Action

from . import words
from .words import KINDS, Kind, Verb

Item = TypeVar("Item")
Value = str | int

HALF_WAY = 0.5
# How often an action shares its verb with a neighbour, and how often its verb or its noun.
SAME_VERB, SAME_EITHER = 0.2, 0.4
INVENTED_NOUNS, INVENTED_NAMES = 0.35, 0.15
# How often a value is said in one of the very many ways.
SAYINGS = 0.45
# How often a request is put in one of the very many ways.
FRAMINGS = 0.4


@dataclass(frozen=True)
class Novelty:
    """Which lists are used in their held-out part."""

    wordings: bool = False
    entities: bool = False
    actions: bool = False


@dataclass(frozen=True)
class Parameter:
    """A parameter of an action; no two of one action are of the same kind."""

    name: str
    kind: Kind
    kind_name: str
    required: bool


@dataclass(frozen=True)
class Tool:
    """An action on offer, with what its description says in words."""

    action: Action
    verb: Verb
    noun: str
    parameters: tuple[Parameter, ...]


class Maker:
    """Makes actions and requests from one run of dice; `ease` is 1 at the start of training."""

    def __init__(self, dice: random.Random, novelty: Novelty, *, ease: float = 0.0) -> None:
        self.dice = dice
        self.novelty = novelty
        self.ease = ease

    @classmethod
    def of(cls, seed: str, novelty: Novelty, *, ease: float = 0.0) -> Maker:
        """Return a maker whose dice a seed decides."""
        return cls(random.Random(seed), novelty, ease=ease)  # noqa: S311  # no secret

    @property
    def is_hard(self) -> bool:
        """Tell whether half of the way to the real task is behind."""
        return self.ease < HALF_WAY

    def happens(self, share: float) -> bool:
        """Throw the dice for something that happens in a share of all cases."""
        return self.dice.random() < share

    def pick(self, items: Sequence[Item], *, new: bool) -> Item:
        """Return an entry of the known or of the held-out part."""
        return self.dice.choice(words.held_out(items) if new else words.known(items))

    def wording(self, items: Sequence[str]) -> str:
        """Return a way to say something."""
        return self.pick(items, new=self.novelty.wordings)

    def entity(self, items: Sequence[str]) -> str:
        """Return a name out of a list, or an invented one."""
        if self.happens(0.3 * (1 - self.ease)):
            return words.invent(self.dice).title()
        return self.pick(items, new=self.novelty.entities)

    def tools(self) -> tuple[Tool, ...]:
        """Return up to eight actions, no two with the same verb and noun."""
        most = round(2 + 6 * (1 - self.ease))
        count = self.dice.randint(1 if self.happens(0.1) else 2, most)
        tools: list[Tool] = []
        while len(tools) < count:
            tool = self._tool(tools)
            taken = {(known.verb.forms[0], known.noun) for known in tools}
            names = {known.action.name for known in tools}
            if (tool.verb.forms[0], tool.noun) not in taken and tool.action.name not in names:
                tools.append(tool)
        return tuple(tools)

    def _tool(self, others: Sequence[Tool]) -> Tool:
        verb = self.pick(words.VERBS, new=self.novelty.actions)
        noun = self.pick(words.NOUNS, new=self.novelty.actions)
        # A word that means nothing can only be compared letter by letter.
        if self.happens(INVENTED_NOUNS * (1 - self.ease)):
            noun = words.invent(self.dice)
        near = self.dice.random()
        # A neighbour with the same verb, or the same noun, must be told apart by the other one.
        if others and self.is_hard and near < SAME_EITHER:
            other = self.dice.choice(others)
            verb, noun = (other.verb, noun) if near < SAME_VERB else (verb, other.noun)
        parameters = self._parameters()
        description = self.dice.choice(words.DESCRIPTIONS)
        return Tool(
            Action(
                self._name(verb.forms[0], noun),
                description.format(verb=self.dice.choice(verb.forms), noun=noun),
                json.dumps(schema_of(parameters)),
            ),
            verb,
            noun,
            parameters,
        )

    def _name(self, verb: str, noun: str) -> str:
        if self.happens(0.05 * (1 - self.ease)):
            return f"action_{self.dice.randint(1, 99)}"
        return self.dice.choice(["{1}.{0}", "{1}.{0}", "{0}_{1}", "{0}-{1}"]).format(verb, noun)

    def _parameters(self) -> tuple[Parameter, ...]:
        count = self.dice.choice([1, 1, 2, 2, 3]) if self.is_hard else 1
        kinds = self.dice.sample(sorted(KINDS), count)
        made = []
        for index, kind_name in enumerate(kinds):
            kind = KINDS[kind_name]
            name = self.pick(kind.names, new=self.novelty.actions)
            if self.happens(INVENTED_NAMES * (1 - self.ease)):
                name = words.invent(self.dice)
            required = index == 0 or self.happens(0.8)
            made.append(Parameter(name, kind, kind_name, required))
        # A bundle is canonical JSON, so an agent sees properties in this order.
        return tuple(sorted(made, key=lambda parameter: parameter.name))

    def value(self, parameter: Parameter) -> Value:
        """Return something that the parameter may be."""
        dice, kind = self.dice, parameter.kind_name
        if kind in ("amount", "count"):
            return dice.randint(2, 99 if kind == "count" else 990)
        lists = {
            "city": words.CITIES,
            "person": words.PEOPLE,
            "language": words.LANGUAGES,
            "colour": words.COLOURS,
        }
        if kind in lists:
            return self.entity(lists[kind])
        if kind == "level":
            return dice.choice(words.LEVELS)
        if kind == "date":
            month = f"{dice.randint(1, 28)} {dice.choice(words.MONTHS)}"
            return dice.choice([month, dice.choice(words.DAYS)])
        if kind == "time":
            return f"{dice.randint(7, 22)}:{dice.choice(('00', '15', '30', '45'))}"
        if kind == "id":
            return f"{dice.choice('bdfhkmr')}{dice.randint(10, 999)}"
        if kind == "topic":
            return self.topic()
        return f"the {self.thing()} is {dice.choice(words.STATES)}"

    def thing(self) -> str:
        """Return something that a sentence can be about."""
        return self.pick(words.NOUNS, new=self.novelty.entities)

    def topic(self) -> str:
        """Return something to look for."""
        topic = self.entity(words.SUBJECTS).lower()
        return f"{self.dice.choice(words.ADJECTIVES)} {topic}" if self.happens(0.3) else topic

    def request(self, tool: Tool, values: Sequence[tuple[Parameter, Value]]) -> str:
        """Return a wish in words; it names each value with what it is for."""
        verb = tool.verb.forms[0]
        if self.happens(0.3 * (1 - self.ease)):
            verb = self.dice.choice(tool.verb.forms)
        phrases = [self.phrase(parameter, value) for parameter, value in values]
        self.dice.shuffle(phrases)
        task = ", ".join(
            [f"{verb} the {tool.noun}" + (f" {phrases[0]}" if phrases else ""), *phrases[1:]]
        )
        made = not self.novelty.wordings and self.happens(FRAMINGS * (1 - self.ease))
        wording = words.framing(self.dice) if made else self.wording(words.REQUESTS)
        sentence = wording.format(task=task)
        return sentence[0].upper() + sentence[1:]

    def phrase(self, parameter: Parameter, value: Value) -> str:
        """Return how somebody says one value."""
        is_invented = parameter.name not in parameter.kind.names
        if not self.novelty.wordings and self.happens(SAYINGS * (1 - self.ease)):
            return words.saying(self.dice).format(name=parameter.name, value=value)
        wording = self.wording(words.NAMING if is_invented else parameter.kind.phrasings)
        return wording.format(name=parameter.name, value=value)


def schema_of(parameters: Sequence[Parameter]) -> dict[str, object]:
    """Return the JSON Schema of the arguments."""

    def schema(kind: Kind) -> dict[str, object]:
        if kind.choices:
            return {"enum": list(kind.choices), "type": "string"}
        return {"type": "integer" if kind.integer else "string"}

    return {
        "additionalProperties": False,
        "properties": {parameter.name: schema(parameter.kind) for parameter in parameters},
        "required": [parameter.name for parameter in parameters if parameter.required],
        "type": "object",
    }
