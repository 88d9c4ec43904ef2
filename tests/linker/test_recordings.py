"""What a model said is said again without it, to the last token; what it never said is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from linker.conversation import (
    Choice,
    Conversation,
    Delta,
    Finished,
    FinishReason,
    Logprobs,
    Message,
    Prompt,
    Role,
    Sampling,
    TokenLogprob,
    Tokens,
    WrittenCall,
)
from linker.errors import ModelUnusable
from linker.links import ModelConfig
from linker.providers.recordings import (
    NoKeys,
    RecordingProvider,
    Recordings,
    ReplayingProvider,
    _event_of,
    _event_to_json,
)
from linker.providers.scripted import Line, ScriptedProvider, by_turn
from tests.fakes.gas_meter import FakeGasMeter
from tests.fakes.keys import FakeKeys
from tests.linker.orders import (
    ACCOUNT,
    StoppedClock,
    action,
    answer,
    collect,
    make_linker,
    order,
    prompt,
)

CALL = WrittenCall("board.post", '{"stars": 5, "text": "Up."}')
HELLO = by_turn(Line("Hello there.", (CALL,)))
ASKED = prompt(action(), choice=Choice.AUTO)
CONFIG = ModelConfig("scripted/actor", "secrets/main")


def everything_in(folder: Path) -> str:
    return "".join(file.read_text() for file in sorted(folder.rglob("*.json")))


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_a_linker_replays_what_another_one_recorded(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path)
    recording = RecordingProvider("scripted", ScriptedProvider(HELLO), recordings)
    keys = FakeKeys(StoppedClock(), main="sk-canary-4711")
    linker = make_linker(recording, FakeGasMeter(), "scripted", keys=keys)
    link = await linker.link(CONFIG, ACCOUNT)
    said = await answer(linker, order(link.name, ASKED))

    replaying = ReplayingProvider("scripted", recordings)
    again = make_linker(replaying, FakeGasMeter(), "scripted", keys=NoKeys())
    assert await again.link(CONFIG, ACCOUNT) == link
    assert await answer(again, order(link.name, ASKED)) == said
    assert "sk-canary" not in everything_in(tmp_path)


async def test_every_step_comes_again(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path)
    recording = RecordingProvider("s", ScriptedProvider(HELLO), recordings)
    steps = await collect((await recording.open("actor")).generate(ASKED))
    replayed = await ReplayingProvider("s", recordings).open("actor")
    assert await collect(replayed.generate(ASKED)) == steps


async def test_what_was_never_asked_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path)
    await RecordingProvider("s", ScriptedProvider(HELLO), recordings).open("actor")
    replaying = ReplayingProvider("s", recordings)
    with pytest.raises(ModelUnusable, match="LINKER_RECORDINGS_MODE=record"):
        await collect((await replaying.open("actor")).generate(ASKED))
    with pytest.raises(ModelUnusable, match=r"facts\.json is not there"):
        await replaying.open("../../etc/passwd")


async def test_what_broke_off_is_not_recorded(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path)
    recording = RecordingProvider("s", ScriptedProvider(HELLO), recordings)
    events = (await recording.open("actor")).generate(ASKED)
    await anext(events)
    await events.aclose()
    with pytest.raises(ModelUnusable):
        await collect((await ReplayingProvider("s", recordings).open("actor")).generate(ASKED))


async def test_embeddings_and_rankings_come_again(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path)
    model = await RecordingProvider("s", ScriptedProvider(HELLO, dimensions=3), recordings).open(
        "actor"
    )
    replayed = await ReplayingProvider("s", recordings).open("actor")
    assert await model.embed(["a", "b c"]) == await replayed.embed(["a", "b c"])
    assert await model.rerank("a", ["b", "a"]) == await replayed.rerank("a", ["b", "a"])
    with pytest.raises(ModelUnusable):
        await replayed.embed(["a"])


@pytest.mark.parametrize(
    "event",
    [
        Delta("a", Tokens(1, 2, 3, 4, 5, 6), "b"),
        Finished(
            FinishReason.LENGTH,
            "text",
            (CALL,),
            Tokens(1),
            "hm",
            (Logprobs(TokenLogprob("a", -0.5), (TokenLogprob("b", -1.5),)),),
        ),
    ],
)
def test_a_step_is_read_as_it_was_written(event: Delta | Finished) -> None:
    assert _event_of(_event_to_json(event)) == event  # type: ignore[arg-type]  # as JSON has it


async def test_the_name_of_a_model_leads_nowhere_else(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path / "in")
    provider = ScriptedProvider(HELLO, models=("../../out",))
    opened = await RecordingProvider("s", provider, recordings).open("../../out")
    one = Prompt(Conversation((Message(Role.USER, "a"),)), Choice.NONE, Sampling(9))
    await collect(opened.generate(one))
    assert names_in(tmp_path) == ["in"]
