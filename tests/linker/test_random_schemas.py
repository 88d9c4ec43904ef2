"""Whatever the schema, the model, the dice and the budget: what is written is valid."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from linker.conversation import Choice, FinishReason, Prompt
from linker.errors import SchemaUnsupported
from linker.ports import OpenModel
from linker.providers.local import LocalProvider
from linker.schemas import checked_arguments
from models import random_weights
from tests.linker.orders import action, finish, prompt
from tests.linker.schema_dice import random_answer, random_object

pytestmark = pytest.mark.native

BABBLER = "babbler"
DECODERS = (*random_weights.DECODERS, BABBLER)
SCHEMAS_A_MODEL = 15
SCHEMAS_IN_SOAK = 10_000
# A schema that is refused is a schema that nobody can use; few of those that people write are.
REFUSED_SHARE_MAX = 0.15
# Such models spell what they read, nearly a token for each letter.
SHAPE = replace(random_weights.PRESETS["tiny"], context=16_384)


def _random_prompt(dice: random.Random) -> Prompt:
    schema = random_object(dice)
    offered = [action(schema, name=f"act.{n}") for n in range(dice.randint(1, 2))]
    choice = dice.choice(list(Choice))
    asked = prompt(
        *offered,
        choice=choice,
        seed=dice.randint(-(2**63), 2**63 - 1),
        temperature=dice.choice([0.0, 0.7, 2.0]),
        tokens_max=dice.choice([60, 120, 240]),
        stops=dice.choice([(), ("e",), ('"}', "1")]),
    )
    name = dice.choice(["", "act.0"]) if choice is Choice.REQUIRED else ""
    answer = json.dumps(random_answer(dice)) if dice.random() < 0.6 else ""
    return replace(asked, action=name, calls_max=dice.randint(1, 3), answer_schema=answer)


async def _check(model: OpenModel, asked: Prompt) -> str:
    """Return how a generation ended, all of which was checked."""
    try:
        finished = await finish(model.generate(asked))
    except SchemaUnsupported as refused:
        return f"refused: {refused.problem[:60]}"
    assert finished.tokens.output <= asked.sampling.tokens_max
    assert len(finished.calls) <= asked.calls_max
    assert bool(finished.calls) == (finished.reason is FinishReason.ACTION)
    for call in finished.calls:
        assert asked.action in ("", call.action)
        arguments = json.loads(checked_arguments(call, asked.conversation.actions))
        schema = json.loads(asked.conversation.actions[0].parameters_schema)
        jsonschema.validate(arguments, schema)
    if asked.answer_schema and finished.reason is FinishReason.STOP:
        jsonschema.validate(json.loads(finished.text), json.loads(asked.answer_schema))
    return finished.reason.value


async def _try_schemas(folder: Path, *, models: int) -> None:
    endings: Counter[str] = Counter()
    for number in range(models):
        name = DECODERS[number % len(DECODERS)]
        if name != BABBLER:
            path = folder / f"{name}.gguf"
            random_weights.write_random(path, name, shape=SHAPE, seed=number)
        provider = LocalProvider(folder, threads=1, context_tokens_max=SHAPE.context)
        model = await provider.open(name)
        first = number * SCHEMAS_A_MODEL
        dice = [random.Random(first + schema) for schema in range(SCHEMAS_A_MODEL)]
        # All at once: they share the steps of the model, and nothing else.
        endings.update(await asyncio.gather(*(_check(model, _random_prompt(d)) for d in dice)))
        await provider.close()
    refused = sum(count for ending, count in endings.items() if ending.startswith("refused"))
    assert refused < REFUSED_SHARE_MAX * endings.total(), endings
    assert endings["action"] > endings.total() / 6, endings
    assert endings["stop"] > endings.total() / 6, endings


@pytest.fixture
def folder(models_dir: Path, tmp_path: Path) -> Path:
    """Return a folder with the babbler, where others can be put."""
    shutil.copy(models_dir / "babbler.gguf", tmp_path)
    return tmp_path


async def test_what_random_models_write_under_random_schemas_is_valid(folder: Path) -> None:
    await _try_schemas(folder, models=len(DECODERS))


@pytest.mark.soak
async def test_what_many_models_write_under_ten_thousand_schemas_is_valid(folder: Path) -> None:
    await _try_schemas(folder, models=SCHEMAS_IN_SOAK // SCHEMAS_A_MODEL + 1)
