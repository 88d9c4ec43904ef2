"""The words that dialogues are made of, each list cut into a known and a held-out part."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

# Of every list the model never sees each fifth entry.
HELD_OUT_EVERY = 5


def known(items: Sequence[Item]) -> tuple[Item, ...]:
    """Return the part that training may use."""
    return tuple(item for index, item in enumerate(items) if (index + 1) % HELD_OUT_EVERY)


def held_out(items: Sequence[Item]) -> tuple[Item, ...]:
    """Return the part that only the evaluation uses."""
    return tuple(items[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY])


@dataclass(frozen=True)
class Verb:
    """What an action does; the first form names it, the others mean the same in this world."""

    forms: tuple[str, ...]
    reads: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of argument: names of its parameter, and ways to say its value."""

    names: tuple[str, ...]
    phrasings: tuple[str, ...]
    integer: bool = False
    choices: tuple[str, ...] = ()


def cut(text: str, mark: str = "|") -> tuple[str, ...]:
    """Return the entries of a list that is written as one text."""
    return tuple(text.split(mark))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


VERBS = tuple(
    Verb(_words(forms), reads=reads)
    for reads, lines in (
        (False, "create make add,delete remove erase,send forward,update change edit,book reserve"),
        (False, "cancel stop,archive store,share publish,rename relabel,copy duplicate"),
        (False, "open unlock,close shut,move shift,approve accept,reject refuse,print,sign,order"),
        (
            False,
            "pay settle,plan schedule,merge join,split divide,start begin,pause hold,mark flag",
        ),
        (True, "find locate,show display,list,check inspect,count,read,search,fetch get,compare"),
        (True, "track follow,measure,translate,summarise"),
        (False, "clean wash,fix repair,paint,call ring,invite,assign,lend,return,sort,pack,freeze"),
        (False, "deploy release,install,upload,attach,tag,mute,reset,label,stamp,weigh,polish"),
        (False, "cook,plant,water,feed,drive,deliver bring,collect,hide,lift raise,press,test try"),
        (True, "describe explain,rate,estimate,predict,verify,monitor watch,browse,export,query"),
    )
    for forms in lines.split(",")
)
NOUNS = _words(
    "invoice ticket room meeting almanac report order flight table bakery letter note task"
    " contract cactus parcel song photo account dolphin payment reminder project customer emerald"
    " recipe playlist folder budget fountain printer lamp door camera gazette server backup"
    " password license harvest package refund survey poll incubator vote channel comment branch"
    " jigsaw issue release train taxi kennel hotel menu garden boiler lantern window sensor alarm"
    " battery monument engine ship truck crate notebook shelf stock price quote orchard offer"
    " claim policy loan pendulum card coin wallet ledger quiver weather forecast map route"
    " radiator lesson course exam book sculpture page poem film game telescope team player score"
    " match unicorn league festival museum ticketing vineyard visit doctor patient pill waterfall"
    " vaccine clinic apple bottle xylophone chair desk engineer farm yogurt guitar hammer island"
    " jacket zeppelin kettle ladder mirror needle accordion oven pillow quarry rocket bracelet"
    " spoon tractor umbrella valve compass wagon yacht zebra anchor dumpling basket candle drum"
    " elbow escalator feather glove helmet iron fossil jar kite lemon magnet gondola napkin olive"
    " pencil quilt hammock ribbon saddle towel urn igloo violin whistle yard zipper juniper album"
    " badge cable diary kayak envelope filter"
)
CITIES = _words(
    "Oslo Paris Lima Cairo Turin Delhi Kyoto Porto Ghent Basel Quito Accra Dakar Hanoi Minsk Riga"
    " Sofia Bergen Malmo Leeds Bilbao Tampa Boston Austin Denver Perth Hobart Nagoya Busan Izmir"
)
PEOPLE = _words(
    "Anna Bruno Carla David Elena Felix Greta Hugo Irene Jonas Karim Laila Marco Nadia Oscar Petra"
    " Quinn Rosa Samir Tessa Ulrich Vera Walid Xenia Yusuf Zoe Amira Boris Chloe Dario"
)
LANGUAGES = _words("French German Spanish Italian Greek Polish Dutch Danish Arabic Hindi Korean")
COLOURS = _words("red green blue white black yellow purple orange brown pink grey silver golden")
LEVELS = ("low", "normal", "high")
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday today tomorrow")
MONTHS = _words("January March April June July August September October November December")
ADJECTIVES = _words("late new small quiet broken final early old large short open cold calm busy")
STATES = _words("ready done open waiting late empty full active closed booked sent paid")
FIELDS = _words("id status total owner place due size code rank left")
SUBJECTS = _words(
    "Silver Copper Wheat Coffee Cobalt Cocoa Cotton Steel Lithium Soybeans Sugar Rice Timber"
    " Uranium Rubber Bonds Stocks Shares Rents Hydrogen Wages Exports Imports Prices Dividends"
    " Sales Fees Yields Orders Tariffs Freight Tourism Housing Solar Premiums Wind Gas Coal Oil"
    " Platinum Gold Bitcoin Ether Tin Salmon Zinc Nickel Corn Barley Leather"
)
MOVES = _words("gained lost added shed rose fell climbed dropped slipped jumped eased doubled")
AMOUNTS = _words("one two three four five six seven eight nine ten eleven twelve twenty thirty")
TIMES = cut(
    "last week,in May,on Tuesday,since March,this month,in thin trading,after the holiday,"
    "for the third week in a row,over the year,at the close,by noon,in two days,this autumn",
    ",",
)
REASONS = cut(
    "most of it on Friday,as demand grew,while supply stayed low,after a cold month,"
    "because ports were closed,as traders waited,with little volume,against the euro,"
    "in spite of the rain,before the vote,as stores filled up,in a calm market",
    ",",
)
PLAIN = cut(
    "Nobody named a reason.,The larger houses reported less volume.,Traders spoke of a quiet week.,"
    "The bank left its rate where it was.,More supply met a mild winter.,Volumes hardly moved.,"
    "Deposits matched what was taken out.,Buyers wait for the next report.,Storage is almost full.",
    ",",
)

