"""Makes dialogues of desks: one answers from a handbook, one has a notice translated."""

from __future__ import annotations

import json
from dataclasses import dataclass

from linker.conversation import Action, Conversation, Message, Role

from . import words
from .actions import Maker, Parameter, schema_of
from .briefs import SEARCHES, Passage, asked, system_text
from .dialogues import Dialogue, Kind, Turn, call_message, result_message
from .words import KINDS

QUESTIONS_MAX = 2
ENTRIES_MAX = 8
# How often a notice does not begin as those of the evaluation mostly do.
OTHER_NOTICES = 0.4
FILLERS_MAX = 3

SUPPORT_INSTRUCTIONS = words.cut(
    "You answer questions of customers from the handbook.|Look into the handbook, then answer.|"
    "You are a support desk. Search before you answer.|Answer from the handbook only.|You help"
    " customers. The handbook knows.|You are the desk of a shop. Find the rule and say it.|Search"
    " the handbook, and answer with what it says.|You answer for the staff. Look it up first.|"
    "Questions come in; the handbook has the answers.|Say what the handbook says, in a sentence."
    "|You are the support desk of a small bicycle shop. Search the handbook, then answer with what"
    " it says."
)
CLERK_INSTRUCTIONS = words.cut(
    "You give out notices. Find the notice, have it translated, and say it.|Find the notice, ask"
    " the translator, and answer with the translation.|You are a clerk who speaks to guests in"
    " their language.|Look up the notice, then have it translated.|Search, ask the translator,"
    " answer.|Guests want notices in their language. Ask the translator.|You read notices out. The"
    " translator helps.|Find what the notice says, and have it translated.|You work at a harbour"
    " office.|Give each guest the notice in translation."
    "|You give harbour notices to guests in German. Find the notice, have it translated, and answer"
    " with the translation."
)
BOOK_INSTRUCTIONS = words.cut(
    "You translate with the phrase book, word for word.|Say what the phrase book says.|You are a"
    " translator. Use the phrase book only.|Find the phrase and give its translation.|You translate"
    " notices.|The phrase book has the words. Use them.|Translate what you are given.|Give the"
    " other side of the phrase.|You know a phrase book by heart.|Answer with the translation alone."
    "|You translate harbour notices into German with the phrase book before you."
)
SUPPORT_QUESTIONS = words.cut(
    "What is the rule for {topic}?|Tell me about {topic}.|I have a question about {topic}.|How does"
    " it work with {topic}?|What do you say about {topic}?|What about {topic}?|What should I know"
    " about {topic}?|Can you explain {topic}?|How do you handle {topic}?|Please tell me how {topic}"
    " work.|I need to know about {topic}.|What does the handbook say about {topic}?|Is there a rule"
    " for {topic}?|Hi, what are the terms for {topic}?|Could you look up {topic}?|My question is"
    " about {topic}.|How are {topic} done here?|Who knows about {topic}?|Do you have anything on"
    " {topic}?|Help me with {topic}, please.|How long do {topic} take?|What do {topic} cost?|Where"
    " do I find {topic}?|Explain {topic} to me.|When do I get {topic}?|"
    "So, {topic}?|A word on {topic}, please.|How do I get {topic}?|What is your policy on {topic}?|"
    "Which rules apply to {topic}?|I am asking about {topic}.|It is about {topic}.|Somebody asked"
    " me about {topic}.|Tell me what you know of {topic}.|Where can I read about {topic}?|Let us"
    " talk about {topic}.|I want to know how {topic} work.|What happens with {topic}?|Anything"
    " about {topic} in the handbook?|Why are {topic} like that?|Give me the facts on {topic}.|"
    "I could not find {topic}.|What do people get told about {topic}?|My boss wonders about"
    " {topic}.|Remind me of {topic}."
)
CLERK_QUESTIONS = words.cut(
    "What is the notice for the {topic}?|What does the notice say about the {topic}?|Read me the"
    " notice for the {topic}.|Tell the guests about the {topic}.|How is the {topic} today?|What is"
    " the state of the {topic}?|I need the notice for the {topic}.|Give me the {topic} notice.|What"
    " do we tell people about the {topic}?|Please translate the notice for the {topic}.|The guests"
    " ask about the {topic}.|Say it about the {topic} in their language.|Any notice for the"
    " {topic}?|Let them know about the {topic}.|Find the notice about the {topic}.|What can I tell"
    " them about the {topic}?|Translate what we say about the {topic}.|Announce the {topic},"
    " please.|How do we announce the {topic}?|They want to know about the {topic}.|Is there news of"
    " the {topic}?|What is up with the {topic}?|I have guests for the {topic}.|Tell them how the"
    " {topic} is.|What should the guests know about the {topic}?|Put the notice for the {topic}"
    " into words.|We need the {topic} in translation.|Guests at the {topic} need a notice.|About"
    " the {topic}, please.|The {topic}, please.|How do we say it about the {topic}?|Somebody asks"
    " for the {topic}.|Look up the {topic} and translate.|May guests use the {topic}?|Explain the"
    " {topic} to our guests.|Where do we stand with the {topic}?"
)
TOPICS = words.cut(
    "returns|refunds|shipping|deliveries|invoices|warranties|passwords|accounts|gift cards|"
    "holidays|parking|badges|laptops|repairs|complaints|opening hours|discounts|vouchers|meals|"
    "visitors|keys|desks|trips|expenses|lockers|exchanges|orders|payments|subscriptions|samples|"
    "spare parts|pick-ups|contracts|trainings|bicycles|phones|uniforms|lost items|late fees|pets"
)
PLACES = words.cut(
    "harbour|bridge|station|ferry|beach|museum|library|market|tunnel|airport|pool|lift|gate|road|"
    "school|park|theatre|lighthouse|castle|garden|kitchen|office|cinema|tower|canal|pier|café|hall|"
    "shop|bank"
)
ASKERS = words.cut(
    "translator.ask|interpreter.ask|linguist.ask|polyglot.ask|ask_translator|translator.call"
)
ASK_DESCRIPTIONS = words.cut(
    "Translates a notice with a phrase book.|Gives the translation of a phrase.|Translates a"
    " sentence.|Says it in another language.|Knows the other language.|"
    "Translates a harbour notice into German."
)
SEPARATORS = (" = ", ": ", " - ", " -> ")
THEY = "they"
UNKNOWN_PHRASE = "That is not in my phrase book."


