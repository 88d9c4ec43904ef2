"""Makes the dialogues that the model learns from: one for every seed, and nothing from outside.

    python -m models.tiny.generate 3

prints the first three.
"""

from __future__ import annotations

import sys

from .actions import Maker, Novelty
from .briefs import make_brief, make_reading
from .dialogues import Dialogue
from .errands import make_errands
from .prompt import training_text

# The rest are errands.
BRIEF_SHARE, READING_SHARE = 0.22, 0.06


def make_dialogue(seed: str, novelty: Novelty | None = None, *, ease: float = 0.0) -> Dialogue:
    """Return the dialogue of a seed; `ease` goes from 1, for a beginner, to 0."""
    maker = Maker.of(seed, novelty or Novelty(), ease=ease)
    share = maker.dice.random()
    if share < BRIEF_SHARE:
        return make_brief(maker)
    if share < BRIEF_SHARE + READING_SHARE:
        return make_reading(maker)
    return make_errands(maker)


def main() -> None:
    """Print as many dialogues as the argument says."""
    for number in range(int(sys.argv[1])):
        text = training_text(make_dialogue(str(number)).conversation)
        print(text.replace("<|end|>", "<|end|>\n"))


if __name__ == "__main__":
    main()
