"""A transaction as it is laid down before it is sent: what it is cannot be told from its call."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import TypeAdapter


@dataclass(frozen=True)
class Draft:
    """A transaction of a call; first unsigned, then with its signature and the hash of both.

    Of all that an account signs with one nonce, a chain takes one. So a second draft of a call is
    made only once another transaction has the nonce of the first for good.
    """

    # Who signs, in lower case.
    account: str
    nonce: int
    # The newest block when it was made: it is in none that is older.
    block: int
    gas_limit: int
    fee_per_gas_max: int
    unsigned: str = field(repr=False)
    raw: str = field(default="", repr=False)
    hash: str = ""

    @property
    def text(self) -> str:
        """Return it as it is kept."""
        return _DRAFT.dump_json(self).decode()


_DRAFT = TypeAdapter(Draft)


def read_draft(text: str) -> Draft | None:
    """Return a draft that was kept; None if there is none."""
    return _DRAFT.validate_json(text) if text else None
