"""`replace` for the states of runs, of which every event makes new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

# mypy checks the fields that are changed, as it does for the function of that name.
if TYPE_CHECKING:
    from dataclasses import replace
else:

    def replace(value: object, /, **changes: object) -> object:
        """Return a copy of a frozen dataclass with some of its fields changed.

        That of `dataclasses` runs `__init__`, which sets each frozen field by a call of its own and
        takes three times as long. This is for classes without slots and without `__post_init__`.
        """
        fields = {**value.__dict__, **changes}
        assert len(fields) == len(value.__match_args__), "it has these fields, and no others"
        copy = object.__new__(type(value))
        copy.__dict__.update(fields)
        return copy


__all__ = ["replace"]
