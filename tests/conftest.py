"""What every test finds: the Hypothesis profiles and the golden files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from .grpc_fixtures import (  # noqa: F401  # pytest finds fixtures by their names here
    grpc_addr,
    grpc_create_channel,
    grpc_server,
    grpc_stub,
    grpc_stub_as,
    hosted_service,
)

GOLDEN = Path(__file__).parent / "golden"

# No deadlines: a machine that is busy with something else would break them.
settings.register_profile("default", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("soak", deadline=None, max_examples=10_000)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what `make golden` uses."""
    parser.addoption("--golden-rewrite", action="store_true", help="rewrite the golden files")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Rewrite golden files with the tests that have one, and run no others."""
    if config.getoption("--golden-rewrite"):
        items[:] = [item for item in items if "assert_golden" in getattr(item, "fixturenames", ())]


@pytest.fixture
def assert_golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Return a function that compares a text with the golden file of a name."""

    def assert_golden(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--golden-rewrite"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing: run 'make golden' and review it"
        assert text == path.read_text(encoding="utf-8"), "run 'make golden' and review the diff"

    return assert_golden
