"""Connectors of other packages: named by the operator, or not there; held to the same suite."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from actionvm.runtime.v1 import runtime_pb2
from runtime.config import RuntimeConfig
from runtime.connectors import Connector, Descriptor
from runtime.connectors.board import BoardPost
from runtime.connectors.own import Own
from runtime.connectors.packages import PackageUnusable, add_made, add_packages, find_packages
from runtime.connectors.waiting import waiting_actions
from runtime.service import RuntimeService
from tests.fakes.front import Front
from tests.fakes.internet import Internet, Site, answering
from tests.fakes.runtime_ports import FakeSigner
from tests.runtime.connectors.conformance import Conformance
from tests.runtime.connectors.runs import Runs
from tests.runtime.connectors.stand import ORDER, CanarySigner, Stand, Subject
from tests.runtime.egress.test_system import CONFIG
from tests.runtime.worlds import World

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "connectors.md").read_text(encoding="utf-8")
EGRESS, SIGNER = Internet().egress(), FakeSigner()


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, points: str) -> None:
    """Install a package with one module."""
    (folder / "acme_notes.py").write_text(module)
    info = folder / "acme_notes-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-notes\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[actionvm.connectors]\n{points}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "acme_notes", raising=False)


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the package of the page."""
    (module,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (points,) = re.findall(r'"actionvm\.connectors"\]\n(.*?)```', PAGE, re.DOTALL)
    folder = tmp_path / "site"
    folder.mkdir()
    install(folder, monkeypatch, module, points.replace('"', ""))


@dataclass
class Acme(Site):
    """Keeps each note once."""

    notes: dict[str, str] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one note."""
        await reader.readuntil(b"\r\n\r\n")
        note = json.loads(await reader.read())
        self.notes.setdefault(note["id"], note["text"])
        writer.write(answering(b"{}", kind="application/json"))


@asynccontextmanager
async def _note() -> AsyncIterator[Stand]:
    acme, internet, signer = Acme(), Internet(), CanarySigner()
    front = Front(inner=acme)
    internet.put("acme.test", front)
    added = add_packages("acme", {}, internet.egress(), signer)
    order = replace(ORDER, settings={"url": "http://acme.test"}, credential="secrets/acme")
    async with front.listening():
        yield Stand(
            added["acme.note"],
            order,
            signer,
            front,
            lambda: len(acme.notes),
            internet.sites.clear,
        )


@pytest.mark.usefixtures("acme")
class TestOutOfTree(Conformance, Runs):
    """A connector of another package, found by its entry point."""

    subjects = (Subject("acme.note", _note, {"text": "Hi."}),)


def _configured(connectors: str) -> RuntimeConfig:
    return RuntimeConfig.model_validate({**CONFIG, "connectors": connectors})


@pytest.mark.usefixtures("acme")
def test_a_package_that_is_installed_and_not_named_is_not_even_loaded() -> None:
    assert find_packages(_configured("").connectors.split()) == {}
    assert "acme_notes" not in sys.modules
    assert [*find_packages(_configured("acme").connectors.split())] == ["acme"]
    assert "acme_notes" in sys.modules


@pytest.mark.usefixtures("acme")
def test_a_package_that_is_named_and_not_installed_is_said_so() -> None:
    with pytest.raises(ValidationError, match="named bcme; there are acme"):
        _configured("acme bcme")


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import package_that_is_not_there", "package_that_is_not_there"),
        ("", "AttributeError"),
        ("connectors = 1", "is no function"),
    ],
)
def test_code_that_does_not_load_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, told: str
) -> None:
    install(tmp_path, monkeypatch, module, "acme = acme_notes:connectors")
    with pytest.raises(PackageUnusable, match=told):
        find_packages(["acme"])


SLEEP = waiting_actions()[0].descriptor


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda one: replace(one, name="board.post"), "name it acme"),
        (lambda one: replace(one, name="acme"), "name it acme"),
        (lambda one: replace(one, name="acme.Sleep"), "name it acme"),
        (lambda one: replace(one, name="acme.sleep", output_schema={"type": 7}), "7 is not"),
    ],
)
def test_an_action_that_is_not_declared_well_is_refused(
    change: Callable[[Descriptor], Descriptor], told: str
) -> None:
    made: list[Connector] = [Own(change(SLEEP))]
    with pytest.raises(PackageUnusable, match=told):
        add_made({"acme": lambda *_: made}, {}, EGRESS, SIGNER)


def test_no_package_takes_a_family_that_is_built_in() -> None:
    board = {"board.post": BoardPost.__new__(BoardPost)}
    made: list[Connector] = [Own(replace(SLEEP, name="board.sleep"))]
    with pytest.raises(PackageUnusable, match="rename yours"):
        add_made({"board": lambda *_: made}, board, EGRESS, SIGNER)
    with pytest.raises(PackageUnusable, match="twice"):
        add_made({"board": lambda *_: made * 2}, {}, EGRESS, SIGNER)


@pytest.mark.usefixtures("acme")
async def test_the_assembler_hears_of_it_as_of_all_others(tmp_path: Path) -> None:
    added = add_packages("acme", {}, EGRESS, SIGNER)
    world = World(tmp_path, services=[*added.values()])
    service: RuntimeService = world.servicer()[0]
    answer = await service.ListActions(runtime_pb2.ListActionsRequest(), None)  # type: ignore[arg-type]  # unused
    (note,) = [one for one in answer.actions if one.action.name == "acme.note"]
    assert json.loads(note.output_schema)["required"] == ["noted"]
