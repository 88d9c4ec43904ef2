"""A link is made when all its models have what was asked for, a key and a price."""

from __future__ import annotations

import pytest

from chassis.errors import InvalidField, PeerUnavailable
from linker.conversation import Conversation, Image, Message, Prompt, Role, Sampling, Tokens
from linker.errors import (
    CredentialRefused,
    LinkNotFound,
    ModelNotFound,
    ModelUnusable,
    PriceNotFound,
)
from linker.linker import Linker
from linker.links import ModelConfig, Target
from linker.orders import EmbedOrder, RerankOrder
from linker.providers.scripted import Line, ScriptedProvider, by_turn, in_order
from linker.tokens import IMAGE_TOKENS
from tests.fakes.gas_meter import PRICELESS, FakeGasMeter
from tests.fakes.keys import FakeKeys
from tests.linker.orders import ACCOUNT, StoppedClock, answer, make_linker, order, payer, prompt

HELLO = by_turn(Line("Hello."))
SPARE = Target("spare/actor", "secrets/spare")


class Bench:
    """A linker with two providers, each of which has a key."""

    def __init__(self, **spare: bool) -> None:
        self.gas = FakeGasMeter()
        self.keys = FakeKeys(StoppedClock(), main="sk-main", spare="sk-spare")
        self.main = ScriptedProvider(HELLO, models=("actor", "priceless"), context_tokens=100)
        self.spare = ScriptedProvider(HELLO, **spare)  # type: ignore[arg-type]  # named in the calls
        self.linker: Linker = make_linker(self.main, self.gas, keys=self.keys, spare=self.spare)


CONFIG = ModelConfig("local/actor", "secrets/main", fallbacks=(SPARE,))


async def test_every_model_is_opened_with_its_own_key() -> None:
    bench = Bench()
    link = await bench.linker.link(CONFIG, ACCOUNT)
    assert (bench.main.keys, bench.spare.keys) == (["sk-main"], ["sk-spare"])
    assert [facts.context_tokens for facts in link.facts] == [100, 4096]
    assert (link.account, bench.linker.failing(link)) == (ACCOUNT, [False, False])


async def test_a_key_is_released_on_behalf_of_who_generates() -> None:
    bench = Bench()
    link = await bench.linker.link(CONFIG, "agents/who-links")
    await answer(bench.linker, order(link.name, prompt(tokens_max=9)))
    assert bench.keys.asked[-1] == ("release", "secrets/main", ACCOUNT)


async def test_a_link_whose_key_is_refused_is_not_made() -> None:
    bench = Bench()
    with pytest.raises(CredentialRefused, match="for local/actor does not open it: there is no"):
        await bench.linker.link(ModelConfig("local/actor", "secrets/unknown"), ACCOUNT)
    bench.spare.refused_keys.add("sk-spare")
    with pytest.raises(CredentialRefused, match="the provider does not know it"):
        await bench.linker.link(CONFIG, ACCOUNT)
    assert await bench.linker.links(after="", limit=9) == []


async def test_a_fallback_must_have_what_is_asked_for() -> None:
    bench = Bench()
    with pytest.raises(ModelUnusable, match="spare/actor cannot be used: it does not promise"):
        await make_linker(
            ScriptedProvider(HELLO, constrains_output=True), bench.gas, spare=bench.spare
        ).link(
            ModelConfig("local/actor", fallbacks=(Target("spare/actor"),), needs_answer_schema=True)
        )
    with pytest.raises(ModelNotFound):
        await bench.linker.link(ModelConfig("local/actor", fallbacks=(Target("spare/none"),)))


async def test_a_model_without_eyes_is_refused_where_images_are_shown() -> None:
    bench = Bench(takes_images=True)
    with pytest.raises(ModelUnusable, match="reads no images"):
        await bench.linker.link(ModelConfig("local/actor", needs_images=True))
    await bench.linker.link(ModelConfig("spare/actor", needs_images=True))


async def test_a_model_without_a_price_is_not_linked() -> None:
    bench = Bench()
    with pytest.raises(PriceNotFound, match=PRICELESS):
        await bench.linker.link(ModelConfig(PRICELESS.removeprefix("model ")))


async def test_a_link_that_ended_gives_its_keys_back() -> None:
    bench = Bench()
    link = await bench.linker.link(CONFIG, ACCOUNT)
    await bench.linker.unlink(link.name)
    assert sorted(bench.keys.revoked) == ["leases/1", "leases/2"]
    with pytest.raises(LinkNotFound):
        await bench.linker.find(link.name)


async def test_a_link_that_ends_does_not_wait_for_the_key_manager() -> None:
    bench = Bench()
    link = await bench.linker.link(CONFIG, ACCOUNT)
    bench.keys.fail_next(PeerUnavailable("keymanager"))
    await bench.linker.unlink(link.name)
    assert not bench.linker._opener._keyring._held


async def test_the_worst_case_is_held_on_the_dearest_meters() -> None:
    gas = FakeGasMeter({"cache_write": 2, "reasoning": 3})
    linker = make_linker(ScriptedProvider(HELLO), gas)
    link = await linker.link(ModelConfig("local/actor"))
    done = await answer(linker, order(link.name, prompt(tokens_max=77)))
    assert gas.reservations[0].worst == Tokens(cache_write=done.tokens.input, reasoning=77)


async def test_images_are_held_and_charged() -> None:
    gas = FakeGasMeter()
    linker = make_linker(
        ScriptedProvider(HELLO, takes_images=True, counts=False, context_tokens=100_000), gas
    )
    link = await linker.link(ModelConfig("local/actor"))
    shown = (Image("image/png", b"1"), Image("image/png", b"2"))
    asked = Prompt(
        Conversation((Message(Role.USER, "Which is larger?", images=shown),)),
        prompt().choice,
        Sampling(tokens_max=9),
    )
    done = await answer(linker, order(link.name, asked))
    assert done.tokens.images == gas.reservations[0].worst.images == 2
    assert gas.reservations[0].worst.input > 2 * IMAGE_TOKENS


async def test_images_are_not_shown_to_a_model_that_reads_none() -> None:
    linker = make_linker(ScriptedProvider(in_order()), FakeGasMeter())
    link = await linker.link(ModelConfig("local/actor"))
    message = Message(Role.USER, "", images=(Image("image/png", b"1"),))
    asked = Prompt(Conversation((message,)), prompt().choice, Sampling(tokens_max=9))
    with pytest.raises(InvalidField, match="reads none"):
        await answer(linker, order(link.name, asked))


async def test_embeddings_and_rankings_are_held_and_charged() -> None:
    gas = FakeGasMeter()
    linker = make_linker(ScriptedProvider(HELLO, dimensions=3), gas)
    link = await linker.link(ModelConfig("local/actor"))
    made = await linker.embed(EmbedOrder(link.name, payer("e"), ("one", "two words")))
    ranked = await linker.rerank(RerankOrder(link.name, payer("r"), "two", ("one", "two words")))
    assert made.vectors == ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    assert ranked.scores == (0.0, 1.0)
    assert [held.worst.embedding for held in gas.reservations] == [44, 50]
    assert gas.settled == {"holds/e": Tokens(embedding=3), "holds/r": Tokens(embedding=4)}
    assert (made.gas, ranked.gas) == (3, 4)


async def test_a_model_that_only_talks_embeds_nothing() -> None:
    linker = make_linker(ScriptedProvider(HELLO), FakeGasMeter())
    link = await linker.link(ModelConfig("local/actor"))
    with pytest.raises(ModelUnusable, match="makes no embeddings"):
        await linker.embed(EmbedOrder(link.name, payer(), ("one",)))
