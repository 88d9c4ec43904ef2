"""Where a runtime executes code."""

from __future__ import annotations

import pytest

from runtime.walls import lack_of
from sandbox.jail import Survey

STRONG = Survey(bubblewrap="", refusal="", landlock=7, seccomp=True)
WEAK = Survey(bubblewrap="", refusal="", landlock=0, seccomp=True)


@pytest.mark.parametrize(
    ("survey", "wants_strong", "is_refused"),
    [(STRONG, True, False), (WEAK, True, True), (WEAK, False, False)],
)
def test_weak_bars_are_enough_only_where_the_operator_says_so(
    survey: Survey, *, wants_strong: bool, is_refused: bool
) -> None:
    lack = lack_of(survey, wants_strong=wants_strong)
    assert bool(lack) == is_refused
    if is_refused:
        assert "landlock" in lack
        assert "RUNTIME_SANDBOX=any" in lack
