"""Makes dialogues of errands: something is asked for, done, asked back, or declined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from linker.conversation import Conversation, Message, Role

from . import words
from .actions import Maker, Parameter, Tool, Value
from .dialogues import Dialogue, Kind, Turn, call_message, result_message

EPISODES_MAX = 3
# How a question begins, and how all is declined.
QUESTION, REFUSAL = "For ", "None of my actions can do that."

Values = Sequence[tuple[Parameter, Value]]


def make_errands(maker: Maker) -> Dialogue:
    """Return a dialogue of one to three errands with one set of actions."""
    script = Script(maker)
    for _ in range(maker.dice.randint(1, EPISODES_MAX)):
        script.episode()
    return script.dialogue()


class Script:
    """A dialogue that is being written."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self._tools = maker.tools()
        self._messages = [Message(Role.SYSTEM, maker.dice.choice(words.INSTRUCTIONS))]
        self._turns: list[Turn] = []

    def dialogue(self) -> Dialogue:
        """Return what was written."""
        actions = tuple(tool.action for tool in self._tools)
        return Dialogue(Conversation(tuple(self._messages), actions), tuple(self._turns))

    def episode(self) -> None:
        """Write what begins with one request of the user."""
        shares = {
            self.call: 36,
            self.chain: 12,
            self.ask: 28,
            self.decline: 20,
            self.chat: 4,
        }
        self._maker.dice.choices(list(shares), list(shares.values()))[0]()

    def call(self) -> None:
        """Have one action done."""
        tool = self._any_tool()
        values = self._values(tool)
        self._user(self._maker.request(tool, values))
        self._act(tool, values)
        self._conclude()

    def chain(self) -> None:
        """Have an action done, and a second one with what the first one gave."""
        first, second = self._any_tool(), self._any_tool()
        identified = [p for p in second.parameters if p.kind_name == "id" and p.required]
        if first is second or not identified:
            # Not every set of actions has a second one that wants what a first one gives.
            self.call()
            return
        values = self._values(first)
        rest = [(p, value) for p, value in self._values(second) if p not in identified]
        request = self._maker.request(first, values).rstrip(".?!")
        follow = self._maker.request(second, rest)
        self._user(f"{request}. Then {follow[0].lower()}{follow[1:]} Use the id that you got.")
        self._act(first, values)
        found = self._maker.value(identified[0])
        self._result({"id": found, "status": self._maker.dice.choice(words.STATES)})
        filled = [(identified[0], found), *rest]
        self._act(second, filled, copied=(identified[0].name,))
        self._conclude()

    def ask(self) -> None:
        """Leave out an argument, and mostly hand it in when asked."""
        maker, tool = self._maker, self._any_tool()
        values = self._values(tool)
        missing = maker.dice.choice([p for p in tool.parameters if p.required])
        self._user(maker.request(tool, [pair for pair in values if pair[0] != missing]))
        # Said with the name of the action first, which leads to its parameters.
        question = f"{QUESTION}{tool.action.name}: which {missing.name}?"
        self._say(question, Turn(Kind.ASK, facts=(missing.name,)))
        if maker.happens(0.6):
            value = dict(values)[missing]
            bare = maker.happens(0.5)
            self._user(f"{value}." if bare else f"{maker.phrase(missing, value)}.")
            self._act(tool, values)
            self._conclude()

    def decline(self) -> None:
        """Want something that no action here does."""
        maker = self._maker
        while True:
            # The easy stage shares no word with an action; later one of the two words is shared.
            other = Maker(maker.dice, maker.novelty, ease=1.0).tools()[0]
            near = self._any_tool()
            if maker.is_hard and maker.happens(0.4):
                keeps_verb = maker.happens(0.5)
                other = (
                    replace(other, verb=near.verb) if keeps_verb else replace(other, noun=near.noun)
                )
            elif {other.noun} & {t.noun for t in self._tools}:
                continue
            if all((t.verb, t.noun) != (other.verb, other.noun) for t in self._tools):
                break
        self._user(maker.request(other, self._values(other)))
        self._say(REFUSAL, Turn(Kind.DECLINE))

    def chat(self) -> None:
        """Exchange a courtesy."""
        self._user(self._maker.wording(words.GREETINGS))
        self._say("Hello. Tell me what to do.", Turn(Kind.CHAT))

    def _any_tool(self) -> Tool:
        return self._maker.dice.choice(self._tools)

    def _values(self, tool: Tool) -> list[tuple[Parameter, Value]]:
        """Return all that is required and some of the rest; no value twice."""
        values: dict[Parameter, Value] = {}
        for parameter in tool.parameters:
            if not parameter.required and self._maker.happens(0.5):
                continue
            while (value := self._maker.value(parameter)) in values.values():
                pass
            values[parameter] = value
        return list(values.items())

    def _user(self, text: str) -> None:
        self._messages.append(Message(Role.USER, text))

    def _say(self, text: str, turn: Turn) -> None:
        self._messages.append(Message(Role.ASSISTANT, text))
        self._turns.append(turn)

    def _act(self, tool: Tool, values: Values, copied: tuple[str, ...] = ()) -> None:
        arguments = {parameter.name: value for parameter, value in values}
        self._messages.append(call_message(len(self._turns), tool.action.name, arguments))
        self._turns.append(Turn(Kind.ACT, copied=copied))

    def _result(self, value: dict[str, Value]) -> None:
        self._messages.append(result_message(len(self._turns) - 1, value))

    def _conclude(self) -> None:
        """Give the last call a result, and let the agent say what it says."""
        dice = self._maker.dice
        if self._maker.happens(0.1):
            message = f"the {self._maker.thing()} is {dice.choice(words.STATES)}"
            self._result({"error": "FAILED", "message": message})
            self._say(f"That failed: {message}.", Turn(Kind.ANSWER, facts=(message,)))
            return
        fields = sorted(dice.sample(words.FIELDS, dice.randint(1, 2)))
        values = {field: self._field_value(field) for field in fields}
        self._result(values)
        told = ", ".join(f"the {field} is {value}" for field, value in values.items())
        facts = tuple(str(value) for value in values.values())
        self._say(f"T{told[1:]}.", Turn(Kind.ANSWER, facts=facts))

    def _field_value(self, field: str) -> Value:
        dice = self._maker.dice
        if field in ("total", "size", "left", "rank"):
            return dice.randint(2, 990)
        if field in ("id", "code"):
            return f"{dice.choice('bdfhkmr')}{dice.randint(10, 999)}"
        if field in ("owner", "place"):
            return self._maker.entity(words.PEOPLE if field == "owner" else words.CITIES)
        return dice.choice(words.STATES if field == "status" else words.DAYS)