# Said of any kind: the name of the parameter makes clear what is meant.
NAMING = cut(
    "with {name} {value},the {name} is {value},{name}: {value},use {value} as the {name},"
    "set the {name} to {value},make the {name} {value},where the {name} is {value},"
    "{name} {value},and {value} is the {name},put {value} for the {name},take {value} as {name},"
    "its {name} should be {value},having the {name} {value},the {name} must be {value},"
    "{value} being the {name},of {name} {value},let {name} be {value},{name} = {value},"
    "{value} for {name},as for the {name} {value},the {name} would be {value},{name} is {value},"
    "give it {name} {value},choose {value} as its {name},{value} as {name}",
    ",",
)

# What else a value can be said with. No phrasing that is held out can be made of it, so what helps
# with those is the shape of a sentence, not its words.
_WHOSE = cut("the,its,my,our,that,this,the right,your,,the new", ",")
_BECOMES = cut(
    "has to be,ought to be,shall be,will be,can be,needs to be,stays,becomes,equals,was,remains,"
    "comes to,might be,gets,turns into,shows,counts as,->,-",
    ",",
)
_TAKE = cut(
    "pick,enter,fill in,note,select,keep,go with,assign,provide,type,expect,insert,try,apply,"
    "name,prefer,we want,they said,I think",
    ",",
)
_INTO = cut("as,for,in,under,at,to be,like,by way of,instead of a", ",")
_SAYINGS = cut(
    "{whose} {name} {becomes} {value}|{whose} {name} {becomes} {value}|{take} {value} {into}"
    " {whose} {name}|{take} {value} {into} {whose} {name}|{take} {whose} {name} {value}|"
    "{value} {becomes} {whose} {name}|{value} {into} that {name}|{name} ({value})|{value}"
    " ({name})|{take} {name}: {value}"
)