@dataclass(frozen=True)
class _Section:
    """A topic of a handbook, with the sentence that answers questions about it."""

    topic: str
    passage: Passage


def make_support(maker: Maker) -> Dialogue:
    """Return the dialogue of a desk that looks questions up in a handbook."""
    search = _action(maker, ("knowledge.search", "handbook.find", "search_handbook"), "query")
    instructions = maker.dice.choice(words.known(SUPPORT_INSTRUCTIONS))
    shown = [_section(maker, _topic(maker)).passage] if maker.happens(0.7) else []
    messages = [Message(Role.SYSTEM, system_text(instructions, shown))]
    turns: list[Turn] = []
    for _ in range(maker.dice.randint(1, QUESTIONS_MAX)):
        topic = _topic(maker)
        found = _found(maker, topic)
        lead = next((s.passage.lead for s in found if s.topic == topic), None)
        answer = lead or f"I found nothing about {topic}."
        messages += [
            Message(Role.USER, asked(maker, SUPPORT_QUESTIONS, topic)),
            call_message(len(turns), search.name, {"query": topic}),
            result_message(len(turns), _result([section.passage for section in found])),
            Message(Role.ASSISTANT, answer),
        ]
        turns += [Turn(Kind.ACT), Turn(Kind.ANSWER, facts=(answer,))]
    return Dialogue(Conversation(tuple(messages), _offered(maker, search)), tuple(turns))


