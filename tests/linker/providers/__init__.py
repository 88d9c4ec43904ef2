"""One suite for all providers, and what is special about each."""

from __future__ import annotations

import pytest

# Its assertions are to say what they compared.
pytest.register_assert_rewrite(
    *(f"tests.linker.providers.{name}" for name in ("conformance", "failures", "stage", "talking"))
)