def saying(dice: random.Random) -> str:
    """Return one of some thousand phrasings that name their parameter."""
    parts = {"whose": _WHOSE, "becomes": _BECOMES, "take": _TAKE, "into": _INTO}
    chosen = {part: dice.choice(entries) for part, entries in parts.items()}
    made = dice.choice(_SAYINGS).format(**chosen, name="{name}", value="{value}")
    return " ".join(made.split())


# What else a question can be put into, and a request; again never a wording that is held out.
_NUDGES = cut(
    "|look at|see|find|read|get|show|open|take|have|bring up|turn to|go to|start with|think of|"
    "I want|we need|they want|you know|nobody knows|who knows|somebody wants|I look for|we lost|"
    "there was|there is|it is|it was|mind|only|just|again|also|maybe|and|well,|yes,|ok,|now"
)
_ARTICLES = cut("|||the|the|the|our|your|that|this|any|a new|more")
_TAILS = cut(
    ".|.|?|?|!| now.| today.| again.| for me.| for us.| and answer.| and say it.| and tell us.|,"
    " quickly.|, would you?| at once.| if you can.| when you can.| then.| or not?| too.| first.|"
    " once more.| as always.| like before.| or what?| and the rest.| and that is all.|, ok?"
)
_LEADS = cut(
    "|||ok,|right,|well,|today|as agreed|if you can,|when you can,|at once|again|later|and now|"
    "as always|this time|for the record,|if it helps,|without delay|by the way,"
)
_URGES = cut(
    "|||please|I ask you to|somebody must|they want you to|it is good to|we ask you to|let me|you"
    " may|you can|you will|we shall|I hope you|all we want is to|be so good and|the plan says to|"
    "it says here to|she wants us to|he told you to|nobody else can|see that you|make sure to"
)
# Of a request, whose last word may belong to a value.
_ENDINGS = cut(
    ".|.|.|?| for me.| for us.|, quickly.|, would you?|, if you can.|, ok?|, and thanks."
)


# How often somebody is named whom a question is for, as in "ask them about".
_FOR_SOMEBODY = 0.4
_SPEAK = cut(
    "ask|bring|call|give|hand|help|inform|let|owe|read|save|sell|send|show|spare|teach|tell|warn|"
    "wish|write|point out to|speak to|say to|turn to|explain to|sing to"
)
_WHOM = cut("me|me|me|us|us|them|him|her|you|people|everybody|the others|my boss|the team")
_ABOUT = cut(
    "|about|of|on|with|for|to|from|over|down|up|off|how|why|where|what is|what was|what became of|"
    "which is|who has|some|a bit of|all about|more on|once more what"
)


def asking(dice: random.Random) -> str:
    """Return one of some ten thousand ways to ask about `{topic}`."""
    nudge = dice.choice(_NUDGES)
    if dice.random() < _FOR_SOMEBODY:
        nudge = " ".join(dice.choice(part) for part in (_SPEAK, _WHOM, _ABOUT))
    head = " ".join((nudge, dice.choice(_ARTICLES), "{topic}"))
    return _sentence(head + dice.choice(_TAILS))


# What people say before or after what they want: words that are no topic.
_ASIDES = cut(
    "{do} {whom}{how}|{do} {whom}{how}|{do} {whom}{how}|{am} {feel}{how}|{am} {feel}|"
    "{whose} {noun} was {state}|no {noun} here|mind the {noun}|{whom}, {whom}{how}|so much for"
    " {whom}|back to {whom}|what a {noun}|one more{how}|fair enough|no rush{how}"
)
_DO = cut(
    "bear with|believe|follow|forgive|hear|help|hurry|join|listen to|look at|meet|pardon|please|"
    "save|see|stay with|stop|thank|trust|understand|wait for|watch|welcome"
)
_HOW = cut(
    "||||a moment|again|all|along|at last|down|first|for once|here|if need be|in|now|on|out|over|"
    "some day|then|there|through|today|too|up",
)
_AM = cut("I am|I was|we are|we were|they are|you are|it is|this is|here is|that was|are you|is it")
_FEEL = cut("me|us|new|back|sorry|late|done|in a hurry|all|ready|glad|you|busy|early|well|curious")


