"""Kinds of providers are found by name, and cost nothing until a model of them is opened."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from linker.errors import ModelNotFound, ModelUnusable
from linker.providers.registry import (
    BUILT_IN,
    DEFAULTS,
    Kind,
    LateProvider,
    find_kind,
    kind_names,
)
from linker.settings import ModelSettings, ProviderSettings

ROOT = Path(__file__).resolve().parent.parent.parent

PLUGIN = """\
from linker.providers.scripted import Line, ScriptedProvider

made = []

class Echo(ScriptedProvider):
    def __init__(self, settings):
        super().__init__(lambda prompt: Line(settings.url), models=["seen"])
        self.is_closed = False
        made.append(self)

    async def close(self):
        self.is_closed = True

class Broken:
    def __init__(self, settings):
        raise ZeroDivisionError("canary")
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install a package that adds kinds, and return the name of its module."""
    name = f"plugin_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(PLUGIN)
    info = tmp_path / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    points = {
        "echo": f"{name}:Echo",
        "broken": f"{name}:Broken",
        "lacking": "package_that_is_not_there:Provider",
        "misspelt": f"{name}:Ecko",
        "openai": f"{name}:Echo",
    }
    lines = "\n".join(f"{kind} = {target}" for kind, target in points.items())
    (info / "entry_points.txt").write_text(f"[actionvm.providers]\n{lines}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def late(kind: str, *models: str) -> LateProvider:
    known = dict.fromkeys(models, ModelSettings())
    return LateProvider(ProviderSettings(name="mine", kind=kind, models=known))


def test_a_package_adds_a_kind(plugin: str) -> None:
    assert "echo" in kind_names()
    assert find_kind("echo") is not None


def test_a_package_cannot_replace_a_kind_that_is_built_in(plugin: str) -> None:
    assert find_kind("openai") == BUILT_IN["openai"]


async def test_a_provider_of_a_package_is_made_once_when_a_model_is_opened(plugin: str) -> None:
    provider = late("echo")
    assert plugin not in sys.modules
    await provider.open("seen")
    await provider.open("seen")
    assert len(sys.modules[plugin].made) == 1


async def test_the_errors_of_a_provider_pass(plugin: str) -> None:
    with pytest.raises(ModelNotFound):
        await late("echo").open("other")


async def test_models_of_the_settings_are_listed_with_those_that_are_seen(plugin: str) -> None:
    listed = await late("echo", "named").models()
    assert [model.name for model in listed] == ["named", "seen"]


async def test_a_provider_that_does_not_work_says_so_beside_its_models(plugin: str) -> None:
    (listed,) = await late("broken", "named").models()
    assert listed.name == "named"
    assert "ZeroDivisionError" in listed.problem


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("lacking", "install the package package_that_is_not_there"),
        ("misspelt", "AttributeError"),
        ("broken", "ZeroDivisionError"),
    ],
)
async def test_code_that_does_not_load_is_a_reason(plugin: str, kind: str, problem: str) -> None:
    with pytest.raises(ModelUnusable, match=problem) as caught:
        await late(kind).open("any")
    assert caught.value.model == "mine/any"


async def test_closing_closes_what_was_made_and_nothing_else(plugin: str) -> None:
    await late("echo").close()
    assert plugin not in sys.modules
    provider = late("echo")
    await provider.open("seen")
    await provider.close()
    assert sys.modules[plugin].made[0].is_closed


def test_settings_of_all_public_providers_import_no_package() -> None:
    program = """
import asyncio, sys
from linker.providers.registry import providers_of
from linker.providers_file import read_providers
providers = providers_of(read_providers(None))
for provider in providers.values():
    assert asyncio.run(provider.models()) == []
packages = {"anthropic", "boto3", "google.genai", "huggingface_hub", "openai", "torch"}
sys.exit(str(packages & sys.modules.keys()) if packages & sys.modules.keys() else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_default_is_of_a_kind_that_needs_no_url() -> None:
    assert not any(BUILT_IN[one.kind].needs_url for one in DEFAULTS.values())


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed")
async def test_what_an_extra_lacks_is_said_with_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    options = {"folder": str(tmp_path)}
    provider = LateProvider(ProviderSettings("torch", "transformers", options=options))
    assert [model.name for model in await provider.models()] == ["tiny"]
    with pytest.raises(ModelUnusable, match=r"actionvm\[transformers\]"):
        await provider.open("tiny")
    await provider.close()


@pytest.mark.parametrize("kind", BUILT_IN.values(), ids=BUILT_IN)
def test_the_code_of_every_kind_is_there(kind: Kind) -> None:
    module, _, name = kind.target.partition(":")
    assert callable(getattr(import_module(module), name))
