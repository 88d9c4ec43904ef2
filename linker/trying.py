"""One try of one model: gas is held, the model is asked, what it used is charged."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from chassis.canonical import sha256_hex
from chassis.errors import InvalidField

from .conversation import Call, Conversation, Delta, Finished, FinishReason, Prompt, Tokens
from .errors import ContextExceeded
from .opening import Opened
from .orders import Answer, EmbedOrder, Order, Ranking, RerankOrder, Vectors
from .paying import Bill, Cashier, Stopwatch, quoted
from .schemas import check_answer, checked_arguments
from .tokens import Count, Counter, count_at_most, images_in, texts_at_most


async def count(opened: Opened, conversation: Conversation) -> Count:
    """Return how many tokens a model would read, or at most so many."""
    amount = await opened.model.count_tokens(conversation)
    return count_at_most(conversation) if amount is None else Count(amount, Counter.TOKENIZER)


def check_fits(opened: Opened, prompt: Prompt, counted: Count) -> None:
    """Refuse what a model does not take. Raises `InvalidField` and `ContextExceeded`."""
    facts, name = opened.facts, opened.target.model
    if prompt.conversation.actions and not facts.takes_actions:
        raise InvalidField("actions", f"{name} takes none; link another model")
    if images_in(prompt.conversation) and not facts.takes_images:
        raise InvalidField("messages", f"show images, and {name} reads none; link another model")
    tokens_max = prompt.sampling.tokens_max
    # Many bytes may be few tokens, so a bound refuses nothing.
    least = counted.amount if counted.counter is Counter.TOKENIZER else 1
    if least + tokens_max > facts.context_tokens:
        raise ContextExceeded(least, tokens_max, facts.context_tokens)


async def generate(
    opened: Opened, order: Order, counted: Count, bill: Bill, cashier: Cashier
) -> AsyncGenerator[Delta | Answer, None]:
    """Yield what a model writes, then the answer, which is checked and paid.

    What it used is charged, also when it fails or when this is closed early.
    """
    prompt, name = order.prompt, opened.target.model
    tokens_max = prompt.sampling.tokens_max
    read = min(counted.amount, opened.facts.context_tokens - tokens_max)
    item = f"model {name}"
    images = images_in(prompt.conversation)
    worst = await quoted(order.payer, cashier.worst(item, read=read, written=tokens_max))
    watch = await quoted(order.payer, cashier.stopwatch(item))
    await bill.hold(item, watch.worst(_showing(worst, images)))
    used, finished = Tokens(), None
    try:
        asked = replace(prompt, tenant=order.payer.account)
        async with aclosing(watch.over(opened.model.generate(asked))) as events:
            async for event in events:
                used = _showing(event.tokens, images)
                if isinstance(event, Finished):
                    finished = event
                elif event.text or event.reasoning:
                    yield event
        assert finished is not None, "a provider ends with Finished"
        calls = _checked_calls(order, finished)
    except BaseException:
        # What ended the generation is the news.
        await bill.charge_anyway(watch.stamped(used))
        raise
    gas = await bill.charge(watch.stamped(used), counted)
    yield Answer(
        reason=finished.reason,
        text=finished.text,
        calls=calls,
        tokens=used,
        gas=gas,
        model=name,
        reasoning=finished.reasoning,
        logprobs=finished.logprobs,
    )


async def embed(order: EmbedOrder, bill: Bill, cashier: Cashier, opened: Opened) -> Vectors:
    """Return embeddings, paid."""
    watch = await _hold_texts(order, bill, cashier, opened)
    with watch.running():
        made = await opened.model.embed(order.texts)
    return Vectors(made.vectors, made.tokens, await bill.charge(watch.stamped(made.tokens)))


async def rerank(order: RerankOrder, bill: Bill, cashier: Cashier, opened: Opened) -> Ranking:
    """Return how relevant documents are, paid."""
    watch = await _hold_texts(order, bill, cashier, opened)
    with watch.running():
        made = await opened.model.rerank(order.query, order.documents)
    return Ranking(made.scores, made.tokens, await bill.charge(watch.stamped(made.tokens)))


async def _hold_texts(
    order: EmbedOrder | RerankOrder, bill: Bill, cashier: Cashier, opened: Opened
) -> Stopwatch:
    item = f"model {opened.target.model}"
    watch = await quoted(order.payer, cashier.stopwatch(item))
    await bill.hold(item, watch.worst(Tokens(embedding=texts_at_most(order.texts))))
    return watch


def _showing(tokens: Tokens, images: int) -> Tokens:
    return replace(tokens, images=images) if images else tokens


def _checked_calls(order: Order, finished: Finished) -> tuple[Call, ...]:
    prompt = order.prompt
    if prompt.answer_schema and finished.reason is FinishReason.STOP:
        check_answer(finished.text, prompt.answer_schema)
    return tuple(
        Call(
            id=call_id(order.payer.request_id, index),
            action=call.action,
            arguments=checked_arguments(call, prompt.conversation.actions),
        )
        for index, call in enumerate(finished.calls)
    )


def call_id(request_id: str, index: int) -> str:
    """Return an id that a repeated generation gives again."""
    return f"{sha256_hex(request_id.encode())[:16]}-{index}"
