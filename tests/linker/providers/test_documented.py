"""What docs/providers.md shows works: its files are read, its provider passes the suite."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from linker.providers.registry import BUILT_IN, LateProvider
from linker.providers_file import parse_providers
from linker.settings import ModelSettings
from tests.fakes.openai_chat import OpenAiChat
from tests.fakes.upstream import Fault, Reply, Seen
from tests.linker.providers.conformance import Conformance
from tests.linker.providers.failures import Failures
from tests.linker.providers.stage import Subject
from tests.linker.providers.test_openai import TOO_LONG

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "providers.md").read_text(encoding="utf-8")
FILES = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "kind:" in block]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the package of the page."""
    (module,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "acme_models.py").write_text(module)
    (points,) = re.findall(r'"actionvm\.providers"\]\n(.*?)```', PAGE, re.DOTALL)
    info = tmp_path / "acme_models-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-models\nVersion: 1\n")
    unquoted = points.replace('"', "")
    (info / "entry_points.txt").write_text(f"[actionvm.providers]\n{unquoted}")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize("text", FILES, ids=range(len(FILES)))
def test_a_file_of_the_page_is_read(text: str, installed: None) -> None:
    assert parse_providers("docs/providers.md", text.encode())


def test_every_kind_is_on_the_page() -> None:
    assert [kind for kind in BUILT_IN if f"`{kind}`" not in PAGE] == []


class Acme(OpenAiChat):
    """A server that, like most, refuses a chat without messages."""

    def is_generation(self, seen: Seen) -> bool:
        return bool(seen.json["messages"])

    def serve(self, seen: Seen) -> Reply:
        return self.refuse(Fault(400 if seen.json["model"] in self.models else 404))


@pytest.mark.usefixtures("installed")
class TestOutOfTree(Conformance, Failures):
    """A provider of another package, found by its entry point."""

    subject = Subject(
        LateProvider,
        lambda: Acme(("owner/model-7b",)),
        kind="acme",
        model="owner/model-7b",
        too_long=TOO_LONG,
        prefix="/v1",
        settings=ModelSettings(context_tokens=32_768),
        constrains=False,
        takes_images=False,
        key_header="x-acme-key",
        key_prefix="",
    )
