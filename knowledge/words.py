"""Words of a text, and the keyword query that they make."""

from __future__ import annotations

import re

# More words make a search slower, not better.
QUERY_WORDS_MAX = 256

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """Return the words in order, without regard to case; punctuation is none."""
    return _WORD.findall(text.casefold())


def match_expression(query: str) -> str:
    """Return an FTS5 query for any of the words, or an empty text if there are none.

    Every word is quoted and holds no quote, so nothing of the input is read as an operator.
    """
    words = list(dict.fromkeys(words_of(query)))
    return " OR ".join(f'"{word}"' for word in words[:QUERY_WORDS_MAX])
