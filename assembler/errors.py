"""Operating errors of the assembler."""

from __future__ import annotations

from dataclasses import dataclass, field

from chassis.errors import InvalidArgument, NotFound, Unavailable
from chassis.problems import Problem, clip


@dataclass(eq=False)
class InvalidManifest(InvalidArgument):
    """A manifest does not assemble; `problems` are all that was found, in the order of the text."""

    reason = "INVALID_MANIFEST"
    message = "the manifest has problems: {problem_count}; the first: {first}"

    problems: tuple[Problem, ...] = field(metadata={"travels": False})
    problem_count: int = field(init=False)
    first: str = field(init=False)

    def __post_init__(self) -> None:
        """Take the message from the problems."""
        self.problem_count = len(self.problems)
        self.first = clip(str(self.problems[0]), length_max=300)


@dataclass(eq=False)
class ManifestTooLarge(InvalidArgument):
    """A manifest, or its files together, are over the limit."""

    reason = "MANIFEST_TOO_LARGE"
    message = (
        "{field} has {size_bytes} bytes; at most {size_bytes_max} are allowed: move what is large "
        "into documents, or documents into knowledge storage with 'actionvm knowledge add'"
    )

    field: str
    size_bytes: int
    size_bytes_max: int


@dataclass(eq=False)
class SandboxUnavailable(Unavailable):
    """A manifest brings code, and nothing can be executed here."""

    reason = "SANDBOX_UNAVAILABLE"
    message = "code cannot be compiled here: {problem}; see 'actionvm doctor'"

    problem: str


@dataclass(eq=False)
class BundleNotFound(NotFound):
    """No bundle with this digest was assembled here."""

    reason = "BUNDLE_NOT_FOUND"
    message = "{name} was never assembled here; assemble it with 'actionvm assemble'"

    name: str