def aside(dice: random.Random) -> str:
    """Return one of some ten thousand sentences that want nothing."""
    how = dice.choice(_HOW)
    made = dice.choice(_ASIDES).format(
        do=dice.choice(_DO),
        whom=dice.choice(_WHOM),
        how=f" {how}" if how else "",
        am=dice.choice(_AM),
        feel=dice.choice(_FEEL),
        whose=dice.choice(("my", "our", "your", "the", "this")),
        noun=dice.choice(known(NOUNS)),
        state=dice.choice(known(STATES)),
    )
    return _sentence(made + dice.choice("...!?"))


def framing(dice: random.Random) -> str:
    """Return one of some thousand ways to ask for a `{task}`."""
    head = " ".join((dice.choice(_LEADS), dice.choice(_URGES), "{task}"))
    return _sentence(head + dice.choice(_ENDINGS))


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text[0].upper() + text[1:]


def _kind(
    names: str, phrasings: str, *, integer: bool = False, choices: tuple[str, ...] = ()
) -> Kind:
    # Own and common phrasings in turns, so that the held-out part has some of each.
    own = phrasings.split(",")
    return Kind(_words(names), (*own, *NAMING), integer, choices)


KINDS = {
    "city": _kind(
        "city place town location destination",
        "in {value},near {value},over in {value},for the"
        " people in {value},around {value},within {value}",
    ),
    "person": _kind(
        "person name recipient owner guest",
        "for {value},to {value},on behalf of {value},{value}"
        " wants it,as {value} asked,with {value} in mind",
    ),
    "date": _kind(
        "date day due deadline when",
        "on {value},by {value},not before {value},{value} is the"
        " day,no later than {value},it is for {value}",
    ),
    "time": _kind(
        "time hour clock start moment",
        "at {value},at {value} sharp,around {value} o'clock,from"
        " {value},when it is {value},{value} would be good",
    ),
    "amount": _kind(
        "amount price sum value cost",
        "worth {value} euros,of {value} euros,it costs {value}"
        " euros,for {value} dollars,at most {value} dollars,up to {value} euros",
        integer=True,
    ),
    "count": _kind(
        "count number quantity size seats",
        "{value} of them,{value} times,we need {value} pieces,"
        "{value} in all,{value} pieces,exactly {value} of them",
        integer=True,
    ),
    "text": _kind(
        "text message body content title",
        'saying "{value}",that says "{value}",with the words'
        ' "{value}",it reads "{value}",write "{value}",the words are "{value}"',
    ),
    "id": _kind(
        "id code key reference tag",
        "number {value},known as {value},called {value},{value} is"
        " the one,the one marked {value},I mean {value}",
    ),
    "topic": _kind(
        "query topic subject keyword term",
        "about {value},on the subject of {value},concerning"
        " {value},that deals with {value},regarding {value},related to {value}",
    ),
    "language": _kind(
        "language tongue target into speech",
        "in {value} please,translated to {value},written in"
        " {value},{value} is my language,they speak {value},{value} readers",
    ),
    "colour": _kind(
        "colour color tint shade paint",
        "in {value} colour,coloured {value},painted {value},"
        "the {value} one,all {value},a {value} one",
    ),
    "level": _kind(
        "level priority urgency rank grade",
        "{value} priority,this is {value},mark it {value},"
        "of {value} urgency,it has {value} priority,treat it as {value}",
        choices=LEVELS,
    ),
}