def make_clerk(maker: Maker) -> Dialogue:
    """Return the dialogue of a clerk who finds a notice and asks a translator."""
    search = _action(maker, ("knowledge.search", "notices.find", "search_notices"), "query")
    dice = maker.dice
    name = ASKERS[0] if maker.happens(0.6) else dice.choice(words.known(ASKERS))
    description = dice.choice(words.known(ASK_DESCRIPTIONS))
    ask = _described(name, description, "request")
    place = _place(maker)
    notice = _notice(maker, place)
    others = [_notice_passage(maker, _place(maker)) for _ in range(dice.randint(0, 2))]
    passages = [_notice_passage(maker, place, notice), *others]
    if maker.happens(0.3):
        dice.shuffle(passages)
    translation = _foreign(maker)
    shown = [dice.choice(passages)] if maker.happens(0.7) else []
    instructions = dice.choice(words.known(CLERK_INSTRUCTIONS))
    messages = (
        Message(Role.SYSTEM, system_text(instructions, shown)),
        Message(Role.USER, asked(maker, CLERK_QUESTIONS, place)),
        call_message(0, search.name, {"query": place}),
        result_message(0, _result(passages)),
        call_message(1, ask.name, {"request": notice}),
        result_message(1, {"answer": translation}),
        Message(Role.ASSISTANT, translation),
    )
    turns = (
        Turn(Kind.ACT),
        Turn(Kind.ACT, copied=("request",)),
        Turn(Kind.ANSWER, facts=(translation,)),
    )
    return Dialogue(Conversation(messages, _offered(maker, search, ask)), turns)


def make_phrase_book(maker: Maker) -> Dialogue:
    """Return the dialogue of a translator who has a phrase book before him."""
    dice = maker.dice
    separator = dice.choice(SEPARATORS)
    phrases = {
        _notice(maker, _place(maker)): _foreign(maker)
        for _ in range(dice.randint(2, ENTRIES_MAX if maker.is_hard else 3))
    }
    asked, answer = dice.choice(list(phrases.items()))
    if maker.happens(0.12):
        asked, answer = _notice(maker, _place(maker)), UNKNOWN_PHRASE
        phrases.pop(asked, None)
    lines = "\n".join(f"{left}{separator}{right}" for left, right in phrases.items())
    heading = dice.choice(["# Phrase book", "# Phrases", "# Notices", "# German", "# Translations"])
    folder = "knowledge/" if maker.happens(0.5) else ""
    book = Passage(f"{folder}{dice.choice(['phrases', 'german', 'book'])}.md", "", "")
    shown = [Passage(book.document, f"{heading}\n\n{lines}", "")]
    messages = (
        Message(Role.SYSTEM, system_text(dice.choice(words.known(BOOK_INSTRUCTIONS)), shown)),
        Message(Role.USER, asked),
        Message(Role.ASSISTANT, answer),
    )
    return Dialogue(Conversation(messages), (Turn(Kind.ANSWER, facts=(answer,)),))


def _offered(maker: Maker, *own: Action) -> tuple[Action, ...]:
    """Return the actions of a desk, now and then with one that is not for it."""
    taken = {action.name for action in own}
    others = [tool.action for tool in maker.tools()][:1] if maker.happens(0.3) else []
    offered = [*own, *(action for action in others if action.name not in taken)]
    maker.dice.shuffle(offered)
    return tuple(offered)


def _action(maker: Maker, names: tuple[str, ...], parameter: str) -> Action:
    name = names[0] if maker.happens(0.7) else maker.dice.choice(names)
    return _described(name, maker.dice.choice(SEARCHES), parameter)


def _described(name: str, description: str, parameter: str) -> Action:
    parameters = (Parameter(parameter, KINDS["text"], "text", required=True),)
    return Action(name, description, json.dumps(schema_of(parameters)))


def _topic(maker: Maker) -> str:
    return maker.entity(TOPICS).lower()


def _place(maker: Maker) -> str:
    return maker.entity(PLACES).lower()


def _result(passages: list[Passage]) -> dict[str, object]:
    found = [{"document": passage.document, "text": passage.text} for passage in passages]
    return {"passages": found}


