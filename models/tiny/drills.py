"""Makes exercises for a beginner in what all else rests on: say it again, and look it up."""

from __future__ import annotations

from linker.conversation import Conversation, Message, Role

from . import words
from .actions import Maker
from .dialogues import Dialogue, Kind, Turn

EPISODES = 4
WORDS_MAX = 12
ROWS_MAX = 8


def make_drill(maker: Maker) -> Dialogue:
    """Return four exercises of one sort, without actions."""
    if maker.happens(0.5):
        return _repeating(maker)
    return _looking_up(maker)


def _repeating(maker: Maker) -> Dialogue:
    said = [
        " ".join(_word(maker) for _ in range(maker.dice.randint(2, WORDS_MAX)))
        for _ in range(EPISODES)
    ]
    return _dialogue("Say it again.", [(text, text) for text in said])


def _looking_up(maker: Maker) -> Dialogue:
    keys = maker.dice.sample(words.known(words.NOUNS), maker.dice.randint(3, ROWS_MAX))
    table = {key: _word(maker) for key in keys}
    asked = maker.dice.choices(keys, k=EPISODES)
    rows = "\n".join(f"{key}: {value}" for key, value in table.items())
    return _dialogue(rows, [(key, f"The {key} is {table[key]}.") for key in asked])


def _word(maker: Maker) -> str:
    dice = maker.dice
    if maker.happens(0.5):
        return words.invent(dice)
    if maker.happens(0.3):
        return f"{dice.choice('bdfhkmr')}{dice.randint(10, 999)}"
    return dice.choice(words.known(words.NOUNS))


def _dialogue(system: str, exchanges: list[tuple[str, str]]) -> Dialogue:
    messages = [Message(Role.SYSTEM, system)]
    for asked, answer in exchanges:
        messages += [Message(Role.USER, asked), Message(Role.ASSISTANT, answer)]
    turns = tuple(Turn(Kind.ANSWER, facts=(answer,)) for _, answer in exchanges)
    return Dialogue(Conversation(tuple(messages)), turns)