REQUESTS = cut(
    "{task}.|Please {task}.|Can you {task}?|I want to {task}.|Could you {task}?|{task}, please.|"
    "I need you to {task}.|Would you {task}?|Now {task}.|We have to {task}.|Go and {task}.|"
    "Help me {task}.|It is time to {task}.|I would like to {task}.|Just {task}.|"
    "Let us {task}.|Hi, {task}.|My boss asks you to {task}.|You should {task}.|Next, {task}.|"
    "Kindly {task}.|May I ask you to {task}?|Let me see you {task}.|I wonder if you can {task}.|"
    "{task}!|Then {task}.|First {task}.|It would help to {task}.|We want you to {task}.|Try to"
    " {task}.|{task} for me.|{task} right now.|My plan is to {task}.|They told me to {task}.|Do"
    " {task}.|Your job is to {task}.|Remember to {task}.|Please help us to {task}.|The task is to"
    " {task}.|I was told to {task}.|Somebody has to {task}.|Is it possible to {task}?|Do not forget"
    " to {task}.|Before lunch, {task}.|Once more, {task}.|I am here to {task}.|So {task}.|How about"
    " you {task}?|Quickly {task}.|The customer wants to {task}."
)
DESCRIPTIONS = cut(
    "Use it to {verb} a {noun}.|To {verb} a {noun}.|Can {verb} any {noun}.|Will {verb} the {noun}.|"
    "Lets you {verb} one {noun}.|Here you {verb} a {noun}.|For who wants to {verb} a {noun}.|"
    "Helps to {verb} a {noun}.|You can {verb} a {noun}.|Serves to {verb} each {noun}."
)
INSTRUCTIONS = cut(
    "You help with actions.|Act for the user. Be brief.|You are a careful assistant.|"
    "Use an action if one fits.|Do what is asked, and say what came of it.|"
    "You work for a small company.|Answer in one sentence.|You help people at work.|"
    "Never guess an argument. Ask.|Be plain and short."
)
GREETINGS = cut(
    "Hello!|Good morning.|Thanks a lot.|Who are you?|Well done.|Hi there.|Thank you.|"
    "Good evening.|How are you?|What can you do?"
)

FOREIGN = _words(
    "der die das Hafen ist offen geschlossen bis Montag wegen Wind Regen und nicht heute Brücke"
    " Bahnhof le port est ouvert fermé jusqu'à lundi el puerto está abierto cerrado hoy il porto è"
    " aperto chiuso oggi Zutritt kein bitte vor Uhr verlassen öffnet schließt um Fähre Strand"
)

OPENERS = cut("Hi.|Hello.|Hey.|Sorry.|Excuse me.|One thing.|Quick question.|Good day.|Dear team.")
CLOSERS = cut("Thanks.|Thank you.|Please.|It is urgent.|Take your time.")

# How many invented words are spliced: they have the tokens of real words in new places.
SPLICED = 0.5
_SPLICE = (NOUNS, CITIES, PEOPLE, SUBJECTS, COLOURS, STATES, ADJECTIVES, MONTHS)

_STARTS = _words("b br d dr f g gr h j k kl l m n p pr r s st t tr v w z")
_VOWELS = _words("a e i o u ai ei ou")
_ENDS = _words("n r l s t k m nd rt x")


def invent(dice: random.Random) -> str:
    """Return a word that means nothing: of syllables, or of halves of words that do."""
    if dice.random() < SPLICED:
        head, tail = (dice.choice(known(dice.choice(_SPLICE))).lower() for _ in range(2))
        return head[: dice.randint(1, 4)] + tail[-dice.randint(2, 4) :]
    syllables = (dice.choice(_STARTS) + dice.choice(_VOWELS) for _ in range(dice.randint(1, 2)))
    return "".join(syllables) + dice.choice(_ENDS)
