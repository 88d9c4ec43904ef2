"""A draft shows what is sure to stay, in whole characters, and ends at a stop."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from linker.providers.draft import Draft

LETTERS = st.text("ab<é", max_size=12)
STOPS = st.lists(st.text("ab<é", min_size=1, max_size=4), max_size=3)


def write(content: bytes, stops: list[str], opener: str = "") -> tuple[Draft, str]:
    """Write byte by byte, as a model may, and return what was shown."""
    draft = Draft(stops, opener=opener)
    shown = ""
    for byte in content:
        shown += draft.add(bytes([byte]))
        if draft.is_stopped:
            break
    return draft, shown + draft.finish()


@given(text=LETTERS, stops=STOPS)
def test_what_is_shown_is_the_text_up_to_the_first_stop_that_completes(
    text: str, stops: list[str]
) -> None:
    draft, shown = write(text.encode(), stops)
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    assert shown == draft.text
    if not ends:
        assert shown == text
        return
    seen = text[: min(ends)]
    assert shown == seen[: min(seen.find(stop) for stop in stops if stop in seen)]


@given(text=LETTERS, stops=STOPS)
def test_a_draft_ends_only_at_a_stop(text: str, stops: list[str]) -> None:
    draft, _ = write(text.encode(), stops)
    assert draft.is_stopped == any(stop in text for stop in stops)


@given(content=st.binary(max_size=20))
def test_any_bytes_become_the_text_that_python_makes_of_them(content: bytes) -> None:
    _, shown = write(content, [])
    assert shown == content.decode("utf-8", "replace")


def test_a_stop_in_a_call_means_nothing() -> None:
    draft, shown = write(b"so <call>{}.", ["."], "<call>")
    assert (draft.text, draft.call, shown) == ("so ", "{}.", "so <call>{}.")


def test_a_stop_before_a_call_ends_the_text() -> None:
    draft, shown = write(b"so. <call>{}", ["."], "<call>")
    assert (draft.text, draft.is_call, shown) == ("so", False, "so")