def _found(maker: Maker, topic: str) -> list[_Section]:
    """Return what a search brings: mostly the topic first, now and then not at all."""
    sections = [_section(maker, _topic(maker)) for _ in range(maker.dice.randint(0, 2))]
    sections = [section for section in sections if section.topic != topic]
    if maker.happens(0.12):
        return sections
    first = maker.happens(0.7) or not sections
    sections.insert(0 if first else maker.dice.randint(0, len(sections)), _section(maker, topic))
    return sections


def _section(maker: Maker, topic: str) -> _Section:
    lead = _rule(maker, topic)
    fillers = [_rule(maker, THEY) for _ in range(maker.dice.randint(0, FILLERS_MAX))]
    ends = maker.dice.choice([" ", " ", "\n"])
    text = f"# {topic.capitalize()}\n\n{ends.join([lead, *fillers])}"
    folder = maker.dice.choice(["handbook/", "knowledge/", ""])
    return _Section(topic, Passage(f"{folder}{topic.replace(' ', '-')}.md", text, lead))


def _rule(maker: Maker, topic: str) -> str:
    dice = maker.dice
    subject = topic.capitalize()
    number, other = dice.randint(2, 90), dice.randint(2, 990)
    person, city = maker.entity(words.PEOPLE), maker.entity(words.CITIES)
    day, noun = dice.choice(words.DAYS[:7]), maker.thing()
    forms = [
        f"{subject} take {number} days.",
        f"{subject} are free for {number} days.",
        f"{subject} cost {other} euros each.",
        f"{subject} are handled by {person} in {city}.",
        f"{subject} go to the {noun} desk until {day}.",
        f"{subject} need a {noun} and the number of the {maker.thing()}.",
        f"{subject} are {dice.choice(words.STATES)} within {number} hours.",
        f"{subject} begin on {day} and end after {number} days.",
        f"{subject} over {other} euros are approved by {person}.",
        f"{subject} are only for the {noun} in {city}.",
    ]
    if topic != THEY:
        forms.append(f"For {topic}, write to {person} before {day}.")
        forms.append(f"We give {topic} to everybody with a {noun}.")
    return dice.choice(forms)


def _notice(maker: Maker, place: str) -> str:
    dice = maker.dice
    state = dice.choice(
        ["open", "closed", "full", "free", "late", "on time", "under repair", "shut"]
    )
    number, day = dice.randint(2, 23), dice.choice(words.DAYS[:7])
    if not maker.novelty.wordings and maker.happens(OTHER_NOTICES * (1 - maker.ease)):
        # Most others begin with the place, and who learns that does not read on.
        return dice.choice(
            [
                f"No entry to the {place}.",
                f"No {maker.thing()} in the {place}.",
                f"Nobody may enter the {place} before {number}.",
                f"Keep away from the {place} until {day}.",
                f"Mind the {maker.thing()} at the {place}.",
                f"Entry to the {place} is from {number} on.",
                f"Today the {place} is {state}.",
                f"Until {day} the {place} is {state}.",
            ]
        )
    return dice.choice(
        [
            f"The {place} is {state}.",
            f"The {place} is {state} today.",
            f"The {place} is {state} until {day}.",
            f"The {place} opens at {number}.",
            f"The {place} closes at {number}.",
            f"The {place} is {state} because of {dice.choice(['wind', 'rain', 'snow', 'fog'])}.",
            f"Please leave the {place} before {number}.",
            f"No entry to the {place}.",
        ]
    )


def _notice_passage(maker: Maker, place: str, notice: str = "") -> Passage:
    lead = notice or _notice(maker, place)
    fillers = [_rule(maker, THEY) for _ in range(maker.dice.randint(0, 1))]
    text = f"# {place.capitalize()}\n\n{' '.join([lead, *fillers])}"
    folder = maker.dice.choice(["notices/", "knowledge/", ""])
    return Passage(f"{folder}{place}.md", text, lead)


def _foreign(maker: Maker) -> str:
    """Return a sentence in no language, or with words of one that is."""
    dice = maker.dice
    count = dice.randint(3, 6)
    made = [
        dice.choice(words.FOREIGN) if maker.happens(0.5) else words.invent(dice)
        for _ in range(count)
    ]
    return " ".join(made).capitalize() + "."
