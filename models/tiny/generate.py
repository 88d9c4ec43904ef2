"""Makes the dialogues that the model learns from: one for every seed, and nothing from outside.

    python -m models.tiny.generate 3

prints the first three.
"""

from __future__ import annotations

import sys

from .actions import Maker, Novelty
from .briefs import make_brief, make_reading
from .desks import make_clerk, make_phrase_book, make_support
from .dialogues import Dialogue
from .drills import make_drill
from .errands import make_errands
from .prompt import training_text

# A complete beginner mostly does exercises; who has learned does none.
DRILL_SHARE = 0.7
SHARES = {
    make_errands: 0.50,
    make_brief: 0.12,
    make_support: 0.11,
    make_clerk: 0.13,
    make_phrase_book: 0.12,
    make_reading: 0.02,
}


def make_dialogue(seed: str, novelty: Novelty | None = None, *, ease: float = 0.0) -> Dialogue:
    """Return the dialogue of a seed; `ease` goes from 1, for a beginner, to 0."""
    maker = Maker.of(seed, novelty or Novelty(), ease=ease)
    if ease > 0 and maker.happens(DRILL_SHARE * ease):
        return make_drill(maker)
    return maker.dice.choices(list(SHARES), list(SHARES.values()))[0](maker)


def main() -> None:
    """Print as many dialogues as the argument says."""
    for number in range(int(sys.argv[1])):
        text = training_text(make_dialogue(str(number)).conversation)
        print(text.replace("<|end|>", "<|end|>\n"))


if __name__ == "__main__":
    main()
