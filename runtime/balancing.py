"""Several linkers as one: an agent stays with the one that has read what it says each time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from chassis.errors import PeerUnavailable

from .ports import Generation, Model, Prompt

# How much more than its share of all generations one linker gets.
EXCESS = 1.25


@dataclass
class _Place:
    """A linker, and how many generations it has under way."""

    name: str
    model: Model
    busy: int = 0


class BalancedModel:
    """`Model` over several, by name.

    Rendezvous hashing (Thaler and Ravishankar, 1998) with bounded loads (Mirrokni, Thorup and
    Zadimoghaddam, 2016): each agent has its place, and each of its runs another one for when that
    has more than its share. So the keys and values of instructions and of earlier turns are found
    again, and if one linker comes or goes, only the agents of that one move.
    """

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._places = [_Place(name, model) for name, model in models.items()]

    async def generate(self, prompt: Prompt) -> AsyncGenerator[str | Generation, None]:
        """Yield what one of them writes; if it does not answer, what the next one does."""
        places = self._order(prompt)
        for place in places:
            has_spoken = False
            place.busy += 1
            try:
                async with aclosing(place.model.generate(prompt)) as parts:
                    async for part in parts:
                        has_spoken = True
                        yield part
            except PeerUnavailable:
                if has_spoken or place is places[-1]:
                    raise
            else:
                return
            finally:
                place.busy -= 1

    def _order(self, prompt: Prompt) -> list[_Place]:
        agent = f"{prompt.account} {prompt.model.name}"
        home = max(self._places, key=lambda place: _weight(place, agent))
        ranked = sorted(
            self._places,
            key=lambda place: (place is home, _weight(place, prompt.run)),
            reverse=True,
        )
        count = 1 + sum(place.busy for place in self._places)
        bound = math.ceil(EXCESS * count / len(self._places))
        # The sort keeps the order of those that are as full.
        return sorted(ranked, key=lambda place: place.busy >= bound)


def _weight(place: _Place, key: str) -> bytes:
    return hashlib.sha256(f"{place.name} {key}".encode()).digest()
