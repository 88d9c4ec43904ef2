"""Conditions on the facts of a use, in a logic of three values: what is missing is not known."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import Protocol, TypeAlias

from chassis.glob import Glob

Fact: TypeAlias = str | int | bool

_HEX = re.compile(r"0[xX][0-9a-fA-F*]*")
# A server may read such a path as another one than a pattern does.
_AMBIGUOUS_PATH = re.compile(
    r"//|/\.{1,2}(?:/|\Z)|[\\?#;\x00-\x20\x7f]|%(?:2[eEfF5]|3[bB]|5[cC]|[01])"
)


class Match(Enum):
    """Whether something holds.

    UNKNOWN stands for a fact that is missing, of another type, or the same but for upper and lower
    case. Whoever asks takes it for the worse of the two others.
    """

    YES = auto()
    NO = auto()
    UNKNOWN = auto()


class Condition(Protocol):
    """What a rule asks of one fact; its text completes "the fact must be"."""

    def judge(self, fact: Fact | None) -> Match:
        """Return whether a fact is so; None if the use does not have it."""
        ...


@dataclass(frozen=True)
class Text:
    """A text that matches one of some patterns; hexadecimal ones match in any case."""

    patterns: tuple[str, ...]

    def judge(self, fact: Fact | None) -> Match:
        if not isinstance(fact, str):
            return Match.UNKNOWN
        lowered = fact.lower()
        if fact in self._exact or lowered in self._exact_hex:
            return Match.YES
        is_ambiguous = fact.startswith("/") and bool(_AMBIGUOUS_PATH.search(fact))
        if not is_ambiguous:
            if any(glob.matches(lowered if is_hex else fact) for glob, is_hex in self._globs):
                return Match.YES
            folded = fact.casefold()
            if not any(glob.matches(folded) for glob in self._folded):
                return Match.NO
        return Match.UNKNOWN

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset(pattern for pattern in self.patterns if "*" not in pattern)

    @cached_property
    def _exact_hex(self) -> frozenset[str]:
        return frozenset(pattern.lower() for pattern in self._exact if _HEX.fullmatch(pattern))

    @cached_property
    def _globs(self) -> list[tuple[Glob, bool]]:
        """Return each pattern that stands for many, and whether it is hexadecimal."""
        globs = ((pattern, bool(_HEX.fullmatch(pattern))) for pattern in self.patterns)
        return [(Glob(p.lower() if is_hex else p), is_hex) for p, is_hex in globs if "*" in p]

    @cached_property
    def _folded(self) -> list[Glob]:
        return [Glob(pattern.casefold()) for pattern in self.patterns]

    def __str__(self) -> str:
        return _one_of(self.patterns)


@dataclass(frozen=True)
class Under:
    """A path that is one of some, or below one; `/a/bc` is not below `/a/b`."""

    paths: tuple[str, ...]

    def judge(self, fact: Fact | None) -> Match:
        if not isinstance(fact, str) or not fact.startswith("/") or _AMBIGUOUS_PATH.search(fact):
            return Match.UNKNOWN
        if any(map(f"{fact}/".startswith, self._folders)):
            return Match.YES
        lowered = f"{fact}/".casefold()
        if any(lowered.startswith(folder.casefold()) for folder in self._folders):
            return Match.UNKNOWN
        return Match.NO

    @cached_property
    def _folders(self) -> tuple[str, ...]:
        return tuple(f"{path.rstrip('/')}/" for path in self.paths)

    def __str__(self) -> str:
        return f"a path under {_one_of(self.paths)}"


@dataclass(frozen=True)
class Number:
    """An integer that is one of some."""

    numbers: tuple[int, ...]

    def judge(self, fact: Fact | None) -> Match:
        if type(fact) is not int:
            return Match.UNKNOWN
        return Match.YES if fact in self.numbers else Match.NO

    def __str__(self) -> str:
        return _one_of(map(str, self.numbers))


@dataclass(frozen=True)
class Range:
    """An integer that is not less than `least` and not more than `most`; None is no bound."""

    least: int | None
    most: int | None

    def judge(self, fact: Fact | None) -> Match:
        if type(fact) is not int:
            return Match.UNKNOWN
        is_low = self.least is not None and fact < self.least
        is_high = self.most is not None and fact > self.most
        return Match.NO if is_low or is_high else Match.YES

    def __str__(self) -> str:
        least = "" if self.least is None else f"at least {self.least}"
        most = "" if self.most is None else f"at most {self.most}"
        return " and ".join(filter(None, (least, most)))


@dataclass(frozen=True)
class Flag:
    """True or false."""

    value: bool

    def judge(self, fact: Fact | None) -> Match:
        if not isinstance(fact, bool):
            return Match.UNKNOWN
        return Match.YES if fact is self.value else Match.NO

    def __str__(self) -> str:
        return str(self.value).lower()


@dataclass(frozen=True)
class Absent:
    """A fact that the use does not have; only rules that deny may ask for it."""

    def judge(self, fact: Fact | None) -> Match:
        return Match.YES if fact is None else Match.NO

    def __str__(self) -> str:
        return "absent"


def _one_of(choices: Iterable[str]) -> str:
    return " or ".join(choices)
